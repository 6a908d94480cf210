"""nnU-Net's resampling of images, with one matrix per axis: the same values in a fraction of the time.

nnU-Net (nnunetv2/preprocessing/resampling/default_resampling.py) calls scikit-image's `resize` with edge mode,
which is SciPy's spline interpolation between voxel centres. Splines are separable and linear, so every axis is a
matrix product; the matrix comes from SciPy's interpolation of the unit vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from helpers.data.nnunet.plan import Resampling
from helpers.errors import DataError

BLOCK_ROWS = 64  # new voxels of an axis that are computed together
NEGLIGIBLE = 1e-9
ANISOTROPY = 3.0  # an axis that is coarser by a larger factor is resampled separately
_DEFAULT, _TORCH, _NONE = "resample_data_or_seg_to_shape", "resample_torch_fornnunet", "no_resampling_hack"
_TORCH_DEFAULTS = {"mode": "linear", "aniso_axis_mode": "nearest-exact"}
_WITHOUT_EFFECT = {"num_threads", "device", "memefficient_seg_resampling"}


@dataclass(frozen=True)
class Interpolation:
    """How a function of nnU-Net interpolates.

    Attributes:
        order: order of the spline.
        order_z: order along an axis that is resampled separately.
        force: whether the coarsest axis is resampled separately; None: if it is far coarser than the others.
    """

    order: int
    order_z: int = 0
    force: bool | None = None

    def axis(self, first_mm: Sequence[float], second_mm: Sequence[float]) -> int | None:
        """The axis that is resampled separately, as `separate_axis` finds it, or None."""
        if self.force is None:
            return separate_axis(first_mm, second_mm)
        return _coarsest(first_mm) if self.force else None


def interpolation_of(resampling: Resampling) -> Interpolation | None:
    """What the function of a plan does; None for nnU-Net's function that resamples nothing.

    PyTorch's linear interpolation is that of order 1, and its "nearest-exact" that of order 0.

    Raises:
        DataError: the function, or an argument of it, is not one of those that are supported.

    >>> interpolation_of(Resampling("resample_torch_fornnunet", (("force_separate_z", False),)))
    Interpolation(order=1, order_z=0, force=False)
    """
    options = dict(resampling.options)
    threshold = options.pop("separate_z_anisotropy_threshold", ANISOTROPY)
    force = options.pop("force_separate_z", False if resampling.options and resampling.function == _DEFAULT else None)
    is_mask = options.pop("is_seg", False)
    if resampling.function == _NONE:
        return None
    found = None
    if resampling.function == _DEFAULT:
        found = Interpolation(int(options.pop("order", 3)), int(options.pop("order_z", 0)), force)
    elif resampling.function == _TORCH:
        modes = {name: options.pop(name, value) for name, value in _TORCH_DEFAULTS.items()}
        found = Interpolation(1, 0, force) if modes == _TORCH_DEFAULTS else None
    if found is None or is_mask or threshold != ANISOTROPY or options.keys() - _WITHOUT_EFFECT:
        raise DataError(
            "the plan's resampling is not supported",
            received=f"{resampling.function} with {dict(resampling.options)}",
            expected=f"{_DEFAULT}, {_TORCH} or {_NONE}, with the arguments that nnU-Net's planners write",
        )
    return found


def resampled_shape(shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]) -> tuple[int, ...]:
    """The size of a volume at another spacing, rounded half to even; an axis keeps at least one voxel.

    >>> resampled_shape((40, 512, 512), (5.0, 0.8, 0.8), (2.5, 1.0, 1.0))
    (80, 410, 410)
    """
    return tuple(max(1, round(old / new * size)) for old, new, size in zip(spacing_mm, target_mm, shape, strict=True))


def separate_axis(first_mm: Sequence[float], second_mm: Sequence[float]) -> int | None:
    """The axis that is resampled separately because it is far coarser than the others, or None.

    The first spacing is used if it is anisotropic, else the second. There is no such axis if two are equally coarse.

    >>> separate_axis((5.0, 0.8, 0.8), (1.0, 1.0, 1.0)), separate_axis((1.5, 0.8, 0.8), (1.0, 1.0, 1.0))
    (0, None)
    """
    for spacing_mm in (first_mm, second_mm):
        if max(spacing_mm) / min(spacing_mm) > ANISOTROPY:
            return _coarsest(spacing_mm)
    return None


def _coarsest(spacing_mm: Sequence[float]) -> int | None:
    coarsest = [axis for axis, value in enumerate(spacing_mm) if value == max(spacing_mm)]
    return coarsest[0] if len(coarsest) == 1 else None


def resample_image(
    image: np.ndarray, shape: Sequence[int], axis: int | None, order: int = 3, order_z: int = 0
) -> np.ndarray:
    """Resamples an image (C, Z, Y, X) to another size; float32.

    Args:
        image: array of any real dtype.
        shape: new (Z, Y, X).
        axis: the axis to resample separately with `order_z`, or None. Values are clipped to the range of the channel,
            or of the slice across that axis.
        order: order of the spline, 0 to 5.
        order_z: order along the separate axis; 0 takes the nearest slice.

    >>> image = np.array([0, 4, 8], np.float32).reshape(1, 1, 1, 3)
    >>> resample_image(image, (2, 1, 6), axis=0, order=1)[0].tolist()
    [[[0.0, 1.0, 3.0, 5.0, 7.0, 8.0]], [[0.0, 1.0, 3.0, 5.0, 7.0, 8.0]]]
    """
    image = np.asarray(image, np.float32)
    if image.shape[1:] == tuple(shape):
        return image
    return np.stack([_resample_channel(channel, tuple(shape), axis, order, order_z) for channel in image])


def _resample_channel(
    channel: np.ndarray, shape: tuple[int, ...], axis: int | None, order: int, order_z: int
) -> np.ndarray:
    free = [other for other in range(3) if other != axis]
    across = None if axis is None else tuple(free)
    low, high = channel.min(axis=across, keepdims=True), channel.max(axis=across, keepdims=True)
    result = channel
    # The axes that shrink most are resampled first, which leaves less work for the others.
    for other in sorted(free, key=lambda index: shape[index] / channel.shape[index]):
        result = _along(result, other, shape[other], order)
    result = np.clip(result, low, high)
    return result if axis is None else _along(result, axis, shape[axis], order_z)


def _along(array: np.ndarray, axis: int, size: int, order: int) -> np.ndarray:
    old = array.shape[axis]
    if old == size:
        return array
    if order == 0:
        return np.take(array, nearest_indices(old, size), axis=axis)
    result = np.empty((*array.shape[:axis], size, *array.shape[axis + 1 :]), np.float32)
    for rows, columns, part in _blocks(old, size, order):
        if axis == 0:  # the other axes are one for the product
            np.matmul(part, array[columns].reshape(len(part[0]), -1), out=result[rows].reshape(len(part), -1))
        elif axis == 1:
            np.matmul(part, array[:, columns], out=result[:, rows])
        else:
            np.matmul(array.reshape(-1, old)[:, columns], part.T, out=result.reshape(-1, size)[:, rows])
    return result


@lru_cache(maxsize=32)
def _blocks(old: int, new: int, order: int) -> tuple[tuple[slice, slice, np.ndarray], ...]:
    """Blocks of rows of an axis' matrix: the rows, the columns that matter to them, and that part of the matrix.

    The weights of a spline fall by a factor of two to four from voxel to voxel; those below 1e-9 change no float32.
    """
    matrix, blocks = axis_matrix(old, new, order), []
    for first in range(0, new, BLOCK_ROWS):
        rows = slice(first, min(new, first + BLOCK_ROWS))
        found = np.flatnonzero((np.abs(matrix[rows]) > NEGLIGIBLE).any(axis=0))
        columns = slice(int(found[0]), int(found[-1]) + 1)
        blocks.append((rows, columns, np.ascontiguousarray(matrix[rows, columns])))
    return tuple(blocks)


def nearest_indices(old: int, new: int) -> np.ndarray:
    """The old voxel nearest to each new one; the later one if two are equally near.

    >>> nearest_indices(4, 2).tolist(), nearest_indices(2, 5).tolist()
    ([1, 3], [0, 0, 1, 1, 1])
    """
    centres = old / new * (np.arange(new) + 0.5) - 0.5
    return np.clip(np.floor(centres + 0.5).astype(int), 0, old - 1)


@lru_cache(maxsize=32)
def axis_matrix(old: int, new: int, order: int) -> np.ndarray:
    """The matrix (new, old) float32 of one axis: spline interpolation between voxel centres, edges repeated."""
    from scipy.ndimage import map_coordinates

    centres = old / new * (np.arange(new) + 0.5) - 0.5
    matrix = np.empty((new, old), np.float32)
    for index in range(old):
        matrix[:, index] = map_coordinates(np.eye(1, old, index)[0], [centres], order=order, mode="nearest")
    matrix.setflags(write=False)
    return matrix
