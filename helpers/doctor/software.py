"""Describes the installed packages compared with the pinned ones."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib import metadata

from helpers.params.paths import IS_INSTALLED, SOURCE_ROOT
from helpers.run.environment import package_version


def pinned_versions() -> dict[str, str]:
    """The pinned version of each dependency, by package."""
    if IS_INSTALLED:
        requirements = metadata.requires("segmentation-deployment-cookbook") or []
        lines = [line for line in requirements if "extra ==" not in line]
    else:
        lines = (SOURCE_ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in lines:
        match = re.match(r"([A-Za-z0-9_.-]+)==([^\s;#]+)", line)
        if match:
            pins[match[1]] = match[2]
    return pins


def describe_packages() -> dict[str, str]:
    """Describes each pinned package: its version, or how it differs from the pin."""
    rows = {"Python": sys.version.split()[0]}
    for name, pin in pinned_versions().items():
        have = package_version(name)
        if have is None:
            rows[name] = f"missing; pinned {pin}"
        elif have.split("+")[0] != pin:
            rows[name] = f"{have}; pinned {pin}"
        else:
            rows[name] = have
    return rows


def describe_torch_build() -> str:
    """Describes the installed build of torch, from its version tag and its CUDA packages."""
    version = package_version("torch")
    if version is None:
        return "torch is not installed"
    tag = version.partition("+")[2]
    if tag.startswith("cpu"):
        return f"{version}: CPU build"
    if tag.startswith("cu"):
        return f"{version}: CUDA build ({tag})"
    cuda = sorted(dist.name for dist in metadata.distributions() if (dist.name or "").startswith("nvidia-cuda"))
    return f"{version}: {'CUDA build' if cuda else 'no CUDA packages installed, so a CPU build'}"


def has_module(name: str) -> bool:
    """Whether a module could be imported, without importing it."""
    return importlib.util.find_spec(name) is not None


def has_cann_module() -> bool:
    """Whether CANN's `acl` could be imported: a compiled module, unlike the packages of that name from pip."""
    spec = importlib.util.find_spec("acl")
    return spec is not None and (spec.origin or "").endswith(".so")
