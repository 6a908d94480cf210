"""Reads untrusted pickles that contain only plain values, tensors and numpy numbers, and runs none of their code.

Files of `torch.save` are read by torch's own restricted unpickler, the sidecars of nnU-Net v1 (`plans.pkl`,
`.model.pkl`) by one with an equally short list of allowed names. A file that needs any other name is rejected with an
error that states the name.
"""

from __future__ import annotations

import io
import logging
import math
import pickle
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from helpers.errors import CheckpointError

_LOG = logging.getLogger("cookbook")
_PLAIN_GLOBALS = ("collections.OrderedDict", "builtins.set")
_ZIP, _PICKLE, _TAR = b"PK\x03\x04", b"\x80", b"ustar"
_CHUNK_BYTES = 1 << 20
_NUMBER_KINDS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


class NumberDtype:
    """Replaces `numpy.dtype` during reading: a kind of number whose byte order is set afterwards."""

    def __init__(self, kind: str, *_: object):
        if not self._is_known(kind):
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype({kind!r})")
        self.dtype = np.dtype(kind)

    @classmethod
    def _is_known(cls, kind: str) -> bool:
        return kind in _NUMBER_KINDS

    def __setstate__(self, state: tuple) -> None:
        version, order, *rest = state
        plain = [self.dtype.itemsize, self.dtype.alignment, 8] if self.dtype.kind == "U" else [-1, -1, 0]
        if version != 3 or order not in ("<", ">", "|", "=") or rest != [None, None, None, *plain]:
            raise pickle.UnpicklingError("GLOBAL numpy.dtype with a state of its own")
        self.dtype = self.dtype.newbyteorder(order)


class TextDtype(NumberDtype):
    """As `NumberDtype`, also for text of a fixed length, such as the ids in `splits_final.pkl` of nnU-Net v1."""

    @classmethod
    def _is_known(cls, kind: str) -> bool:
        return super()._is_known(kind) or re.fullmatch(r"U\d{1,4}", str(kind)) is not None


class Array(np.ndarray):
    """Replaces `numpy.ndarray` during reading: empty until its state, the numbers in the file, is set."""

    def __new__(cls, *_: object) -> Array:
        return super().__new__(cls, (0,))

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("GLOBAL numpy.ndarray of objects")
        shape = _checked_shape(shape, dtype, data)
        super().__setstate__((1, shape, dtype.dtype, bool(is_fortran), data))  # type: ignore[arg-type]  # numpy.bool


def _reconstruct(*_: object) -> Array:
    return Array()


def _scalar(dtype: NumberDtype, data: bytes) -> np.generic:
    _checked_shape((), dtype, data)
    return np.frombuffer(bytes(data), dtype.dtype)[0]


def _frombuffer(data: bytes, dtype: NumberDtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    array = np.frombuffer(bytes(data), dtype.dtype)
    return array.reshape(_checked_shape(shape, dtype, data), order="F" if order == "F" else "C").copy()


def _checked_shape(shape: tuple[int, ...], dtype: object, data: bytes) -> tuple[int, ...]:
    if not isinstance(dtype, NumberDtype):
        raise pickle.UnpicklingError("GLOBAL numpy.dtype that is not a number")
    sizes = [size for size in shape if isinstance(size, int) and size >= 0]
    if len(sizes) != len(shape) or math.prod(sizes) * dtype.dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} does not fit its {len(data)} bytes")
    return tuple(sizes)


class Inert:
    """Replaces a class that training checkpoints mention next to their weights, and ignores what they say of it."""

    def __new__(cls, *_: object) -> Inert:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def _inert_attribute(owner: object, name: object) -> type[Inert]:
    # Before protocol 4 a pickle names a method with getattr(class, name); nothing is looked up here.
    if owner is not Inert or not isinstance(name, str):
        raise pickle.UnpicklingError("GLOBAL builtins.getattr")
    return Inert


# mmengine writes its loss curves, Lightning and plain training loops their arguments and paths.
_INERT = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "argparse.Namespace",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)

# numpy 1 writes numpy.core, numpy 2 numpy._core; _frombuffer is how protocol 5 writes arrays.
_REPLACEMENTS: dict[str, Callable[..., Any]] = {"numpy.dtype": NumberDtype, "numpy.ndarray": Array}
_REPLACEMENTS |= dict.fromkeys(_INERT, Inert)
_REPLACEMENTS["builtins.getattr"] = _inert_attribute
for _core in ("numpy.core", "numpy._core"):
    _REPLACEMENTS[f"{_core}.multiarray.scalar"] = _scalar
    _REPLACEMENTS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    _REPLACEMENTS[f"{_core}.numeric._frombuffer"] = _frombuffer


def read_torch_pickle(path: str | Path) -> Any:
    """Reads a file of `torch.save` with `torch.load(weights_only=True)`, tensors on the CPU.

    Raises:
        CheckpointError: it is another kind of file, is truncated, or needs a global other than those of tensors,
            plain values, and numpy's scalars, dtypes and arrays.
    """
    import torch

    path = Path(path)
    _check_format(path)
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (replacement, name) for name, replacement in _REPLACEMENTS.items()
    ]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols: rejected or harmless
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from None
    except Exception as error:  # which error a damaged pickle raises depends on the damaged bytes
        if "weights_only" in str(error):
            raise _old_or_scripted(path, error) from None
        raise _damaged(path, error) from None


