"""Three linked planes as pictures made in the kernel: needs nothing of the browser but an image."""

from __future__ import annotations

from helpers.view.viewer.planes import (
    AXIAL,
    CORONAL,
    PLANE_NAMES,
    SAGITTAL,
    encode_jpeg,
    plane_letters,
    plane_size_mm,
    render_plane,
)
from helpers.view.viewer.scene import ViewState, VolumeScene

_TALLEST_PX, _WIDEST_ROW_PX = 400, 920
_REDRAWN_BY = ("position", "mode", "window", "fill_opacity", "outline_opacity", "hidden", "radiological")


class SlicePanel:
    """Axial, coronal and sagittal pictures at full resolution; `widget` is what to show.

    Args:
        scene: the case.
        state: shared with the controls.
        active: whether to draw at once; an inactive panel costs nothing until `set_active`.
    """

    def __init__(self, scene: VolumeScene, state: ViewState, active: bool = True):
        import ipywidgets

        self._scene, self._state, self._active = scene, state, active
        self._titles = [ipywidgets.HTML() for _ in PLANE_NAMES]
        self._pictures = [ipywidgets.Image(format="jpeg", layout=_picture_layout(scene, plane)) for plane in range(3)]
        panels = [
            ipywidgets.VBox([title, picture], layout={"margin": "0 8px 0 0"})
            for title, picture in zip(self._titles, self._pictures, strict=True)
        ]
        self.widget = ipywidgets.HBox(panels, layout={"flex_flow": "row wrap"})
        self.widget.add_class("cookbook-slices")
        state.observe(self._redraw, names=list(_REDRAWN_BY))
        self._redraw()

    def set_active(self, active: bool) -> None:
        """Shows or hides the panel; a hidden one is not redrawn."""
        self._active = active
        self.widget.layout.display = "flex" if active else "none"
        self._redraw()

    def _redraw(self, _: object = None) -> None:
        if not self._active:
            return
        for plane, (title, picture) in enumerate(zip(self._titles, self._pictures, strict=True)):
            picture.value = encode_jpeg(render_plane(self._scene, self._state, plane))
            left, right, top, bottom = plane_letters(plane, self._state.radiological)
            title.value = (
                f"<b>{PLANE_NAMES[plane]}</b> {self._state.position[plane]}"
                f" &nbsp; <span style='color:#666'>left {left}, right {right}, top {top}, bottom {bottom}</span>"
            )


def _picture_layout(scene: VolumeScene, plane: int) -> dict[str, str]:
    """All planes in one scale, as large as a row of them may be."""
    sizes_mm = [plane_size_mm(scene, each) for each in (AXIAL, CORONAL, SAGITTAL)]
    px_per_mm = min(
        _TALLEST_PX / max(height for height, _ in sizes_mm), _WIDEST_ROW_PX / sum(width for _, width in sizes_mm)
    )
    height_mm, width_mm = sizes_mm[plane]
    return {"height": f"{height_mm * px_per_mm:.0f}px", "width": f"{width_mm * px_per_mm:.0f}px"}
