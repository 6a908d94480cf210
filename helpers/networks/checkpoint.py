"""Loads checkpoints of several projects strictly, without running any code that they contain.

The state dict may be bare (milesial/Pytorch-UNet, whose later files add `mask_values`; safetensors) or stored under a
key: `model_state_dict` (black0017/MedicalZooPytorch, lib/medzoo/BaseModelClass.py), `state_dict`
(open-mmlab/mmsegmentation, Lightning, and the `.model` files of MIC-DKFZ/nnUNet v1), `network_weights` (nnU-Net v2),
or `model`, `net`, `network` or `weights` (training loops of many projects). Weights in a file that are not loaded,
such as moving averages, are named in the report.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helpers.errors import CheckpointError
from helpers.networks.safe_pickle import read_torch_pickle
from helpers.run.digest import LFS_REMEDY, is_lfs_pointer

_LOG = logging.getLogger("cookbook")

StateDict = dict[str, Tensor]

_WRAPPERS = ("model_state_dict", "state_dict", "network_weights", "model", "net", "network", "weights")
# Of DataParallel, torch.compile, and modules that hold the network (Lightning, AveragedModel, training loops).
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_COUNTER = ".num_batches_tracked"  # of batch normalisation; used in training only
_VARIANCE = ".running_var"
_LOADABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SHOWN_KEYS = 5
_MAXIMUM_NOTE_LENGTH = 2000


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file, and what the file says about them.

    Attributes:
        state: the tensors by key, without wrappers and prefixes.
        metadata: short texts that the file contains about itself (`epoch`, `trainer_name`, `meta.mmseg_version`).
        wrapper: the keys that the weights were stored under; `bare` if there were none.
        class_names: of the network's outputs, if the file has them (mmsegmentation).
        mask_values: the values of the classes in mask files, if the file has them (Pytorch-UNet): numbers or colours.
        remarks: what was left out or converted, one phrase each.
    """

    state: StateDict
    metadata: dict[str, str]
    wrapper: str = "bare"
    class_names: tuple[str, ...] = ()
    mask_values: tuple[int | tuple[int, ...], ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadReport:
    """The outcome of loading a checkpoint.

    Attributes:
        n_tensors: number of loaded tensors.
        metadata: short texts that the file contains about itself.
        wrapper: the keys that the weights were stored under; `bare` if there were none.
        remarks: what was left out or converted, one phrase each.
    """

    n_tensors: int
    metadata: dict[str, str] = field(default_factory=dict)
    wrapper: str = "bare"
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"✓ {self.figure.replace(' tensors', ' tensors loaded strictly', 1)}"

    @property
    def figure(self) -> str:
        """The number of tensors, the wrapper, and the remarks."""
        return "; ".join((f"{self.n_tensors} tensors ({self.wrapper})", *self.remarks))


def load_state_dict(path: str | Path, key: str | None = None) -> tuple[StateDict, dict[str, str]]:
    """The weights and the metadata of `read_checkpoint`."""
    checkpoint = read_checkpoint(path, key)
    return checkpoint.state, checkpoint.metadata


def read_checkpoint(path: str | Path, key: str | None = None) -> Checkpoint:
    """Reads the weights of a checkpoint on the CPU, unwrapped and without a `module.` or `model.` prefix.

    Args:
        path: a `.safetensors` file, or any file that `torch.save` wrote (`.pth`, `.pt`, `.model`, `.ckpt`).
        key: where the weights are in the file: a key of its outermost dict, or a prefix of the state dict's keys. By
            default the usual ones are tried.

    Raises:
        CheckpointError: the file is missing, empty, a folder, a Git LFS pointer, a web page or truncated; it contains
            anything but tensors, plain values and numpy numbers; or it has no state dict, or none under `key`.
    """
    return _read(Path(path), key)[1]


def load_checkpoint(
    network: nn.Module,
    path: str | Path,
    adapt: Callable[[StateDict], StateDict] | None = None,
    key: str | None = None,
) -> LoadReport:
    """Loads a checkpoint into a network if every key and every shape matches; otherwise changes nothing.

    Batch normalisation's counters may be missing, because only training uses them. Floating-point weights of other
    widths are converted.

    Args:
        network: the network to load the weights into.
        path: see `read_checkpoint`.
        adapt: renames or drops keys before the comparison, for checkpoints with other names (nnU-Net v2).
        key: see `read_checkpoint`.

    Raises:
        CheckpointError: as `read_checkpoint`; keys are missing or unexpected; shapes differ; a tensor has a type that
            weights cannot have, or a value that is not finite.
    """
    path = Path(path)
    stored, stripped = _read(path, key)
    expected = network.state_dict()
    # A network may have a child of its own that is called `model`: then nothing is stripped.
    checkpoint = stored if stored.state.keys() == expected.keys() else stripped
    state = checkpoint.state if adapt is None else adapt(checkpoint.state)
    differences = _differences(expected, state)
    if differences:
        raise CheckpointError(
            f"{path} does not fit {type(network).__name__}",
            received="; ".join(differences),
            remedy="Use a checkpoint for this recipe, or the network variant that this checkpoint was trained for.",
        )
    _check_values(expected, state, path)
    remarks = (*checkpoint.remarks, *_conversions(expected, state))
    network.load_state_dict(expected | state, strict=True)
    for remark in checkpoint.remarks:
        _LOG.warning("%s: %s", path.name, remark)
    return LoadReport(len(state), checkpoint.metadata, checkpoint.wrapper, remarks)


def _read(path: Path, key: str | None) -> tuple[Checkpoint, Checkpoint]:
    """The checkpoint with its keys as they are stored, and without their prefixes."""
    _check_readable(path)
    if path.suffix.lower() == ".safetensors":
        content, metadata = _read_safetensors(path)
        found = Checkpoint(content, metadata, "safetensors")
    else:
        loaded = read_torch_pickle(path)
        if not isinstance(loaded, Mapping):
            raise _no_state_dict(path, f"a {type(loaded).__name__}")
        found = _unwrap(loaded, path, key)
        _check_tensors(found.state, path)
    stored = replace(found, state={str(name): value.detach() for name, value in found.state.items()})
    prefix = None if key is None or key in found.wrapper.split(" > ") else key
    return stored, _strip_prefixes(stored, path, prefix)


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


def _unwrap(content: Mapping[str, Any], path: Path, key: str | None) -> Checkpoint:
    metadata: dict[str, str] = {}
    remarks: list[str] = []
    wrappers: list[str] = []
    class_names: tuple[str, ...] = ()
    names = _WRAPPERS if key is None or not isinstance(content.get(key), Mapping) else (key, *_WRAPPERS)
    while name := next((w for w in names if isinstance(content.get(w), Mapping)), None):
        metadata |= _notes({other: value for other, value in content.items() if other != name})
        class_names = class_names or _class_names(content.get("meta"))
        remarks += _other_weights(content, name)
        wrappers.append(name)
        content = content[name]
    mask_values = content.get("mask_values")
    if not wrappers and mask_values is not None:
        metadata["mask_values"] = str(mask_values)
    content = {name: value for name, value in content.items() if name != "mask_values"}
    if not content:
        raise _no_state_dict(path, "an empty dict")
    return Checkpoint(
        content,
        metadata,
        " > ".join(wrappers) or "bare",
        class_names,
        _mask_values(path, mask_values),
        tuple(remarks),
    )


def _class_names(meta: object) -> tuple[str, ...]:
    # mmsegmentation before 1.0 writes CLASSES, later versions dataset_meta.
    if not isinstance(meta, Mapping):
        return ()
    described = meta.get("dataset_meta")
    names = described.get("classes") if isinstance(described, Mapping) else meta.get("CLASSES")
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()


def _mask_values(path: Path, values: object) -> tuple[int | tuple[int, ...], ...]:
    if not isinstance(values, (list, tuple)):
        return ()
    levels = [level for value in values for level in (value if isinstance(value, (list, tuple)) else (value,))]
    if not all(isinstance(level, (bool, int, float)) and level == round(level) for level in levels):
        raise CheckpointError(f"{path} has unusable mask_values", received=str(values)[:80], expected="whole numbers")
    return tuple(tuple(map(int, value)) if isinstance(value, (list, tuple)) else int(value) for value in values)


def _other_weights(content: Mapping[str, Any], chosen: str) -> list[str]:
    """The weights next to the chosen ones, such as moving averages: the same keys, or a list of tensors."""
    remarks = []
    keys = {_bare(key) for key in content[chosen]}
    for name, value in content.items():
        if name == chosen or not isinstance(value, Mapping):
            continue
        inner = [v for v in (value, *(value.get(w) for w in _WRAPPERS)) if isinstance(v, Mapping)]
        if any(len(keys & {_bare(key) for key in mapping}) * 2 >= len(keys) > 0 for mapping in inner):
            remarks.append(f"{chosen} is used; {name} has the same keys and is not (-p checkpoint_key {name})")
        elif "shadow_params" in value:
            remarks.append(f"{chosen} is used; the moving averages in {name} have no keys and are not")
    return remarks


def _bare(key: object) -> str:
    text = str(key)
    while prefix := next((p for p in _PREFIXES if text.startswith(p)), None):
        text = text.removeprefix(prefix)
    return text


def _check_tensors(state: Mapping[str, Any], path: Path) -> None:
    groups = [str(key) for key, value in state.items() if isinstance(value, Mapping) and _has_tensors(value)]
    others = [f"{key} ({type(value).__name__})" for key, value in state.items() if not isinstance(value, Tensor)]
    if groups and len(others) == len(state):
        raise CheckpointError(
            f"{path} has weights under unusual keys",
            received=_first(groups),
            expected=f"tensors by key, bare or under {', '.join(_WRAPPERS)}",
            remedy=f"Name the key, for example -p checkpoint_key {groups[0]}.",
        )
    if others:
        raise _no_state_dict(path, f"{len(others)} entries that are not tensors: {_first(others)}")


def _has_tensors(values: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in values.values())


def _no_state_dict(path: Path, received: str) -> CheckpointError:
    return CheckpointError(
        f"{path} does not contain a state dict",
        received=received,
        expected=f"tensors by key, bare or under {', '.join(_WRAPPERS)}",
        remedy="Save the weights with torch.save(model.state_dict(), …).",
    )


def _strip_prefixes(checkpoint: Checkpoint, path: Path, key: str | None) -> Checkpoint:
    state, remarks = checkpoint.state, list(checkpoint.remarks)
    if key is not None:
        state, left = _below(state, f"{key}.")
        if not state:
            raise CheckpointError(
                f"{path} has no weights under {key}",
                received=f"keys {_first(left)}",
                remedy="Correct or drop the parameter checkpoint_key.",
            )
        remarks.append(f"only the keys below {key} are used")
    # All keys share a prefix, or some do and the rest does not belong to the network (a loss, moving averages).
    while prefix := next((p for p in _PREFIXES if any(name.startswith(p) for name in state)), None):
        state, left = _below(state, prefix)
        if left:
            remarks.append(f"not used, because outside {prefix[:-1]}: {_first(left)}")
    return replace(checkpoint, state=state, remarks=tuple(remarks))


def _below(state: Mapping[str, Tensor], prefix: str) -> tuple[StateDict, list[str]]:
    """The entries below a prefix, without it, and the keys of the others."""
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return inside, [name for name in state if not name.startswith(prefix)]


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
    missing = [key for key in expected if key not in received and not key.endswith(_COUNTER)]
    unexpected = [key for key in received if key not in expected]
    reshaped = [
        f"{key} is {tuple(received[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in received and received[key].shape != expected[key].shape
    ]
    named = ((missing, "missing"), (unexpected, "unexpected"), (reshaped, "of another shape"))
    return [f"{len(keys)} {what}: {_first(keys)}" for keys, what in named if keys]


def _is_finite(value: Tensor) -> bool:
    # A sum is several times faster, and finite only if every number is; one that overflows says nothing.
    return bool(torch.isfinite(value.sum())) or bool(torch.isfinite(value).all())


def _check_values(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    weights = {key: value for key, value in state.items() if expected[key].is_floating_point()}
    others = [
        f"{key} ({str(value.dtype).removeprefix('torch.')})"
        for key, value in weights.items()
        if value.dtype not in _LOADABLE or value.layout != torch.strided or value.is_meta
    ]
    if others:
        raise CheckpointError(
            f"{path} has weights of a type that the network cannot compute with",
            received=f"{len(others)} tensors: {_first(others)}",
            expected="dense float32, float64, float16 or bfloat16, and their values",
            remedy="Save the weights as they were before quantisation or conversion.",
        )
    computed = {key: value.to(expected[key].dtype) for key, value in weights.items()}  # float64 may overflow
    broken = [key for key, value in computed.items() if not _is_finite(value)]
    if broken:
        raise CheckpointError(
            f"{path} has weights that are not finite",
            received=f"NaN or infinity in {len(broken)} of {len(weights)} tensors: {_first(broken)}",
            remedy="The training diverged, or a conversion overflowed; use an earlier checkpoint.",
        )
    negative = [key for key, value in computed.items() if key.endswith(_VARIANCE) and bool((value < 0).any())]
    if negative:
        raise CheckpointError(
            f"{path} has negative variances, whose root is NaN",
            received=_first(negative),
            remedy="The file is damaged, or its weights were changed; use another copy.",
        )


def _conversions(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    remarks = []
    kinds = {value.dtype for key, value in state.items() if expected[key].is_floating_point()} - {torch.float32}
    if kinds:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        remarks.append(f"stored as {names}, computed in float32")
    if any(key not in state for key in expected):
        remarks.append("without batch counters, which inference does not use")
    return remarks


def _first(items: Iterable[str]) -> str:
    items = list(items)
    return ", ".join(items[:_SHOWN_KEYS]) + (", …" if len(items) > _SHOWN_KEYS else "")
