"""The scene of an interactive view (a case's image, masks and comparisons), and the state of the view."""

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
from helpers.view.windows import percentile_limits

FILL_OPACITY, OUTLINE_OPACITY = 0.35, 0.9
_SAMPLED_VOXELS = 2_000_000
_REFERENCES = {"errors": "truth", "difference": "other run"}  # mode -> the mask that the prediction is compared with
LESIONS = "lesions"  # the mode of whole lesions by what became of them
_CODE_NAMES = {
    "errors": comparison.ERROR_NAMES,
    "difference": comparison.DIFFERENCE_NAMES,
    LESIONS: comparison.LESION_NAMES,
}

Position = tuple[int, int, int]


@dataclass(frozen=True)
class VolumeScene:
    """One case in the interactive viewers. All arrays are views in LPS order (X to the left, Y to the back, Z up).

    A mode names the overlay: a mask, or "errors" or "difference", which compare the prediction with the truth or
    with another run.

    Attributes:
        case_id: for captions.
        image: grey values (Z, Y, X).
        masks: class indices (Z, Y, X) uint8 under "prediction" and, if present, "truth" and "other run"; under
            "lesions", if present, the codes of whole lesions.
        geometry: of the arrays.
        class_names: by class index.
        window: grey values shown black and white.
        order: how the file's own axes were reordered.
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
        """The modes of this case, the prediction first."""
        compared = [mode for mode, reference in _REFERENCES.items() if {"prediction", reference} <= set(self.masks)]
        return (*self.masks, *compared)

    def labels(self, mode: str, where: int | slice | tuple[int | slice, ...]) -> np.ndarray:
        """The codes of a mode in a part of the volume: class indices, or the codes of a comparison."""
        if mode in _REFERENCES:
            return comparison.compare_labels(self.masks["prediction"][where], self.masks[_REFERENCES[mode]][where])
        labels = self.masks[mode][where]
        return np.where(labels == comparison.IGNORED, 0, labels).astype(np.uint8, copy=False)

    def entries(self, mode: str) -> dict[int, tuple[str, str]]:
        """The name and colour of each code of a mode, without the background."""
        if mode in _CODE_NAMES:
            names = _CODE_NAMES[mode]
            return {code: (names[code], colour) for code, colour in comparison.COLOURS.items()}
        return {index: (name, label_colour(index)) for index, name in enumerate(self.class_names) if index}

    @cached_property
    def blocks(self) -> tuple[int, int, int]:
        """The number of voxels along each axis that become one voxel of the display proxy."""
        return block_sizes(self.image.shape)

    def small_labels(self, mode: str) -> np.ndarray:
        """The codes of a mode on the grid of the display proxy."""
        return shrink_labels(lambda where: self.labels(mode, where), self.image.shape, self.blocks)

    def start_position(self) -> Position:
        """The centre of the errors in the worst slice, or of the foreground in the fullest one if nothing differs."""
        index = self.worst_slice()
        if index is None:
            index = comparison.fullest_slice(self.masks["prediction"])
        mode = self._comparing_mode
        marked = self.labels("prediction", index) > 0 if mode is None else self._differs(mode, index)
        where = np.argwhere(marked)
        if not len(where):
            return index, self.image.shape[1] // 2, self.image.shape[2] // 2
        row, column = comparison.central_point(where)
        return index, int(row), int(column)

    def worst_slice(self) -> int | None:
        """The slice with the most errors, or the largest difference if there is no truth; None if nothing differs."""
        for reference in ("truth", "other run"):
            if reference in self.masks:
                return comparison.worst_slice(self.masks["prediction"], self.masks[reference])
        return None

    def largest_error(self) -> Position | None:
        """The centre of the largest connected error, found on the proxy's grid; None if nothing differs."""
        mode = self._comparing_mode
        found = comparison.largest_error(self.small_labels(mode)) if mode else None
        if found is None:
            return None
        centre = (at * block + block // 2 for at, block in zip(found, self.blocks, strict=True))
        z, y, x = (min(at, side - 1) for at, side in zip(centre, self.image.shape, strict=True))
        return z, y, x

    @property
    def _comparing_mode(self) -> str | None:
        return next((mode for mode in self.modes if mode in _REFERENCES), None)

    def _differs(self, mode: str, index: int) -> np.ndarray:
        return self.labels(mode, index) >= comparison.EXTRA


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
        DataError: no prediction, or an array whose size is not the geometry's.
    """
    given = {name: mask for name, mask in masks.items() if mask is not None}
    if "prediction" not in given:
        raise DataError("no prediction to show", received=", ".join(given) or "no mask")
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


class ViewState(traitlets.HasTraits):
    """The user's choices: position (z, y, x), mode, grey window, opacities, hidden labels and convention."""

    position = traitlets.Tuple(traitlets.Int(), traitlets.Int(), traitlets.Int())
    mode = traitlets.Unicode()
    window = traitlets.Tuple(traitlets.Float(), traitlets.Float())
    fill_opacity = traitlets.Float(FILL_OPACITY, min=0, max=1)
    outline_opacity = traitlets.Float(OUTLINE_OPACITY, min=0, max=1)
    hidden = traitlets.Dict()  # mode -> codes that are not shown
    radiological = traitlets.Bool(True)

    @classmethod
    def of(cls, scene: VolumeScene) -> ViewState:
        """The initial state of a case: the prediction in its worst slice."""
        return cls(position=scene.start_position(), mode="prediction", window=scene.window)

    def is_shown(self, mode: str, code: int) -> bool:
        """Whether a code of a mode is shown."""
        return code not in self.hidden.get(mode, ())

    def show_code(self, mode: str, code: int, shown: bool) -> None:
        """Shows or hides one code."""
        hidden = set(self.hidden.get(mode, ())) - {code} | (set() if shown else {code})
        self.hidden = {**self.hidden, mode: tuple(sorted(hidden))}


def _sampled_window(image: np.ndarray) -> tuple[float, float]:
    every = max(1, round((image.size / _SAMPLED_VOXELS) ** (1 / 3)))
    return percentile_limits(image[::every, ::every, ::every])
