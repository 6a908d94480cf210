"""Stand-ins for numpy's own unpickling functions, which trust what they read; these take plain numbers only.

A pickle may set any state of a dtype, flags included, and numpy then treats bytes of the file as objects. Here a
dtype is a kind of number and a byte order, and scalars and arrays are built from it and from bytes of their size.
"""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np

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
