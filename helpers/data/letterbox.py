"""Letterboxing: scales an RGB image into a padded square, and restores a class map to the image's grid.

The steps and their order follow the Ascend recipe for FCN on VOC2012 (ascend/ModelZoo-PyTorch,
contrib/cv/segmentation/FCN-8s): scale, normalise, then pad with zeros; an odd pixel goes to the right or bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.errors import DataError

MEAN_RGB = (123.675, 116.28, 103.53)
STD_RGB = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Letterboxed:
    """A prepared image and the position of the picture in it.

    Attributes:
        image: (3, S, S) float32.
        top, left, height, width: the picture's rectangle in pixels of the square.
        original_height, original_width: the picture's size before scaling.
    """

    image: np.ndarray
    top: int
    left: int
    height: int
    width: int
    original_height: int
    original_width: int

    @property
    def size(self) -> int:
        """Side of the square in pixels."""
        return self.image.shape[-1]


def letterbox(image: np.ndarray, size: int = 500) -> Letterboxed:
    """Prepares an RGB image for the network.

    Scaling is bilinear with half-pixel centres and without antialiasing, rounded to uint8, like cv2's
    INTER_LINEAR; cv2 works in fixed point, so a value may differ by one grey level if the scale is not 1.

    Args:
        image: (H, W, 3) uint8, RGB.
        size: side of the square; the scale is min(size / W, size / H), and the scaled sides are rounded down.

    Raises:
        DataError: the array is not an (H, W, 3) uint8 image, or is so thin that a side is rounded to 0.

    >>> prepared = letterbox(np.zeros((300, 400, 3), np.uint8), size=500)
    >>> prepared.image.shape, (prepared.top, prepared.left), (prepared.height, prepared.width)
    ((3, 500, 500), (62, 0), (375, 500))
    """
    _check_rgb(image)
    original_height, original_width = image.shape[:2]
    scale = _scale_of(original_height, original_width, size)
    height, width = int(original_height * scale), int(original_width * scale)
    if height == 0 or width == 0:
        raise DataError(
            "the image is too thin to be scaled",
            received=f"{original_width} x {original_height} pixels",
            expected=f"sides of at least 1 pixel after scaling into {size} x {size}",
        )
    if (height, width) != (original_height, original_width):
        # Adding a half and truncating rounds like cv2; numpy rounds half to even.
        image = (resize_bilinear(image, height, width) + 0.5).astype(np.uint8)
    normalised = (image.astype(np.float32) - np.array(MEAN_RGB, np.float32)) / np.array(STD_RGB, np.float32)
    top, left = (size - height) // 2, (size - width) // 2
    square = np.zeros((3, size, size), np.float32)
    square[:, top : top + height, left : left + width] = normalised.transpose(2, 0, 1)
    return Letterboxed(square, top, left, height, width, original_height, original_width)


def _check_rgb(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(
            "the array is not an RGB image",
            received=f"{image.shape} {image.dtype}",
            expected="(H, W, 3) uint8",
            remedy="Convert grey or palette images to RGB first.",
        )


def restore_exact(class_map: np.ndarray, prepared: Letterboxed) -> np.ndarray:
    """Crops the picture's rectangle and scales it to the original size with nearest neighbour.

    Args:
        class_map: (S, S) integer classes over the square.
        prepared: the result of `letterbox`.

    Returns:
        (H, W) uint8 classes on the original grid, with no class that is not in the map.

    Raises:
        DataError: the map does not have the size of the square.
    """
    _check_size(class_map, prepared)
    box = class_map[prepared.top :, prepared.left :][: prepared.height, : prepared.width]
    rows = _nearest(prepared.original_height, prepared.height)
    columns = _nearest(prepared.original_width, prepared.width)
    return np.ascontiguousarray(box[rows[:, None], columns[None, :]].astype(np.uint8))


def restore_as_source(class_map: np.ndarray, prepared: Letterboxed) -> np.ndarray:
    """Repeats the published post-processing, defects included, to reproduce its figures.

    It crops the same margin from both sides, which leaves a row or column of padding if the margin is odd. Then it
    interpolates class numbers bilinearly and truncates them, so a boundary pixel between classes 0 and 15 may get
    class 7. Arguments and errors are those of `restore_exact`; returns (H, W) uint8.
    """
    _check_size(class_map, prepared)
    height, width, size = prepared.original_height, prepared.original_width, prepared.size
    scale = _scale_of(height, width, size)
    top, left = int((size - height * scale) // 2), int((size - width * scale) // 2)
    box = class_map[top : size - top, left : size - left]
    return resize_bilinear(box, height, width).astype(np.int32).astype(np.uint8)


def resize_bilinear(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales (H, W) or (H, W, C) bilinearly with half-pixel centres, without antialiasing; returns float32.

    >>> resize_bilinear(np.array([[0, 4]]), 1, 4).tolist()
    [[0.0, 1.0, 3.0, 4.0]]
    """
    values = array.astype(np.float32)
    for axis, length in ((0, height), (1, width)):
        if length == values.shape[axis]:
            continue
        first, second, weight = _linear_taps(length, values.shape[axis])
        weight = weight.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        lower, upper = values.take(first, axis), values.take(second, axis)
        values = lower + (upper - lower) * weight
    return values


def _linear_taps(length_out: int, length_in: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centres = (np.arange(length_out) + 0.5) * (length_in / length_out) - 0.5
    centres = centres.clip(0, length_in - 1)
    first = np.floor(centres).astype(np.intp)
    return first, np.minimum(first + 1, length_in - 1), (centres - first).astype(np.float32)


def _nearest(length_out: int, length_in: int) -> np.ndarray:
    return ((np.arange(length_out) * 2 + 1) * length_in // (2 * length_out)).astype(np.intp)


def _scale_of(height: int, width: int, size: int) -> float:
    return min(size / width, size / height)


def _check_size(class_map: np.ndarray, prepared: Letterboxed) -> None:
    expected = (prepared.size, prepared.size)
    if class_map.shape != expected:
        raise DataError("the class map has the wrong size", received=class_map.shape, expected=expected)
