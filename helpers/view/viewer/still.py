"""The last resort: a static picture of a scene."""

from __future__ import annotations

import base64
import io

from helpers.view.figures.montage import draw_montage
from helpers.view.viewer.scene import VolumeScene
from helpers.view.windows import GreyWindow


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
