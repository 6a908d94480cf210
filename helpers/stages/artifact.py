"""The compiled model of a run: its files, its precision, and the target that actually runs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from helpers.errors import CompileError
from helpers.params.targets import Precision, Target, load_target
from helpers.run import Run
from helpers.run.atomic import write_json
from helpers.run.digest import digest_file, digest_value
from helpers.run.environment import package_version

FOLDER = "compiled"
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class CompiledManifest:
    """The contents of a run's `compiled/`.

    Attributes:
        asked: the run's target.
        target: the target that runs it: the same, or its fallback if the vendor's compiler is not on this machine.
        runtime: of `target`.
        precision: of the compiled model.
        batches: batch sizes that the model accepts; None for any.
        files: names in the folder; the device opens the first.
    """

    asked: str
    target: str
    runtime: str
    precision: Precision
    batches: Sequence[int] | None
    files: Sequence[str]

    @property
    def is_fallback(self) -> bool:
        """Whether the fallback runs instead of the run's target."""
        return self.target != self.asked


def write_manifest(folder: Path, manifest: CompiledManifest) -> None:
    """Writes a manifest into a compiled folder."""
    write_json(folder / _MANIFEST, asdict(manifest))


def read_manifest(run: Run) -> CompiledManifest:
    """The manifest that the compile stage wrote.

    Raises:
        CompileError: the run has no compiled model yet.
    """
    return read_manifest_file(run.path(FOLDER))


def read_manifest_file(folder: Path) -> CompiledManifest:
    """The manifest in a compiled folder.

    Raises:
        CompileError: there is none.
    """
    try:
        return CompiledManifest(**json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise CompileError("this run has no compiled model", remedy="Run the compile stage first.") from None


def running_target(run: Run) -> Target:
    """The target that runs this run's cases: the run's own or its fallback."""
    return load_target(read_manifest(run).target)


def running_precision(run: Run) -> Precision:
    """The precision of the compiled model."""
    return read_manifest(run).precision


def compiled_path(run: Run) -> Path:
    """The file that the run's device opens."""
    return run.path(f"{FOLDER}/{read_manifest(run).files[0]}")


def om_name(run: Run) -> str:
    """The `.om` relative to the run's folder, as ATC names it, here or on another machine."""
    first = read_manifest(run).files[0]
    return f"{FOLDER}/{first if first.endswith('.om') else 'model.om'}"


def digest_compiled(run: Run) -> str:
    """One hash over the runtime and every file of the compiled model (OpenVINO keeps weights next to its `.xml`)."""
    manifest = read_manifest(run)
    content = {
        "files": {name: digest_file(run.path(f"{FOLDER}/{name}")) for name in manifest.files},
        "runtime": manifest.runtime,
        "target": manifest.target,
        "precision": manifest.precision,
        "version": package_version(manifest.runtime),
    }
    return digest_value(content)
