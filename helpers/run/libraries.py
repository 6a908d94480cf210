"""The installed libraries that results depend on, by the modules that code imports, with their versions."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable, Mapping

from helpers.run.environment import package_version

# Top-level module -> the distributions that may install it: those whose numbers or bytes reach a result.
DISTRIBUTIONS = {
    "PIL": ("Pillow",),
    "SimpleITK": ("SimpleITK",),
    "cc3d": ("connected-components-3d",),
    "highdicom": ("highdicom",),
    "matplotlib": ("matplotlib",),
    "nibabel": ("nibabel",),
    "nncf": ("nncf",),
    "numba": ("numba", "llvmlite"),  # llvmlite compiles what numba writes
    "numpy": ("numpy",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-cann"),
    "onnxsim": ("onnxsim",),
    "openvino": ("openvino",),
    "pydicom": ("pydicom",),
    "safetensors": ("safetensors",),
    "scipy": ("scipy",),
    "tifffile": ("tifffile",),
    "torch": ("torch",),
}


def library_versions(modules: Iterable[str]) -> Mapping[str, str]:
    """The versions of the libraries among some top-level modules, and Python's own without its last figure.

    A library that is not installed is missing from the answer, so that a result made without it is not taken for one
    made with it. Nothing is imported.
    """
    names = sorted(name for module in set(modules) & DISTRIBUTIONS.keys() for name in DISTRIBUTIONS[module])
    versions = {name: version for name in names if (version := _installed(name))}
    return {"python": ".".join(platform.python_version_tuple()[:2]), **versions}


@functools.cache
def _installed(name: str) -> str | None:
    """The version of a distribution, which a process reads once: it keeps the library that it has imported."""
    return package_version(name)
