"""What a checkpoint tells about its network without loading it: shapes, class names and mask values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class CheckpointFacts:
    """Facts of a checkpoint file.

    Attributes:
        shapes: of the tensors by key, without wrappers and prefixes.
        class_names: of the network's outputs, if the file has them (mmsegmentation).
        mask_values: the values of the classes in mask files, if the file has them (Pytorch-UNet): numbers or colours.
    """

    shapes: Mapping[str, tuple[int, ...]]
    class_names: tuple[str, ...] = ()
    mask_values: tuple[int | tuple[int, ...], ...] = ()

    def length(self, key: str, axis: int, default: int) -> int:
        """The length of one axis of a tensor; the default if the file has no such tensor or axis."""
        shape = self.shapes.get(key, ())
        return shape[axis] if axis < len(shape) else default


def read_facts(path: Path, key: str | None = None) -> CheckpointFacts:
    """Reads the facts of a checkpoint; torch is imported for files of `torch.save` only.

    Args:
        path: see `helpers.networks.checkpoint.read_checkpoint`.
        key: see there.

    Raises:
        CheckpointError: the file cannot be read.
    """
    status = path.stat() if path.is_file() else None
    return _read_facts(path, key, None if status is None else (status.st_size, status.st_mtime_ns, status.st_ino))


@lru_cache(maxsize=8)
def _read_facts(path: Path, key: str | None, version: tuple[int, ...] | None) -> CheckpointFacts:
    if path.suffix.lower() == ".safetensors" and version is not None:
        shapes = _safetensors_shapes(path)
        if shapes is not None:
            return CheckpointFacts(shapes)
    from helpers.networks.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(path, key)
    shapes = {name: tuple(value.shape) for name, value in checkpoint.state.items()}
    return CheckpointFacts(shapes, checkpoint.class_names, checkpoint.mask_values)


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]] | None:
    """The shapes in a file's header; None if the file is damaged or has prefixes, which the full reader handles."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            keys = opened.keys()
            shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in keys}
    except (SafetensorError, ValueError, OSError):
        return None
    return (
        None
        if any(key.startswith(("module.", "model.", "net.", "network.", "_orig_mod.")) for key in keys)
        else shapes
    )
