"""Pickles read without trust: plain values, tensors and numpy's numbers, and nothing that could be called.

Files of `torch.save` go through torch's own restricted unpickler, the sidecars of nnU-Net v1 (`plans.pkl`,
`.model.pkl`) through one with the same short list. A file that asks for anything else is refused by name.
"""

from __future__ import annotations

import logging
import math
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from helpers.errors import CheckpointError

_NUMBER_KINDS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


class NumberDtype:
    """Stands in for `numpy.dtype`: one of the kinds of numbers, and a byte order that is set afterwards."""

    def __init__(self, kind: str, *_: object):
        if kind not in _NUMBER_KINDS:
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype({kind!r})")
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: tuple) -> None:
        version, order, *rest = state
        if version != 3 or order not in ("<", ">", "|", "=") or rest != [None, None, None, -1, -1, 0]:
            raise pickle.UnpicklingError("GLOBAL numpy.dtype with a state of its own")
        self.dtype = self.dtype.newbyteorder(order)


class Array(np.ndarray):
    """Stands in for `numpy.ndarray`: empty until its state is set, then the numbers of the file."""

    def __new__(cls, *_: object) -> Array:
        return super().__new__(cls, (0,))

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("GLOBAL numpy.ndarray of objects")
        super().__setstate__((1, _checked_shape(shape, dtype, data), dtype.dtype, bool(is_fortran), data))


def _reconstruct(*_: object) -> Array:
    return Array()


def _scalar(dtype: NumberDtype, data: bytes) -> np.generic:
    return np.frombuffer(bytes(data), dtype.dtype).reshape(_checked_shape((), dtype, data))[()]


def _frombuffer(data: bytes, dtype: NumberDtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    array = np.frombuffer(bytes(data), dtype.dtype)
    return array.reshape(_checked_shape(shape, dtype, data), order="F" if order == "F" else "C").copy()


def _checked_shape(shape: tuple[int, ...], dtype: object, data: bytes) -> tuple[int, ...]:
    if not isinstance(dtype, NumberDtype):
        raise pickle.UnpicklingError("GLOBAL numpy.dtype that is no number")
    sizes = [size for size in shape if isinstance(size, int) and size >= 0]
    if len(sizes) != len(shape) or math.prod(sizes) * dtype.dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} does not fit its {len(data)} bytes")
    return tuple(sizes)


# numpy 1 wrote numpy.core, numpy 2 writes numpy._core; _frombuffer is how protocol 5 writes arrays.
STAND_INS: dict[str, Any] = {"numpy.dtype": NumberDtype, "numpy.ndarray": Array}
for _core in ("numpy.core", "numpy._core"):
    STAND_INS[f"{_core}.multiarray.scalar"] = _scalar
    STAND_INS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    STAND_INS[f"{_core}.numeric._frombuffer"] = _frombuffer


_LOG = logging.getLogger("cookbook")
_PLAIN = ("collections.OrderedDict", "builtins.set")
_ZIP, _PICKLE, _TAR = b"PK\x03\x04", b"\x80", b"ustar"


def read_torch_pickle(path: str | Path) -> Any:
    """The content of a file of `torch.save`, tensors on the CPU, through `torch.load(weights_only=True)`.

    Raises:
        CheckpointError: the file is no such file, is truncated, or names a global beyond tensors, plain
            values and numpy's scalar, dtype and array reconstructors.
    """
    path = Path(path)
    _refuse_other_formats(path)
    allowed = [(stand_in, name) for name, stand_in in STAND_INS.items()]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols, which are refused or harmless
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from None
    except Exception as error:  # what a damaged pickle raises depends on which bytes are wrong
        if "weights_only" in str(error):
            raise _old_or_scripted(path, error) from None
        raise _damaged(path, error) from None


def read_plain_pickle(path: str | Path) -> Any:
    """The content of a pickle of plain values and numpy numbers, such as nnU-Net v1's `plans.pkl`.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or names a global beyond plain values and
            numpy's scalar, dtype and array reconstructors.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            return _PlainUnpickler(stream).load()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read", received=error.strerror) from None
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from None
    except Exception as error:  # what a damaged pickle raises depends on which bytes are wrong
        raise _damaged(path, error) from None


class _PlainUnpickler(pickle._Unpickler):
    # Python's own unpickler in Python: the one in C cannot be kept from setting the state of any object.
    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if not name:
            raise EOFError("the file ends within a name")
        full_name = f"{module}.{name}"
        if full_name in STAND_INS:
            return STAND_INS[full_name]
        if full_name == "_codecs.encode":
            return _latin1_bytes
        if full_name in _PLAIN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"GLOBAL {full_name}")

    def load_build(self) -> None:
        if type(self.stack[-2]) not in (NumberDtype, Array):
            raise pickle.UnpicklingError(f"GLOBAL state of a {type(self.stack[-2]).__name__}")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def _latin1_bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":  # how protocol 2 writes bytes; any other name would look up a codec
        raise pickle.UnpicklingError(f"GLOBAL _codecs.encode({encoding!r})")
    return text.encode(encoding)


def _refuse_other_formats(path: Path) -> None:
    with open(path, "rb") as stream:
        head = stream.read(262)
    if head.startswith(_ZIP):
        if any(name.endswith("/data.pkl") for name in _names_in_zip(path)):
            return
        received = "a zip archive of other files"
    elif head.startswith(_PICKLE) or head[257:] == _TAR:
        return
    else:
        received = f"first bytes {head[:4].hex()}"
    raise CheckpointError(
        f"{path} is no file of torch.save",
        received=received,
        remedy="Name the .pth, .pt, .model or .safetensors file itself; unpack an archive first.",
    )


def _names_in_zip(path: Path) -> list[str]:
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("a zip archive without its end")
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception as error:  # what a damaged directory raises depends on which bytes are wrong
        raise _damaged(path, error) from None


def _refusal(path: Path, error: pickle.UnpicklingError) -> CheckpointError:
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named:
        return _unsafe(path, named.group(1))
    # Opcodes of newer protocols are refused before any name is read: look the name up without running it.
    unknown = [name for name in _names_in_pickle(path) if name not in STAND_INS and name not in _PLAIN]
    if unknown:
        return _unsafe(path, unknown[0])
    message = str(error).split("WeightsUnpickler error:")[-1].strip().split("\n")[0]
    return _damaged(path, message)


def _names_in_pickle(path: Path) -> list[str]:
    names, strings = [], []
    try:
        with open(path, "rb") as stream:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    except Exception as error:  # a zip archive or a broken stream: what was seen so far has to do
        _LOG.debug("%s: %s", path, error)
    return names


def _unsafe(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is refused because it holds more than weights",
        received=f"a pickle that asks for {what}",
        expected="tensors, plain values and numpy numbers",
        remedy="Nothing in it was run. Where it is trusted, save the state dict alone and use that file.",
    )


def _old_or_scripted(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read safely",
        received="a TorchScript archive" if "TorchScript" in str(error) else "torch's tar format of before 2018",
        expected="a state dict",
        remedy="Where it is trusted, save the state dict alone and use that file.",
    )


def _damaged(path: Path, cause: object) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated or damaged",
        received=str(cause).strip().split("\n")[0] or type(cause).__name__,
        remedy="Copy or download it again and compare its digest.",
    )
