"""Opens a case in the best viewer that works here, and says which and why."""

from __future__ import annotations

import base64
import html
import io
import logging
from collections.abc import Sequence

import numpy as np

from helpers.data.geometry import Geometry
from helpers.errors import ParameterError
from helpers.view.figures.cases import draw_montage
from helpers.view.progress import is_interactive
from helpers.view.tables import Shown
from helpers.view.viewer.scene import VolumeScene, make_scene
from helpers.view.windows import GreyWindow

_LOG = logging.getLogger("cookbook")
FALLBACKS = ("niivue", "slices", "static")
VIEWERS = ("auto", *FALLBACKS, "itkwidgets")
_HEADLESS = "Headless run: the static pictures stand for the interactive view."
_PICTURE = "A photograph has no third axis: the static pictures stand for the interactive view."


def volume(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    *,
    geometry: Geometry,
    class_names: Sequence[str],
    other_run: np.ndarray | None = None,
    case_id: str = "",
    window: tuple[float, float] | None = None,
    viewer: str = "auto",
    interactive: bool | None = None,
):
    """One case to walk through: linked planes and 3-D, masks, errors, and the difference to another run.

    Args:
        image: grey values (Z, Y, X).
        truth, prediction, other_run: class indices (Z, Y, X) uint8; no truth, no errors; 255 is not judged.
        geometry: of all arrays.
        class_names: of the class indices.
        case_id: for captions.
        window: grey values shown black and white; None: percentiles 0.5 and 99.5.
        viewer: "niivue", "slices", "static" or "itkwidgets"; "auto" begins with the first. What does not work here
            is replaced by the next, with the reason in a line.
        interactive: overrides the detection of a reader; headless, a line says that there is no view.

    Raises:
        DataError: an array of another size than the geometry.
        ParameterError: an unknown viewer.
    """
    if viewer not in VIEWERS:
        raise ParameterError("unknown viewer", received=repr(viewer), expected=", ".join(VIEWERS))
    if not is_interactive(interactive):
        return headless_line()
    masks = {"prediction": prediction, "truth": truth, "other run": other_run}
    return open_scene(make_scene(image, masks, geometry, class_names, case_id=case_id, window=window), viewer)


def headless_line() -> Shown:
    """What stands in a headless notebook instead of a view."""
    return Shown(f"<i>{_HEADLESS}</i>", _HEADLESS)


def no_volume_line() -> Shown:
    """What stands where the case is a photograph."""
    return Shown(f"<i>{_PICTURE}</i>", _PICTURE)


def open_scene(scene: VolumeScene, viewer: str = "auto"):
    """A scene in the asked viewer, or in the first after it that works."""
    asked = FALLBACKS[0] if viewer == "auto" else viewer
    order = FALLBACKS[FALLBACKS.index(asked) :] if asked in FALLBACKS else (asked, *FALLBACKS)
    reasons: list[str] = []
    for name in order:
        try:
            return _OPENERS[name](scene, reasons)
        except Exception as error:  # a viewer of others may fail in any way; the next one still shows the case
            _LOG.info("viewer %s does not work here", name, exc_info=True)
            reasons.append(f"{name} does not work here: {error}")
    raise ParameterError("no viewer works here", received="; ".join(reasons))


def _open_niivue(scene: VolumeScene, reasons: list[str]):
    from helpers.view.viewer.box import ViewBox
    from helpers.view.viewer.niivue import NiivuePanel
    from helpers.view.viewer.scene import ViewState
    from helpers.view.viewer.slices import SlicePanel

    state = ViewState.of(scene)
    panels = {"3-D": NiivuePanel(scene, state), "slices": SlicePanel(scene, state, active=False)}
    return ViewBox(scene, state, panels, reasons)


def _open_slices(scene: VolumeScene, reasons: list[str]):
    from helpers.view.viewer.box import ViewBox
    from helpers.view.viewer.scene import ViewState
    from helpers.view.viewer.slices import SlicePanel

    state = ViewState.of(scene)
    return ViewBox(scene, state, {"slices": SlicePanel(scene, state)}, reasons)


def _open_itkwidgets(scene: VolumeScene, reasons: list[str]):
    from helpers.view.viewer.itk import ItkPanel
    from helpers.view.viewer.scene import ViewState

    return ItkPanel(scene, ViewState.of(scene)).widget


def _open_static(scene: VolumeScene, reasons: list[str]):
    return Shown(_notes(reasons) + still_picture(scene), "; ".join(reasons) or scene.case_id)


def _notes(reasons: Sequence[str]) -> str:
    return "".join(f"<div><i>{html.escape(reason)}</i></div>" for reason in reasons)


_OPENERS = {
    "niivue": _open_niivue,
    "slices": _open_slices,
    "static": _open_static,
    "itkwidgets": _open_itkwidgets,
}


def still_picture(scene: VolumeScene) -> str:
    """The slice montage of a scene as an HTML image that needs no file."""
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
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, bbox_inches="tight")
    return f"<img alt='slices' src='data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}'>"
