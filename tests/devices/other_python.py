"""Another Python with numpy 1, in its own environment that is created once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# What the double of acl needs besides numpy; the worker itself needs numpy only.
PACKAGES = ("numpy<2", "onnx", "onnxruntime")
_CHECK = "import sys, numpy, onnx, onnxruntime; sys.exit(numpy.__version__.split('.')[0] != '1')"


def other_python() -> tuple[str | None, str]:
    """(an interpreter of another version with numpy 1, or None; why there is none).

    COOKBOOK_OTHER_PYTHON names an interpreter, with or without the packages; else one is looked for on PATH
    and among pyenv's.
    """
    base = find_interpreter()
    if base is None:
        return None, "no Python of another version >= 3.9: set COOKBOOK_OTHER_PYTHON"
    if _succeeds([base, "-c", _CHECK], 120):
        return base, ""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "segmentation-cookbook" / f"numpy1-python{_version(base)}"
    python = folder / "bin" / "python"
    if not _succeeds([str(python), "-c", _CHECK], 120):
        shutil.rmtree(folder, ignore_errors=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES]
        if not (_succeeds([base, "-m", "venv", str(folder)], 120) and _succeeds(install, 280)):
            return None, f"no environment with {', '.join(PACKAGES)} for {base} (no package index?)"
    return str(python), ""


def find_interpreter() -> str | None:
    """The interpreter to build on."""
    if named := os.environ.get("COOKBOOK_OTHER_PYTHON"):
        return named
    own = "{}.{}".format(*sys.version_info)
    kept_by_pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for version in ("3.10", "3.9", "3.12", "3.11"):
        candidates = [shutil.which(f"python{version}"), *sorted(kept_by_pyenv.glob(f"{version}.*/bin/python"))]
        for found in map(str, filter(None, candidates)):
            if version != own and _version(found) == version:  # a shim may stand for no interpreter
                return found
    return None


def _version(python: str) -> str:
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def _succeeds(command: list[str], timeout_s: float) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=timeout_s).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
