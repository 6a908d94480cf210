"""Gives a case the network's size and orientation, and takes scores or labels back to the case's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.card.intensity import apply_steps
from helpers.card.schema import ModelCard, PreparationSection
from helpers.data.case import Case
from helpers.data.geometry import Geometry
from helpers.data.letterbox import resize_bilinear
from helpers.errors import DataError
from helpers.inference import InferenceJob, WindowPlan, resample_slabs, resample_to_labels


@dataclass(frozen=True)
class LabelRule:
    """How scores become labels; the fields are those of `WindowPlan`.

    Attributes:
        channels: of the scores.
        threshold: of a sigmoid class, on the scale of the scores; None: the largest score wins.
        labels: the class that each sigmoid channel paints.
    """

    channels: int
    threshold: float | None = None
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class CardFitting:
    """The way of a case to the network and back.

    Attributes:
        card: says how.
        size: spatial size of the network's input.
        rule: how scores become labels.
        batch_size: windows per call.
    """

    card: ModelCard
    size: tuple[int, ...]
    rule: LabelRule
    batch_size: int

    def prepare(self, case: Case) -> InferenceJob:
        """The prepared case.

        Raises:
            DataError: the case is larger than the network's input, and the card only pads.
        """
        return self._volume(case) if self.card.is_volume else self._picture(case.image)

    def place_of(self, case: Case, marked: np.ndarray) -> tuple[int, ...]:
        """The centre of marked voxels of a case on the grid of its prepared image (Z, Y, X)."""
        view = self._orientation(case)
        turned, shape = view.turn(marked[None])[0], self.prepare(case).image.shape[1:]
        centre = [float(np.median(indices)) for indices in np.nonzero(turned)]
        return tuple(
            int((middle + 0.5) * length / size)
            for middle, length, size in zip(centre, shape, turned.shape, strict=True)
        )

    def _plan(self, shape: tuple[int, ...] | None) -> WindowPlan:
        preparation = self.card.preparation
        return WindowPlan(
            self.size,
            self.rule.channels,
            tile_step_size=preparation.tile_step_size,
            gaussian=preparation.gaussian,
            mirror_axes=tuple(preparation.mirror_axes),
            batch_size=self.batch_size,
            target_shape=shape,
            region_labels=self.rule.labels,
            threshold=self.rule.threshold,
        )

    def _orientation(self, case: Case) -> Orientation:
        if not self.card.is_volume:
            return Orientation((0, 2, 1) if self.card.preparation.axes == "xyz" else (0, 1, 2), ())
        return Orientation.of(case.require_geometry(), self.card.preparation.axes)

    def _volume(self, case: Case) -> InferenceJob:
        preparation, view = self.card.preparation, self._orientation(case)
        turned = view.turn(case.image)
        shape = turned.shape[1:]
        network = _network_shape(preparation, shape, self.size, view.spacing(case.require_geometry()))
        image = resize_volume(turned, network, preparation.interpolation)
        if preparation.fit == "pad":
            _refuse_larger(case.id, image.shape[1:][-len(self.size) :], self.size)
        image = apply_steps(image, preparation.intensity)
        plan = self._plan(None if network == shape else shape)
        return InferenceJob(image, plan, lambda labels: view.undo(labels[None])[0])

    def _picture(self, pixels: np.ndarray) -> InferenceJob:
        preparation, data = self.card.preparation, self.card.data
        if data.colour == "bgr" and len(data.files) == 1:
            pixels = pixels[::-1]
        if preparation.axes == "xyz":
            pixels = pixels.transpose(0, 2, 1)
        if preparation.fit == "window":
            image = apply_steps(pixels, preparation.intensity)[:, None]
            return InferenceJob(image, self._plan(None), lambda labels: self._upright(labels[0]))
        box = _box_of(preparation, pixels.shape[1:], self.size)
        if preparation.fit != "pad":
            pixels = resize_picture(pixels, box.inner, preparation)
        image = apply_steps(pixels, preparation.intensity)
        whole = np.full((len(image), *self.size), preparation.pad_value, np.float32)
        whole[box.slices] = image
        return InferenceJob(whole, None, lambda scores: self._restore(scores[0], box))

    def _restore(self, scores: np.ndarray, box: _Box) -> np.ndarray:
        """Labels (H, W) of scores (channels, h, w), which a network may return at a fraction of its input's size."""
        volume = scores[:, None].astype(np.float32)
        if box.inner != self.size:
            if scores.shape[1:] != self.size:
                volume = _join(volume, (1, *self.size))
            volume = np.ascontiguousarray(volume[:, :, box.slices[1], box.slices[2]])
        threshold, labels = self.rule.threshold or 0.0, self.rule.labels
        made = resample_to_labels(volume, (1, *box.outer), threshold=threshold, region_labels=labels)
        return self._upright(made[0])

    def _upright(self, labels: np.ndarray) -> np.ndarray:
        """Labels in the network's axes as (H, W)."""
        return np.ascontiguousarray(labels.T) if self.card.preparation.axes == "xyz" else labels


