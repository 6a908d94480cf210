"""The hand-over bundle: one folder that goes from export through compile and infer to score.

bundle.json   the manifest, with a digest of every file
model.onnx    the graph
cases/        prepared images, (C, Z, Y, X) or (C, H, W) float32, .npy
compiled/     the files that the device opens
answers/      labels or the graph's output, one .npy per case

It names its files by relative paths only, so it can be copied to another machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from helpers.errors import DataError, ParameterError
from helpers.inference import WindowPlan
from helpers.interop.ports import ModelPorts
from helpers.run.atomic import atomic_path, write_json

MANIFEST, GRAPH, FORMAT = "bundle.json", "model.onnx", 1


@dataclass(frozen=True)
class BundleCase:
    """One prepared case.

    Args:
        id: of the case.
        image: file of the prepared array in the bundle.
        plan: windows over it; None if it is a single sample.
        source_digest: digest of the files it was prepared from.
    """

    id: str
    image: str
    plan: WindowPlan | None
    source_digest: str

    @property
    def answer(self) -> str:
        """The file of the case's output in the bundle."""
        return f"answers/{PurePosixPath(self.image).name}"

    def to_json(self) -> dict:
        """The case as JSON values."""
        return asdict(self) | {"plan": self.plan.to_json() if self.plan else None}


@dataclass(frozen=True)
class BundleModel:
    """A compiled model.

    Args:
        target: as JSON.
        precision: in which it runs.
        batches: batch sizes for which it was compiled, or None for any.
        files: in the bundle; the device opens the first.
    """

    target: Mapping[str, object]
    precision: str
    batches: tuple[int, ...] | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle's manifest and the folder it was read from.

    Args:
        folder: its current location; not stored.
        recipe: name.
        params: resolved parameters, without those that name a location.
        spec: fields of the graph's spec.
        ports: of the graph at the exported batch size.
        cases: in order.
        files: digest by relative path of everything in the bundle.
        model: output of `compile`, or None.
        notes: by output file: the digests of its image and model, and its seconds.
    """

    folder: Path
    recipe: str
    params: Mapping[str, object]
    spec: Mapping[str, object]
    ports: ModelPorts
    cases: tuple[BundleCase, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    model: BundleModel | None = None
    notes: Mapping[str, Mapping] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """A file of the bundle by its relative name.

        Raises:
            DataError: the name points outside the bundle.
        """
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise DataError("a bundle names its files by relative paths inside it", received=name)
        return self.folder / pure

    def checked(self, name: str) -> Path:
        """A file of the bundle, verified by its digest.

        Raises:
            DataError: it is missing, changed or truncated.
        """
        path, expected = self.path(name), self.files.get(name)
        if expected is None or not path.is_file():
            raise DataError(f"{name} is missing from the bundle", remedy="Copy the whole folder again.")
        if digest(path) != expected:
            raise DataError(f"{name} was changed or truncated", remedy="Copy the whole folder again.")
        return path

    def load(self, name: str) -> np.ndarray:
        """A verified array."""
        return np.load(self.checked(name), allow_pickle=False)

    def with_files(self, *names: str, **changes: Any) -> Bundle:
        """The bundle with the digests of files that were just written, and with other fields changed."""
        files = {**self.files, **{name: digest(self.path(name)) for name in names}}
        return replace(self, files=files, **changes)

    def write(self) -> None:
        """Writes the manifest, atomically and after everything else."""
        content = {
            "format": FORMAT,
            "recipe": self.recipe,
            "params": dict(self.params),
            "spec": dict(self.spec),
            "ports": self.ports.to_json(),
            "cases": [case.to_json() for case in self.cases],
            "files": dict(self.files),
            "model": asdict(self.model) if self.model else None,
            "notes": dict(self.notes),
        }
        write_json(self.folder / MANIFEST, content)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder.

    Raises:
        ParameterError: there is none.
        DataError: its manifest is not valid.
    """
    if not (folder / MANIFEST).is_file():
        raise ParameterError(
            f"no hand-over bundle in {folder}",
            received="no such folder" if not folder.is_dir() else f"a folder without {MANIFEST}",
            remedy="Name the folder that `cookbook export` wrote.",
        )
    refuse_links(folder)
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("format")
        content["ports"] = ModelPorts.from_json(content["ports"])
        content["cases"] = tuple(_read_case(case) for case in content["cases"])
        content["model"] = _read_model(content["model"])
        bundle = Bundle(folder=folder, **content)
        _check_kinds(bundle)
        return bundle
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DataError(
            f"invalid hand-over bundle in {folder}",
            received=type(error).__name__,
            expected=f"{MANIFEST} of format {FORMAT}",
            remedy="Name the folder that `cookbook export` wrote.",
        ) from None


def refuse_links(folder: Path) -> None:
    """Refuses a bundle with a link in it, through which a step would read or write somewhere else.

    Raises:
        DataError: something below the folder is neither a plain file nor a folder.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            kind = stat.S_IFMT(path.lstat().st_mode)
            if kind not in (stat.S_IFREG, stat.S_IFDIR):
                link = f"a link to {os.readlink(path)}" if kind == stat.S_IFLNK else "a device, pipe or socket"
                raise DataError(
                    f"a bundle holds plain files only: {folder}",
                    received=f"{path.relative_to(folder)} is {link}",
                    remedy="If the link is yours, copy the bundle with `cp -rL`; otherwise do not use this bundle.",
                )


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array as `.npy`, atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_case(content: dict) -> BundleCase:
    plan = content.pop("plan")
    return BundleCase(**content, plan=WindowPlan.from_json(plan) if plan else None)


def _check_kinds(bundle: Bundle) -> None:
    """Refuses values of another kind than `write` writes; the manifest comes from another machine."""
    names = [name for case in bundle.cases for name in (case.id, case.image, case.source_digest)]
    names += [bundle.recipe, *bundle.files, *bundle.files.values(), *bundle.notes]
    mappings = [bundle.params, bundle.spec, bundle.files, bundle.notes, *bundle.notes.values()]
    if bundle.model:
        names += [bundle.model.precision, *bundle.model.files]
        mappings.append(bundle.model.target)
        if not bundle.model.files or not all(type(size) is int and size > 0 for size in bundle.model.batches or ()):
            raise ValueError("model")
    if not all(isinstance(name, str) for name in names) or not all(isinstance(each, Mapping) for each in mappings):
        raise TypeError("names and mappings")


def _read_model(content: dict | None) -> BundleModel | None:
    if content is None:
        return None
    batches = tuple(content["batches"]) if content["batches"] else None
    return BundleModel(content["target"], content["precision"], batches, tuple(content["files"]))
