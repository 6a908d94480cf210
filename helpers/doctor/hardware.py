"""Describes CPU, memory, disk and accelerators without importing a vendor's module."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import psutil

from helpers.compile.cann import find_cann, release_of
from helpers.compile.npu_smi import list_npu_devices
from helpers.doctor.software import has_cann_module
from helpers.run.environment import processor_name

# Instruction sets that determine what a CPU runtime gains from lower precision.
_RELEVANT_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "bf16", "i8mm", "sve")
_GIGABYTE = 1e9


def describe_ascend() -> dict[str, str]:
    """Describes the Ascend devices and their load, CANN and the opsets it supports, and the module `acl`."""
    chips = [f"{device}, for ATC {device.soc_version}" for device in list_npu_devices()]
    return {
        "Ascend devices": "; ".join(chips) or "none reported by npu-smi",
        "atc (CANN)": _describe_cann(),
        "acl (CANN)": _describe_module(),
    }


def _describe_cann() -> str:
    cann = find_cann()
    if cann is None:
        return "not found: comes with CANN (set_env.sh), not from pip"
    release = release_of(cann.version)
    reads = "ONNX opsets {} to {}".format(*release.opsets) if release else "unknown opsets"
    return f"{cann.atc}, CANN {cann.version or 'of unknown version'}, {reads}"


def _describe_module() -> str:
    if has_cann_module():
        return "found"
    spec = importlib.util.find_spec("acl")
    if spec is None:
        return "not on PYTHONPATH: comes with CANN (set_env.sh), not from pip"
    return f"{spec.origin}: not CANN's compiled module; uninstall the unrelated package of that name"


def describe_cpu() -> dict[str, str]:
    """Describes the processor, the usable cores and the relevant instruction sets."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    flags = _cpu_flags()
    relevant = [flag for flag in _RELEVANT_FLAGS if flag in flags]
    return {
        "processor": processor_name(),
        "cores for this process": str(usable),
        "instruction sets": ", ".join(relevant) or "none of the relevant ones",
        "bf16 in hardware": "yes" if {"avx512_bf16", "amx_tile", "bf16"} & flags else "no: bf16 is not faster here",
        "int8 dot products": "yes" if {"avx512_vnni", "avx_vnni", "amx_tile", "i8mm"} & flags else "no",
        "matrix tiles (AMX)": "yes" if "amx_tile" in flags else "no",
    }


def describe_memory(folder: Path) -> dict[str, str]:
    """Describes the RAM, and the disk of a folder."""
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(folder)
    return {
        "RAM": f"{memory.total / _GIGABYTE:.1f} GB, {memory.available / _GIGABYTE:.1f} GB free",
        "disk for outputs": f"{disk.free / _GIGABYTE:.1f} GB free",
    }


def describe_accelerators() -> dict[str, str]:
    """Describes NVIDIA GPUs, Ascend NPUs, Cambricon MLUs and their compilers, with the vendors' own tools."""
    return {
        "NVIDIA GPU": _ask(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]),
        "Ascend NPU": _ask(["npu-smi", "info", "-l"]),
        "Cambricon MLU": _ask(["cnmon", "info"]),
        **describe_ascend(),
        "mm_run (MagicMind)": shutil.which("mm_run") or "not found: comes with MagicMind",
    }


def _ask(command: list[str]) -> str:
    program = shutil.which(command[0])
    if program is None:
        return f"none ({command[0]} not found)"
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, encoding="utf-8", errors="replace", timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} does not respond ({type(error).__name__})"
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0:
        return f"{command[0]} failed with exit code {done.returncode}"
    return "; ".join(lines[:4]) or "none"


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()
