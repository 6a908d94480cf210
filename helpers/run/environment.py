"""Versions and machine of a run, and the environment for programs that run another Python."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import psutil

from helpers import __version__
from helpers.params.paths import SOURCE_ROOT

_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "numba",
    "SimpleITK",
    "nibabel",
    "pydicom",
    "highdicom",
    "connected-components-3d",
    "Pillow",
    "safetensors",
    "onnx",
    "onnxsim",
    "onnxruntime",
    "openvino",
    "nncf",
    "matplotlib",
    "papermill",
    "jupyterlab",
)
# Variables that belong to the Python of this process.
_OWN_VARIABLES = ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYDEVD_DISABLE_FILE_VALIDATION")


def describe_environment() -> dict:
    """Describes versions, machine and source revision as JSON, without importing a package."""
    return {
        "cookbook": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in _PACKAGES},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": processor_name(),
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "ram_gb": round(psutil.virtual_memory().total / 1e9, 1),
        },
    }


def package_version(name: str) -> str | None:
    """The installed version of a package, or None; nothing is imported."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """The model name of the processor, as far as the system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _git_commit() -> str | None:
    git = shutil.which("git")
    if git is None or not (SOURCE_ROOT / ".git").exists():
        return None
    done = subprocess.run(
        [git, "-C", str(SOURCE_ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
    )
    return done.stdout.strip() or None


def scrubbed_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment variables for a program that runs another Python.

    A vendor's set_env.sh puts packages on PYTHONPATH and programs on PATH, and its compiler starts the first
    `python3` that it finds. Entries of this project and its virtual environment are removed; all others stay.
    """
    result = {name: value for name, value in (environment or os.environ).items() if name not in _OWN_VARIABLES}
    for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH"):
        entries = [entry for entry in result.pop(name, "").split(os.pathsep) if entry and not _is_own(Path(entry))]
        if entries:
            result[name] = os.pathsep.join(entries)
    return result


def _is_own(entry: Path) -> bool:
    entry = Path(os.path.abspath(entry))
    in_venv = sys.prefix != sys.base_prefix and entry.is_relative_to(sys.prefix)
    return in_venv or entry == SOURCE_ROOT
