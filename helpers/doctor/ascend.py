"""What this machine has of Ascend: chips, CANN, and its Python module."""

from __future__ import annotations

import importlib.util

from helpers.compile.cann import find_cann, release_of
from helpers.compile.npu_smi import list_chips
from helpers.doctor.software import cann_module_is_here


def describe_ascend() -> dict[str, str]:
    """Chips with their load, CANN's version and the opsets that it reads, and where `acl` comes from."""
    chips = [f"{chip}, for ATC {chip.soc_version}" for chip in list_chips()]
    return {
        "Ascend chips": "; ".join(chips) or "none that npu-smi tells",
        "atc (CANN)": _describe_cann(),
        "acl (CANN)": _describe_module(),
    }


def _describe_cann() -> str:
    cann = find_cann()
    if cann is None:
        return "not found: comes with CANN (set_env.sh), not from pip"
    release = release_of(cann.version)
    reads = "reads ONNX opsets {} to {}".format(*release.opsets) if release else "its opsets are not known here"
    return f"{cann.atc}, CANN {cann.version or 'of unknown version'}, {reads}"


def _describe_module() -> str:
    if cann_module_is_here():
        return "here"
    spec = importlib.util.find_spec("acl")
    if spec is None:
        return "not on PYTHONPATH: comes with CANN (set_env.sh), not from pip"
    return f"{spec.origin}: not CANN's compiled module; an unrelated package of that name has to go"
