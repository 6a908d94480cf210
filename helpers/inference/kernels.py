"""The inner loops of the accumulation: compiled by numba where it is installed, else in numpy, bit for bit alike.

Sums lie in chunks `store` (chunks, classes, blocks, rows, columns) float32: a band of rows of one plane, cut into
blocks of columns so that what a window adds to lies together in memory. `table` (depth, bands) int32 says which chunk
holds a band of plane z, at index z modulo the depth.
"""

from __future__ import annotations

import functools
from types import ModuleType


@functools.cache
def load_kernels() -> ModuleType:
    """The module with `add_window`, `label_rows` and `scale_rows`."""
    try:
        from helpers.inference import kernels_numba as kernels
    except ImportError:  # the box of a device may have no more than numpy
        from helpers.inference import kernels_numpy as kernels
    return kernels
