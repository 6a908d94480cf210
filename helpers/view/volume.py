"""The interactive 3-D view: three linked planes and a rendering, offline, when someone is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.view.presence import someone_is_there
from helpers.view.show import Shown


def open_volume_view(image: Path, masks: Sequence[Path], interactive: bool | None = None):
    """A NiiVue widget with the masks over the image, or a line that says why there is none.

    Args:
        image: a NIfTI file.
        masks: NIfTI label files on the image's grid, the last one on top.
        interactive: overrides the detection of a reader.
    """
    if not someone_is_there(interactive):
        reason = "Headless run: the static pictures above stand for the 3-D view."
        return Shown(f"<i>{reason}</i>", reason)
    try:
        from ipyniivue import NiiVue
    except ImportError as error:
        reason = f"No 3-D view: {error}. `pip install ipyniivue` brings it; the static pictures stay."
        return Shown(f"<i>{reason}</i>", reason)
    view = NiiVue(height=480)
    layers = [{"path": str(image), "colormap": "gray", "opacity": 1.0}]
    layers += [{"path": str(mask), "colormap": "actc", "opacity": 0.45} for mask in masks]
    view.load_volumes(layers)
    return view