def read_torch_facts(path: str | Path) -> Any:
    """Reads the plain values of a file of `torch.save`; every tensor is replaced by None, and torch is not imported.

    Raises:
        CheckpointError: as `read_torch_pickle`.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return _FactsUnpickler(io.BytesIO(archive.read(name))).load()
    except Exception as error:  # damaged, of another form, or not safe: torch's own reader says which
        _LOG.debug("%s: %s", path, error)
        return read_torch_pickle(path)


def read_plain_pickle(path: str | Path, names: Collection[str] = (), text: bool = False) -> Any:
    """Reads a pickle of plain values and numpy numbers, such as nnU-Net v1's `plans.pkl`.

    Args:
        path: the file.
        names: globals, such as functions, that it may name; each is read as its own name, and nothing is imported.
        text: whether it may hold numpy's arrays of text.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or needs a global other than those of plain values and
            numpy's scalars, dtypes and arrays.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            return _PlainUnpickler(stream, names, text).load()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read", received=error.strerror) from None
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from None
    except Exception as error:  # which error a damaged pickle raises depends on the damaged bytes
        raise _damaged(path, error) from None


class _PlainUnpickler(pickle._Unpickler):
    # pickle's C implementation sets the state of any object; only the Python one lets a subclass prevent that.
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def __init__(self, stream: BinaryIO, names: Collection[str] = (), text: bool = False):
        super().__init__(stream)
        self._names, self._text = frozenset(names), text

    def find_class(self, module: str, name: str) -> Any:
        if not name:
            raise EOFError("the file ends within a name")
        full_name = f"{module}.{name}"
        if full_name in self._names:
            return full_name
        if self._text and full_name == "numpy.dtype":
            return TextDtype
        if full_name in _REPLACEMENTS:
            return _REPLACEMENTS[full_name]
        if full_name == "_codecs.encode":
            return _latin1_bytes
        if full_name in _PLAIN_GLOBALS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"GLOBAL {full_name}")

    def load_build(self) -> None:
        if type(self.stack[-2]) not in (NumberDtype, TextDtype, Array):
            raise pickle.UnpicklingError(f"GLOBAL state of a {type(self.stack[-2]).__name__}")
        super().load_build()  # type: ignore[misc]  # missing in typeshed

    dispatch[pickle.BUILD[0]] = load_build


class _FactsUnpickler(_PlainUnpickler):
    # Tensors are rebuilt by these functions from storages, which the pickle names but does not hold.
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_PlainUnpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")):
            return _no_tensor
        if (module, name) == ("torch", "device") or (
            module in ("torch", "torch.storage") and name.endswith("Storage")
        ):
            return _no_tensor
        return super().find_class(module, name)

    def persistent_load(self, pid: object) -> None:
        return None

    def load_build(self) -> None:
        if isinstance(self.stack[-2], OrderedDict):
            self.stack.pop()  # a state dict's metadata
            return
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def _no_tensor(*_: object) -> None:
    return None


def _latin1_bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":  # as protocol 2 writes bytes; another name would look up a codec
        raise pickle.UnpicklingError(f"GLOBAL _codecs.encode({encoding!r})")
    return text.encode(encoding)


def _check_format(path: Path) -> None:
    with open(path, "rb") as stream:
        head = stream.read(262)
    if head.startswith(_ZIP):
        if any(name.endswith("/data.pkl") for name in _names_in_zip(path)):
            _check_sums(path)
            return
        received = "a zip archive of other files"
    elif head.startswith(_PICKLE) or head[257:] == _TAR:
        return
    else:
        received = f"first bytes {head[:4].hex()}"
    raise CheckpointError(
        f"{path} is not a torch.save file",
        received=received,
        remedy="Pass the .pth, .pt, .model or .safetensors file itself; unpack an archive first.",
    )


def _names_in_zip(path: Path) -> list[str]:
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("a zip archive without its end")
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception as error:  # which error depends on the damaged bytes
        raise _damaged(path, error) from None


def _check_sums(path: Path) -> None:
    """Compares the checksum of every record, which torch itself does not: a damaged byte would become a weight."""
    try:
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                if record.CRC == 0:  # torch can be told to write none
                    continue
                with archive.open(record) as stream:
                    while stream.read(_CHUNK_BYTES):
                        pass
    except Exception as error:  # which error depends on the damaged bytes
        raise _damaged(path, error) from None


def _refusal(path: Path, error: pickle.UnpicklingError) -> CheckpointError:
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named:
        return _unsafe(path, named.group(1))
    # Opcodes of newer protocols are rejected before any name is read; find the name without running the pickle.
    unknown = [name for name in _names_in_pickle(path) if name not in _REPLACEMENTS and name not in _PLAIN_GLOBALS]
    if unknown:
        return _unsafe(path, unknown[0])
    message = str(error).split("WeightsUnpickler error:")[-1].strip().split("\n")[0]
    return _damaged(path, message)


def _names_in_pickle(path: Path) -> list[str]:
    names: list[str] = []
    strings: list[str] = []
    try:
        with open(path, "rb") as stream:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    except Exception as error:  # a zip archive or a damaged stream: report the names found so far
        _LOG.debug("%s: %s", path, error)
    return names


def _unsafe(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is rejected because it contains more than weights",
        received=f"a pickle that needs {what}",
        expected="tensors, plain values and numpy numbers",
        remedy="Nothing in it was run. If you trust it, save the state dict alone and use that file.",
    )


def _old_or_scripted(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read safely",
        received="a TorchScript archive" if "TorchScript" in str(error) else "torch's tar format from before 2018",
        expected="a state dict",
        remedy="If you trust it, save the state dict alone and use that file.",
    )


def _damaged(path: Path, cause: object) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated or damaged",
        received=str(cause).strip().split("\n")[0] or type(cause).__name__,
        remedy="Copy or download it again, then compare its digest.",
    )
