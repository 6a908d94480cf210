"""Weights of nnU-Net v2's PlainConvUNet under the names of v1, which `GenericUNet` has.

Source: MIC-DKFZ/dynamic-network-architectures, architectures/unet.py. Both networks compute the same; v2 adds
biases to transposed convolutions and outputs, and its state dict lists every unit twice and the whole encoder once
more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from helpers.errors import CheckpointError

_ALIAS = re.compile(r"decoder\.encoder\.|.*\.all_modules\.")
_UNIT = re.compile(r"(encoder|decoder)\.stages\.(\d+)\.(?:0\.)?convs\.(\d+)\.(conv|norm)\.(weight|bias)")
_PLAIN = re.compile(r"decoder\.(transpconvs|seg_layers)\.(\d+)\.(weight|bias)")
_PARTS = {"conv": "conv", "norm": "instnorm", "transpconvs": "tu", "seg_layers": "seg_outputs"}


def is_v2(state: Mapping[str, object]) -> bool:
    """Whether a state dict has v2's names."""
    return any(key.startswith(("encoder.stages.", "encoder.stem.")) for key in state)


def to_v1_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of v2 under v1's names, aliases dropped; one that has v1's names already is handed back as it is.

    Raises:
        CheckpointError: the network is another than PlainConvUNet (a key of it is named).
    """
    if not is_v2(state):
        return dict(state)
    kept = [key for key in state if not _ALIAS.match(key)]
    units = [match for match in map(_UNIT.fullmatch, kept) if match]
    counts: dict[tuple[str, int], int] = {}
    for match in units:
        stage = (match[1], int(match[2]))
        counts[stage] = max(counts.get(stage, 0), int(match[3]) + 1)
    bottleneck = max((stage for half, stage in counts if half == "encoder"), default=0)
    return {_v1_name(key, counts, bottleneck): state[key] for key in kept}


def _v1_name(key: str, counts: Mapping[tuple[str, int], int], bottleneck: int) -> str:
    if match := _PLAIN.fullmatch(key):
        return f"{_PARTS[match[1]]}.{match[2]}.{match[3]}"
    match = _UNIT.fullmatch(key)
    if match is None:
        raise CheckpointError(
            "the checkpoint is of another network than nnU-Net's plain U-Net",
            received=f"the key {key}",
            expected="keys such as encoder.stages.0.0.convs.0.conv.weight",
            remedy="Networks with residual encoders are not supported.",
        )
    half, stage, unit = match[1], int(match[2]), int(match[3])
    leaf = f"{_PARTS[match[4]]}.{match[5]}"
    if half == "encoder" and stage < bottleneck:
        return f"conv_blocks_context.{stage}.blocks.{unit}.{leaf}"
    # v1 builds the bottleneck and each step up of two stacks: all units but the last, and the last.
    is_last = unit == counts[half, stage] - 1
    name = "conv_blocks_context" if half == "encoder" else "conv_blocks_localization"
    return f"{name}.{stage}.{int(is_last)}.blocks.{0 if is_last else unit}.{leaf}"
