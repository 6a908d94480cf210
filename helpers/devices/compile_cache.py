"""The runtime's own cache of compiled kernels, in a folder that only one model, version and processor can use.

OpenVINO finds an entry by the path, size and time stamp of a model, which a model replaced in place can share. The
folder is therefore named by the content of the model, and its files are compared with their digests before they are
used: a cache can make opening faster, but never open another model.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from helpers.run.digest import digest_file, digest_value
from helpers.run.environment import package_version, processor_name

_SEAL = "seal.json"


@contextlib.contextmanager
def compile_cache(root: Path, runtime: str, identity: Mapping[str, object]) -> Iterator[dict[str, str]]:
    """Yields the options with which a session uses its cache; a session that is opened in the block fills it.

    Args:
        root: the folder of all caches.
        runtime: those without a cache of their own get no options.
        identity: digests of the model's files and the options that it is opened with.
    """
    if runtime != "openvino":
        yield {}
        return
    machine = {"version": package_version("openvino"), "processor": processor_name()}
    folder = root / digest_value({**identity, **machine})[:32]
    if _is_sealed(folder):
        yield {"cache_folder": str(folder)}
        return
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=root) as work:
        made = Path(work) / "cache"
        made.mkdir()
        yield {"cache_folder": str(made)}
        _seal(made)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process has just stored the same model
            os.replace(made, folder)


def _seal(folder: Path) -> None:
    digests = {path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    (folder / _SEAL).write_text(json.dumps(digests), encoding="utf-8")


def _is_sealed(folder: Path) -> bool:
    try:
        digests = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
        names = {path.name for path in folder.iterdir()} - {_SEAL}
        return names == set(digests) and all(digest_file(folder / name) == digests[name] for name in names)
    except (OSError, ValueError, TypeError):
        return False
