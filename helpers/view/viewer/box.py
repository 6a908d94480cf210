"""Controls and pictures of one case as one widget."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import ipywidgets

from helpers.view.viewer.controls import Controls
from helpers.view.viewer.scene import ViewState, VolumeScene


class ViewBox(ipywidgets.VBox):
    """A case's controls above its panels, one of which is seen at a time.

    Args:
        scene: the case.
        state: what the reader chooses; public, so that a test or another widget may set it.
        panels: by name, the first one shown; each has a `widget`.
        reasons: why better viewers are not used; shown above everything.
    """

    def __init__(
        self, scene: VolumeScene, state: ViewState, panels: Mapping[str, object], reasons: Sequence[str] = ()
    ):
        self.scene, self.view_state, self.panels = scene, state, dict(panels)
        notes = [ipywidgets.HTML(f"<i>{html.escape(reason)}</i>") for reason in reasons]
        head = [ipywidgets.HTML(f"<b>{html.escape(scene.case_id)}</b>")] if scene.case_id else []
        pictures = [panel.widget for panel in self.panels.values()]
        self._controls = Controls(scene, state)
        super().__init__([*head, *notes, self._controls.widget, *self._switch(), *pictures])
        self.add_class("cookbook-view")

    def press(self, key: str) -> None:
        """m: the next overlay, w: the worst slice, e: the largest error."""
        modes = self.scene.modes
        if key == "m":
            self.view_state.mode = modes[(modes.index(self.view_state.mode) + 1) % len(modes)]
        elif key == "w":
            self._controls.jump_to_worst_slice()
        elif key == "e":
            self._controls.jump_to_largest_error()

    def _switch(self) -> list[ipywidgets.Widget]:
        if len(self.panels) < 2:
            return []
        toggle = ipywidgets.ToggleButtons(options=list(self.panels), style={"button_width": "auto"})
        toggle.observe(lambda change: self._show(change["new"]), names="value")
        self._show(toggle.value)
        return [ipywidgets.HBox([toggle, ipywidgets.HTML(self._resolution())], layout={"flex_flow": "row wrap"})]

    def _resolution(self) -> str:
        full = " × ".join(str(side) for side in self.scene.image.shape)
        small = " × ".join(
            str(-(-side // block)) for side, block in zip(self.scene.image.shape, self.scene.blocks, strict=True)
        )
        kept = f"all {full} voxels" if small == full else f"{small} voxels that stand for {full}"
        return (
            f"<span style='color:#666'>3-D shows {kept}; the slices are at full resolution and need no WebGL"
            " (choose them where the 3-D view stays black).</span>"
        )

    def _show(self, name: str) -> None:
        for other, panel in self.panels.items():
            if hasattr(panel, "set_active"):
                panel.set_active(other == name)
            else:
                panel.widget.layout.display = None if other == name else "none"
