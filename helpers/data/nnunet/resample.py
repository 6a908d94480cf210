"""nnU-Net's resampling of images, one axis after the other: the same values in a fraction of the time.

nnU-Net (nnunetv2/preprocessing/resampling/default_resampling.py) calls scikit-image's `resize` with edge mode,
which is SciPy's spline interpolation between voxel centres. Splines are separable and linear, so along every axis
a new voxel is a weighted sum of old ones; the weights come from SciPy's interpolation of the unit vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from helpers.data.nnunet.plan import Resampling
from helpers.errors import DataError
from helpers.run.cores import share_among_cores

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
    result = np.empty((len(image), *shape), np.float32)
    for channel, target in zip(image, result, strict=True):
        _resample_channel(np.ascontiguousarray(channel), target, axis, order, order_z)
    return result


def _resample_channel(channel: np.ndarray, target: np.ndarray, axis: int | None, order: int, order_z: int) -> None:
    across = None if axis is None else tuple(other for other in range(3) if other != axis)
    low, high = channel.min(axis=across, keepdims=True), channel.max(axis=across, keepdims=True)
    if axis is None or channel.shape[axis] == target.shape[axis]:
        _along_axes(channel, target, order)
        np.clip(target, low, high, out=target)
        return
    sizes = [channel.shape[each] if each == axis else size for each, size in enumerate(target.shape)]
    between = np.empty(sizes, np.float32)
    _along_axes(channel, between, order)
    np.clip(between, low, high, out=between)
    _along_axes(between, target, order_z)


def _along_axes(source: np.ndarray, target: np.ndarray, order: int) -> None:
    """Resamples (Z, Y, X) along every axis whose size changes, in threads that share the rows or planes."""
    if len(source) == len(target):
        _along_planes(source, target, order)
    elif source.shape[1:] == target.shape[1:]:
        _along_depth(source, target, order)
    elif len(target) * source[0].size < len(source) * target[0].size:  # the smaller volume lies between
        between = np.empty((len(target), *source.shape[1:]), np.float32)
        _along_depth(source, between, order)
        _along_planes(between, target, order)
    else:
        between = np.empty((len(source), *target.shape[1:]), np.float32)
        _along_planes(source, between, order)
        _along_depth(between, target, order)


def _along_depth(source: np.ndarray, target: np.ndarray, order: int) -> None:
    from helpers.data.nnunet.spline_kernels import COLUMNS, blend_depth

    flat, goal = source.reshape(len(source), -1), target.reshape(len(target), -1)
    taps, size = _taps(len(source), len(target), order), flat.shape[1]

    def blend(first: int, last: int) -> None:
        blend_depth(flat, *taps, goal, first * COLUMNS, min(last * COLUMNS, size))

    share_among_cores(blend, -(-size // COLUMNS))


def _along_planes(source: np.ndarray, target: np.ndarray, order: int) -> None:
    from helpers.data.nnunet.spline_kernels import blend_planes

    rows, columns = (_taps(source.shape[axis], target.shape[axis], order) for axis in (1, 2))
    share_among_cores(partial(blend_planes, source, *rows, *columns, target), len(source))


@lru_cache(maxsize=32)
def _taps(old: int, new: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each new voxel the first old one that matters, and the weights (new, taps) of it and those behind it.

    The weights of a spline fall by a factor of two to four from voxel to voxel; those below 1e-9 change no float32.
    """
    if old == new:
        return np.arange(new), np.ones((new, 1), np.float32)
    if order == 0:
        return nearest_indices(old, new), np.ones((new, 1), np.float32)
    matrix = axis_matrix(old, new, order)
    matters = np.abs(matrix) > NEGLIGIBLE
    first, last = matters.argmax(axis=1), old - matters[:, ::-1].argmax(axis=1)
    count = int((last - first).max())
    first = np.minimum(first, old - count)
    return first, np.take_along_axis(matrix, first[:, None] + np.arange(count), axis=1)


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
