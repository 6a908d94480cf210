"""Opens a case in the best viewer that works in this environment, and explains why a better one does not."""

from __future__ import annotations

import base64
import html
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from helpers.data.geometry import Geometry
from helpers.errors import ParameterError
from helpers.view.figures.canvas import encode_figure
from helpers.view.figures.cases import draw_montage
from helpers.view.progress import is_interactive
from helpers.view.tables import RichText, note
from helpers.view.viewer.scene import LESIONS, ViewState, VolumeScene, make_scene
from helpers.view.windows import GreyWindow

if TYPE_CHECKING:
    import ipywidgets

    from helpers.view.viewer.view_box import Panel

View: TypeAlias = "ipywidgets.Widget | RichText"
FALLBACKS = ("niivue", "slices", "static")
VIEWERS = ("auto", *FALLBACKS, "itkwidgets")
_HEADLESS = "Headless run: the static pictures replace the interactive viewer."
_PHOTOGRAPH = "A photograph has no third axis: the static pictures replace the interactive viewer."
_LOG = logging.getLogger("cookbook")


def volume(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    *,
    geometry: Geometry,
    class_names: Sequence[str],
    other_run: np.ndarray | None = None,
    lesions: np.ndarray | None = None,
    case_id: str = "",
    window: tuple[float, float] | None = None,
    viewer: str = "auto",
    interactive: bool | None = None,
) -> View:
    """Opens one case to explore: linked planes and 3-D, masks, errors, and the difference from another run.

    Args:
        image: grey values (Z, Y, X).
        truth, prediction, other_run: class indices (Z, Y, X) uint8; without a truth there are no errors; 255 is not
            judged.
        lesions: (Z, Y, X) uint8, `SAME`, `EXTRA` and `MISSING` of `view.comparison` for whole lesions: found, false,
            missed.
        geometry: of all arrays.
        class_names: by class index.
        case_id: for captions.
        window: grey values shown black and white; None takes percentiles 0.5 and 99.5.
        viewer: "niivue", "slices", "static" or "itkwidgets"; "auto" starts with the first. A viewer that does not
            work is replaced by the next one, with the reason above it.
        interactive: overrides the detection of an open notebook; a headless run gets a line of text.

    Raises:
        DataError: an array whose size is not the geometry's.
        ParameterError: unknown viewer.
    """
    if viewer not in VIEWERS:
        raise ParameterError("unknown viewer", received=repr(viewer), expected=", ".join(VIEWERS))
    if not is_interactive(interactive):
        return headless_note()
    masks = {"prediction": prediction, "truth": truth, "other run": other_run, LESIONS: lesions}
    return open_scene(make_scene(image, masks, geometry, class_names, case_id=case_id, window=window), viewer)


def headless_note() -> RichText:
    """The line that replaces a viewer in a headless notebook."""
    return note(_HEADLESS)


def no_volume_note() -> RichText:
    """The line that replaces a viewer if the case is a photograph."""
    return note(_PHOTOGRAPH)


def open_scene(scene: VolumeScene, viewer: str = "auto") -> View:
    """Opens a scene in the given viewer, or in the first one after it that works."""
    first = FALLBACKS[0] if viewer == "auto" else viewer
    order = FALLBACKS[FALLBACKS.index(first) :] if first in FALLBACKS else (first, *FALLBACKS)
    reasons: list[str] = []
    for name in order:
        try:
            return _OPENERS[name](scene, reasons)
        except Exception as error:  # a third-party viewer may fail in any way; the next one still shows the case
            _LOG.info("viewer %s does not work here", name, exc_info=True)
            reasons.append(f"{name} does not work here: {error}")
    raise ParameterError("no viewer works here", received="; ".join(reasons))


def _open_niivue(scene: VolumeScene, reasons: Sequence[str]) -> View:
    from helpers.view.viewer.niivue import NiivuePanel
    from helpers.view.viewer.slices import SlicePanel
    from helpers.view.viewer.view_box import ViewBox

    state = ViewState.of(scene)
    panels: dict[str, Panel] = {"3-D": NiivuePanel(scene, state), "slices": SlicePanel(scene, state, active=False)}
    return ViewBox(scene, state, panels, reasons)


def _open_slices(scene: VolumeScene, reasons: Sequence[str]) -> View:
    from helpers.view.viewer.slices import SlicePanel
    from helpers.view.viewer.view_box import ViewBox

    state = ViewState.of(scene)
    return ViewBox(scene, state, {"slices": SlicePanel(scene, state)}, reasons)


def _open_itkwidgets(scene: VolumeScene, reasons: Sequence[str]) -> View:
    from helpers.view.viewer.itk import ItkPanel

    return ItkPanel(scene, ViewState.of(scene)).widget


def _open_static(scene: VolumeScene, reasons: Sequence[str]) -> View:
    notes = "".join(f"<div><i>{html.escape(reason)}</i></div>" for reason in reasons)
    return RichText(notes + _static_picture(scene), "; ".join(reasons) or scene.case_id)


_OPENERS: dict[str, Callable[[VolumeScene, Sequence[str]], View]] = {
    "niivue": _open_niivue,
    "slices": _open_slices,
    "static": _open_static,
    "itkwidgets": _open_itkwidgets,
}


def _static_picture(scene: VolumeScene) -> str:
    """The slice montage of a scene as an HTML image with embedded data."""
    low, high = scene.window
    figure = draw_montage(
        scene.case_id,
        scene.image,
        scene.masks["prediction"],
        scene.masks.get("truth"),
        geometry=scene.geometry,
        class_names=scene.class_names,
        window=GreyWindow(title="window", width=high - low, level=(low + high) / 2),
    )
    encoded = base64.b64encode(encode_figure(figure)).decode()
    return f"<img alt='slices of {html.escape(scene.case_id)}' src='data:image/png;base64,{encoded}'>"