@dataclass(frozen=True)
class Orientation:
    """The order and the direction of a volume's axes for the network.

    Attributes:
        order: the array axes (Z, Y, X) that become the network's.
        flipped: of the network's axes, those that run the other way.
    """

    order: tuple[int, ...]
    flipped: tuple[int, ...]

    @classmethod
    def of(cls, geometry: Geometry, axes: str) -> Orientation:
        """The orientation that a card names: zyx, xyz, or the directions that the network's axes point to."""
        if axes in ("zyx", "xyz"):
            return cls((0, 1, 2) if axes == "zyx" else (2, 1, 0), ())
        import nibabel as nib

        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine_lps()
        turn = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes))
        )
        # Row i of `turn`: array axis i of (X, Y, Z) becomes this axis, in this direction.
        order, flipped = [0, 0, 0], []
        for axis, (target, direction) in enumerate(turn):
            order[int(target)] = 2 - axis
            if direction < 0:
                flipped.append(int(target))
        return cls(tuple(order), tuple(sorted(flipped)))

    def turn(self, array: np.ndarray) -> np.ndarray:
        """An array (C, Z, Y, X) in the network's axes."""
        turned = array.transpose(0, *(axis + 1 for axis in self.order))
        return np.ascontiguousarray(np.flip(turned, tuple(axis + 1 for axis in self.flipped)))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """An array in the network's axes as (C, Z, Y, X)."""
        back = np.flip(array, tuple(axis + 1 for axis in self.flipped))
        return np.ascontiguousarray(back.transpose(0, *(int(axis) + 1 for axis in np.argsort(self.order))))

    def spacing(self, geometry: Geometry) -> tuple[float, ...]:
        """The spacing in mm along the network's axes."""
        return tuple(geometry.spacing_mm_zyx[axis] for axis in self.order)


@dataclass(frozen=True)
class _Box:
    """The place of a picture in the network's input, and the picture's own size."""

    top: int
    left: int
    inner: tuple[int, int]
    outer: tuple[int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        rows, columns = self.inner
        return slice(None), slice(self.top, self.top + rows), slice(self.left, self.left + columns)


def _box_of(preparation: PreparationSection, outer: tuple[int, ...], size: tuple[int, ...]) -> _Box:
    height, width = outer
    inner = (size[0], size[1])
    if preparation.fit == "letterbox":
        scale = min(size[0] / height, size[1] / width)
        inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    elif preparation.fit == "pad":
        _refuse_larger("a picture", outer, size)
        inner = (height, width)
    if preparation.anchor == "top_left":
        return _Box(0, 0, inner, (height, width))
    return _Box((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2, inner, (height, width))


def _refuse_larger(what: str, shape: Sequence[int], size: Sequence[int]) -> None:
    if any(length > limit for length, limit in zip(shape, size, strict=True)):
        raise DataError(
            f"{what} is larger than the network's input",
            received=tuple(shape),
            expected=f"at most {tuple(size)} with fit: pad",
            remedy="Set preparation.fit to window or resize.",
        )


def _network_shape(
    preparation: PreparationSection, shape: tuple[int, ...], size: tuple[int, ...], spacing: Sequence[float]
) -> tuple[int, ...]:
    """(Z, Y, X) that a turned volume is resampled to before windows are cut."""
    if preparation.fit == "resize":
        return (*shape[: 3 - len(size)], *size)
    if preparation.spacing_mm is None:
        return shape
    steps = zip(shape, spacing, preparation.spacing_mm, strict=True)
    return tuple(max(1, round(length * have / want)) for length, have, want in steps)


def resize_volume(volume: np.ndarray, shape: Sequence[int], interpolation: str) -> np.ndarray:
    """A volume (C, Z, Y, X) resampled to a shape (Z, Y, X), with half-pixel centres and repeated edges."""
    if volume.shape[1:] == tuple(shape):
        return volume
    if interpolation == "linear":
        return _join(volume.astype(np.float32), shape)
    from scipy import ndimage

    factors = [1.0, *(new / old for new, old in zip(shape, volume.shape[1:], strict=True))]
    order = 3 if interpolation == "cubic" else 0
    return ndimage.zoom(volume.astype(np.float32), factors, order=order, mode="nearest", grid_mode=True)


def _join(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return np.concatenate([slab.scores for slab in resample_slabs(volume, shape)], axis=1)


def resize_picture(pixels: np.ndarray, size: tuple[int, int], preparation: PreparationSection) -> np.ndarray:
    """Channels (C, H, W) resized to (height, width), float32 unless the size stays."""
    if pixels.shape[1:] == size:
        return pixels
    if not preparation.antialias and preparation.interpolation == "linear":
        return np.ascontiguousarray(resize_bilinear(pixels.transpose(1, 2, 0), *size).transpose(2, 0, 1))
    from PIL import Image

    method = {
        "linear": Image.Resampling.BILINEAR,
        "cubic": Image.Resampling.BICUBIC,
        "nearest": Image.Resampling.NEAREST,
    }[preparation.interpolation]
    planes = [Image.fromarray(plane.astype(np.float32)).resize(size[::-1], method) for plane in pixels]
    resized = np.stack([np.asarray(plane) for plane in planes])
    # Cubic interpolation overshoots at edges, beyond what a picture can hold.
    return resized.clip(0, 255) if pixels.dtype == np.uint8 else resized


def crop_window(image: np.ndarray, centre: Sequence[int], plan: WindowPlan) -> np.ndarray:
    """The window (C, *window) around a place (Z, Y, X) of a prepared image, with zeros beyond its edges."""
    sides = plan.box
    missing = [max(0, side - size) for side, size in zip(sides, image.shape[1:], strict=True)]
    image = np.pad(image, [(0, 0), *((gap // 2, gap - gap // 2) for gap in missing)])
    starts = [
        max(0, min(middle + gap // 2 - side // 2, size - side))
        for middle, gap, side, size in zip(centre, missing, sides, image.shape[1:], strict=True)
    ]
    box = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    window = image[(slice(None), *box)]
    return np.ascontiguousarray(window[:, 0] if plan.is_flat else window, np.float32)
