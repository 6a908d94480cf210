"""What a viewer shows of one case: its image, its masks, and what can be derived from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import traitlets

from helpers.data.geometry import Geometry
from helpers.errors import DataError
from helpers.view import comparison
from helpers.view.orientation import LpsOrder
from helpers.view.palette import label_colour
from helpers.view.proxy import block_sizes, shrink_labels
from helpers.view.windows import window_of

_SAMPLED_VOXELS = 2_000_000
_COMPARED = {"errors": "truth", "difference": "other run"}  # mode -> the mask that the prediction is compared with


@dataclass(frozen=True)
class VolumeScene:
    """One case for the interactive views. All arrays are views in LPS order (X to the left, Y to the back, Z up).

    Attributes:
        case_id: for captions.
        image: grey values (Z, Y, X).
        masks: class indices (Z, Y, X) uint8 under "prediction", "truth" and "other run", as far as there are any.
        geometry: of the arrays.
        class_names: of the class indices.
        window: grey values shown black and white.
        order: how the file's own axes were put in order.
    """

    case_id: str
    image: np.ndarray
    masks: Mapping[str, np.ndarray]
    geometry: Geometry
    class_names: tuple[str, ...]
    window: tuple[float, float]
    order: LpsOrder

    @property
    def modes(self) -> tuple[str, ...]:
        """What can be laid over the image, the prediction first."""
        derived = [mode for mode, reference in _COMPARED.items() if {"prediction", reference} <= set(self.masks)]
        return (*self.masks, *derived)

    def labels(self, mode: str, where: tuple | slice) -> np.ndarray:
        """The codes of a mode in a part of the volume: class indices, or the codes of a comparison."""
        if mode in _COMPARED:
            return comparison.compare_labels(self.masks["prediction"][where], self.masks[_COMPARED[mode]][where])
        labels = self.masks[mode][where]
        return np.where(labels == comparison.IGNORED, 0, labels).astype(np.uint8, copy=False)

    def entries(self, mode: str) -> dict[int, tuple[str, str]]:
        """Name and colour of each code of a mode, without the background."""
        if mode in _COMPARED:
            names = comparison.ERROR_NAMES if mode == "errors" else comparison.DIFFERENCE_NAMES
            return {code: (names[code], colour) for code, colour in comparison.COLOURS.items()}
        return {index: (name, label_colour(index)) for index, name in enumerate(self.class_names) if index}

    @cached_property
    def blocks(self) -> tuple[int, int, int]:
        """Voxels along each axis that the display proxy makes one of."""
        return block_sizes(self.image.shape)

    def small_labels(self, mode: str) -> np.ndarray:
        """The codes of a mode on the proxy's grid."""
        return shrink_labels(lambda where: self.labels(mode, where), self.image.shape, self.blocks)

    def start_position(self) -> tuple[int, int, int]:
        """The middle of the worst slice: the most error where there is a truth, else the most foreground."""
        worst = self.worst_slice()
        if worst is None:
            worst = comparison.fullest_slice(self.masks["prediction"])
        centre = self._centre_of(worst)
        return (worst, *centre)

    def worst_slice(self) -> int | None:
        """The slice with the most error, or difference where there is no truth; None where there is none."""
        for reference in ("truth", "other run"):
            if reference in self.masks:
                return comparison.worst_slice(self.masks["prediction"], self.masks[reference])
        return None

    def largest_error(self) -> tuple[int, int, int] | None:
        """The middle of the largest connected error, found on the proxy's grid."""
        mode = next((mode for mode in self.modes if mode in _COMPARED), None)
        found = comparison.largest_error(self.small_labels(mode)) if mode else None
        if found is None:
            return None
        middle = [at * block + block // 2 for at, block in zip(found, self.blocks, strict=True)]
        return tuple(min(at, side - 1) for at, side in zip(middle, self.image.shape, strict=True))

    def _centre_of(self, index: int) -> tuple[int, int]:
        mode = next((mode for mode in self.modes if mode in _COMPARED), "prediction")
        marked = self.labels(mode, index)
        marked = marked >= comparison.EXTRA if mode in _COMPARED else marked > 0
        where = np.argwhere(marked)
        if not len(where):
            return self.image.shape[1] // 2, self.image.shape[2] // 2
        nearest = where[((where - where.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        return int(nearest[0]), int(nearest[1])


def make_scene(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray | None],
    geometry: Geometry,
    class_names: Sequence[str],
    *,
    case_id: str = "",
    window: tuple[float, float] | None = None,
) -> VolumeScene:
    """Checks sizes and puts everything in LPS order without copying it.

    Raises:
        DataError: no prediction, or an array of another size than the geometry.
    """
    given = {name: mask for name, mask in masks.items() if mask is not None}
    if "prediction" not in given:
        raise DataError("nothing to look at: no prediction", received=", ".join(given) or "no mask")
    for name, array in {"image": image, **given}.items():
        if array.shape != tuple(geometry.size_zyx):
            raise DataError(f"the {name} has another size", received=array.shape, expected=geometry.size_zyx)
    order = LpsOrder.of(geometry)
    return VolumeScene(
        case_id,
        order.view(image),
        {name: order.view(mask) for name, mask in given.items()},
        order.geometry(geometry),
        tuple(class_names),
        window or _sampled_window(image),
        order,
    )


def _sampled_window(image: np.ndarray) -> tuple[float, float]:
    every = max(1, round((image.size / _SAMPLED_VOXELS) ** (1 / 3)))
    return window_of(image[::every, ::every, ::every])


FILL_OPACITY, OUTLINE_OPACITY = 0.35, 0.9  # no opacity suits everyone: both are sliders


class ViewState(traitlets.HasTraits):
    """Position (z, y, x) in the scene's arrays, mode, window, opacities, hidden codes and convention."""

    position = traitlets.Tuple(traitlets.Int(), traitlets.Int(), traitlets.Int())
    mode = traitlets.Unicode()
    window = traitlets.Tuple(traitlets.Float(), traitlets.Float())
    fill_opacity = traitlets.Float(FILL_OPACITY, min=0, max=1)
    outline_opacity = traitlets.Float(OUTLINE_OPACITY, min=0, max=1)
    hidden = traitlets.Dict()  # mode -> codes that are not shown
    radiological = traitlets.Bool(True)

    @classmethod
    def of(cls, scene: VolumeScene) -> ViewState:
        """The state that a case opens with: the prediction at its worst slice."""
        return cls(position=scene.start_position(), mode="prediction", window=scene.window)

    def is_shown(self, mode: str, code: int) -> bool:
        """Whether a code of a mode has its tick."""
        return code not in self.hidden.get(mode, ())

    def show_code(self, mode: str, code: int, shown: bool) -> None:
        """Ticks or unticks one code."""
        hidden = set(self.hidden.get(mode, ())) - {code} | (set() if shown else {code})
        self.hidden = {**self.hidden, mode: tuple(sorted(hidden))}
