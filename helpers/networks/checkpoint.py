"""Loads checkpoints of several projects strictly, without running any code that they contain.

The state dict may be bare (milesial/Pytorch-UNet, whose later files add `mask_values`; safetensors) or stored under a
key: `model_state_dict` (black0017/MedicalZooPytorch, lib/medzoo/BaseModelClass.py), `state_dict`
(open-mmlab/mmsegmentation, and the `.model` files of MIC-DKFZ/nnUNet v1) or `network_weights` (nnU-Net v2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from helpers.errors import CheckpointError
from helpers.networks.safe_pickle import read_torch_pickle
from helpers.run.digest import LFS_REMEDY, is_lfs_pointer

StateDict = dict[str, Tensor]

_WRAPPERS = ("model_state_dict", "state_dict", "network_weights")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_EXTRAS_OF_BARE_FILES = ("mask_values",)
_SHOWN_KEYS = 5
_MAXIMUM_NOTE_LENGTH = 2000


@dataclass(frozen=True)
class LoadReport:
    """The outcome of loading a checkpoint.

    Attributes:
        n_tensors: number of loaded tensors.
        metadata: short texts that the file contains about itself.
        wrapper: the keys that the weights were stored under; `bare` if there were none.
    """

    n_tensors: int
    metadata: dict[str, str] = field(default_factory=dict)
    wrapper: str = "bare"

    def __str__(self) -> str:
        return f"✓ {self.n_tensors} tensors loaded strictly ({self.wrapper})"


def load_state_dict(path: str | Path) -> tuple[StateDict, dict[str, str]]:
    """Reads the weights of a checkpoint on the CPU, unwrapped and without a `module.` prefix.

    Args:
        path: a `.safetensors` file, or any file that `torch.save` wrote (`.pth`, `.pt`, `.model`, `.ckpt`).

    Returns:
        The tensors by key, and the metadata in the file as short texts (`epoch`, `trainer_name`,
        `meta.mmseg_version`, …).

    Raises:
        CheckpointError: the file is missing, empty, a folder, a Git LFS pointer, a web page or truncated; it contains
            anything but tensors, plain values and numpy numbers; or it has no state dict.
    """
    state, metadata, _ = _read(Path(path))
    return state, metadata


def load_checkpoint(
    network: nn.Module, path: str | Path, adapt: Callable[[StateDict], StateDict] | None = None
) -> LoadReport:
    """Loads a checkpoint into a network if every key and every shape matches; otherwise changes nothing.

    Args:
        network: the network to load the weights into.
        path: see `load_state_dict`.
        adapt: renames or drops keys before the comparison, for checkpoints with other names (nnU-Net v2).

    Raises:
        CheckpointError: as `load_state_dict`, or keys are missing or unexpected, or shapes differ.
    """
    state, metadata, wrapper = _read(Path(path))
    if adapt is not None:
        state = adapt(state)
    differences = _differences(network.state_dict(), state)
    if differences:
        raise CheckpointError(
            f"{path} does not fit {type(network).__name__}",
            received="; ".join(differences),
            remedy="Use a checkpoint for this recipe, or the network variant that this checkpoint was trained for.",
        )
    network.load_state_dict(state, strict=True)
    return LoadReport(len(state), metadata, wrapper)


def _read(path: Path) -> tuple[StateDict, dict[str, str], str]:
    _check_readable(path)
    if path.suffix == ".safetensors":
        return *_read_safetensors(path), "safetensors"
    content = read_torch_pickle(path)
    if not isinstance(content, Mapping):
        raise _no_state_dict(path, f"a {type(content).__name__}")
    state, metadata, wrapper = _unwrap(content, path)
    _check_tensors(state, path)
    return *_strip_prefixes(state, metadata), wrapper


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder", expected="a file", remedy="Pass the checkpoint file in it.")
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist", remedy="Check the parameter `checkpoint`, or fetch the recipe's weights."
        )
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise CheckpointError(f"{path} is empty", received="0 bytes", remedy="Copy or download it again.")
    with open(path, "rb") as stream:
        head = stream.read(64)
    if is_lfs_pointer(head):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the weights",
            received=f"{size_bytes} bytes of text",
            remedy=LFS_REMEDY,
        )
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise CheckpointError(
            f"{path} is a web page, not the weights",
            received=f"{size_bytes} bytes of HTML",
            remedy="Download it again; the address may require a login.",
        )


def _read_safetensors(path: Path) -> tuple[StateDict, dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as opened:
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - not a mapping
            return state, dict(opened.metadata() or {})
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path} is truncated or damaged",
            received=str(error).split("\n")[0],
            expected="a safetensors file",
            remedy="Copy or download it again, then compare its digest.",
        ) from None


def _unwrap(content: Mapping[str, Any], path: Path) -> tuple[Mapping[str, Any], dict[str, str], str]:
    metadata: dict[str, str] = {}
    wrappers = []
    while name := next((w for w in _WRAPPERS if isinstance(content.get(w), Mapping)), None):
        metadata |= _notes({key: value for key, value in content.items() if key != name})
        wrappers.append(name)
        content = content[name]
    if not wrappers:
        extras = {key: content[key] for key in _EXTRAS_OF_BARE_FILES if key in content}
        metadata |= {key: str(value) for key, value in extras.items()}
        content = {key: value for key, value in content.items() if key not in extras}
    if not content:
        raise _no_state_dict(path, "an empty dict")
    return content, metadata, " > ".join(wrappers) or "bare"


def _check_tensors(state: Mapping[str, Any], path: Path) -> None:
    others = [f"{key} ({type(value).__name__})" for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise _no_state_dict(path, f"{len(others)} entries that are not tensors: {_first(others)}")


def _no_state_dict(path: Path, received: str) -> CheckpointError:
    return CheckpointError(
        f"{path} does not contain a state dict",
        received=received,
        expected=f"tensors by key, bare or under {', '.join(_WRAPPERS)}",
        remedy="Save the weights with torch.save(model.state_dict(), …).",
    )


def _strip_prefixes(state: Mapping[str, Tensor], metadata: dict[str, str]) -> tuple[StateDict, dict[str, str]]:
    plain = {str(key): value.detach() for key, value in state.items()}
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in plain)), None):
        plain = {key.removeprefix(prefix): value for key, value in plain.items()}
    return plain, metadata


def _notes(content: Mapping[str, Any], parent: str = "") -> dict[str, str]:
    # Optimizer states and loss curves are dropped; only texts that fit on a line are kept.
    notes: dict[str, str] = {}
    for key, value in content.items():
        name = f"{parent}{key}"
        if name == "meta" and isinstance(value, Mapping):
            notes |= _notes(value, "meta.")
        elif hasattr(value, "item") and getattr(value, "shape", None) == ():
            notes[name] = str(value.item())
        elif isinstance(value, (str, int, float)) and len(str(value)) <= _MAXIMUM_NOTE_LENGTH:
            notes[name] = str(value)
    return notes


def _differences(expected: Mapping[str, Tensor], received: Mapping[str, Tensor]) -> list[str]:
    missing = [key for key in expected if key not in received]
    unexpected = [key for key in received if key not in expected]
    reshaped = [
        f"{key} is {tuple(received[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in received and received[key].shape != expected[key].shape
    ]
    named = ((missing, "missing"), (unexpected, "unexpected"), (reshaped, "of another shape"))
    return [f"{len(keys)} {what}: {_first(keys)}" for keys, what in named if keys]


def _first(items: Iterable[str]) -> str:
    items = list(items)
    return ", ".join(items[:_SHOWN_KEYS]) + (", …" if len(items) > _SHOWN_KEYS else "")
