"""A case in a viewer as one widget: controls that set the view's state, above panels that follow it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import ipywidgets
import numpy as np

from helpers.view.viewer.scene import Position, ViewState, VolumeScene

_AXES = ("slice (I to S)", "front to back", "right to left")
_WIDE = {"description_width": "92px"}
_WRAPPED_ROW = {"flex_flow": "row wrap"}


class Panel(Protocol):
    """A picture of a scene that follows its state."""

    widget: ipywidgets.Widget

    def set_active(self, active: bool) -> None:
        """Shows or hides the panel."""


class ViewBox(ipywidgets.VBox):
    """The controls of a case above its panels, one of which is visible at a time.

    Args:
        scene: the case.
        state: the user's choices; public, so that another widget may set them.
        panels: by name; the first one is shown.
        reasons: why a better viewer is not used; shown above everything else.
    """

    def __init__(
        self, scene: VolumeScene, state: ViewState, panels: Mapping[str, Panel], reasons: Sequence[str] = ()
    ):
        self.scene, self.view_state, self.panels = scene, state, dict(panels)
        notes = [ipywidgets.HTML(f"<i>{html.escape(reason)}</i>") for reason in reasons]
        head = [ipywidgets.HTML(f"<b>{html.escape(scene.case_id)}</b>")] if scene.case_id else []
        pictures = [panel.widget for panel in self.panels.values()]
        self._controls = Controls(scene, state)
        super().__init__([*head, *notes, self._controls.widget, *self._panel_switch(), *pictures])
        self.add_class("cookbook-view")

    def press(self, key: str) -> None:
        """Handles a key: m is the next overlay, w the worst slice, e the largest error."""
        modes = self.scene.modes
        if key == "m":
            self.view_state.mode = modes[(modes.index(self.view_state.mode) + 1) % len(modes)]
        elif key == "w":
            self._controls.jump_to_worst_slice()
        elif key == "e":
            self._controls.jump_to_largest_error()

    def _panel_switch(self) -> list[ipywidgets.Widget]:
        if len(self.panels) < 2:
            return []
        toggle = ipywidgets.ToggleButtons(options=list(self.panels), style={"button_width": "auto"})
        toggle.observe(lambda change: self._show(change["new"]), names="value")
        self._show(toggle.value)
        return [ipywidgets.HBox([toggle, ipywidgets.HTML(self._describe_resolution())], layout=_WRAPPED_ROW)]

    def _describe_resolution(self) -> str:
        full = " × ".join(str(side) for side in self.scene.image.shape)
        small = " × ".join(
            str(-(-side // block)) for side, block in zip(self.scene.image.shape, self.scene.blocks, strict=True)
        )
        shown = f"all {full} voxels" if small == full else f"{small} voxels, reduced from {full}"
        return (
            f"<span style='color:#666'>The 3-D view shows {shown}. The slices have full resolution and need no WebGL:"
            " choose them if the 3-D view stays black.</span>"
        )

    def _show(self, name: str) -> None:
        for other, panel in self.panels.items():
            panel.set_active(other == name)


class Controls:
    """Sliders, buttons and checkboxes that set a view's state; `widget` is what to display above the panels."""

    def __init__(self, scene: VolumeScene, state: ViewState):
        self._scene, self._state = scene, state
        self._labels = ipywidgets.HBox(layout={**_WRAPPED_ROW, "align_items": "center"})
        self._volumes_ml: dict[str, dict[int, float]] = {}
        self._place = ipywidgets.HTML()
        rows = [
            [self._mode_buttons(), *self._jump_buttons(), self._place],
            self._position_sliders(),
            [self._window_slider(), *self._opacity_sliders(), self._convention_buttons()],
        ]
        self.widget = ipywidgets.VBox([*(ipywidgets.HBox(row, layout=_WRAPPED_ROW) for row in rows), self._labels])
        self.widget.add_class("cookbook-controls")
        state.observe(self._list_labels, names="mode")
        state.observe(self._describe_place, names="position")
        self._list_labels()
        self._describe_place()

    def jump_to_worst_slice(self) -> None:
        """Moves to the slice with the most differing voxels."""
        self._jump(None if self._scene.worst_slice() is None else self._scene.start_position())

    def jump_to_largest_error(self) -> None:
        """Moves to the centre of the largest connected error."""
        self._jump(self._scene.largest_error())

    def _jump(self, found: Position | None) -> None:
        if found is None:
            self._place.value = "<i>no difference</i>"
        else:
            self._state.position = found

    def _mode_buttons(self) -> ipywidgets.Widget:
        toggle = ipywidgets.ToggleButtons(
            options=self._scene.modes, value=self._state.mode, style={"button_width": "auto"}
        )
        _link(toggle, self._state, "mode")
        return toggle

    def _jump_buttons(self) -> list[ipywidgets.Widget]:
        if not {"truth", "other run"} & set(self._scene.masks):
            return []
        buttons = []
        for text, jump in (("worst slice", self.jump_to_worst_slice), ("largest error", self.jump_to_largest_error)):
            button = ipywidgets.Button(description=text, tooltip=jump.__doc__, layout={"width": "auto"})
            button.on_click(lambda _, jump=jump: jump())
            buttons.append(button)
        return buttons

    def _position_sliders(self) -> list[ipywidgets.Widget]:
        sliders = []
        for axis, name in enumerate(_AXES):
            slider = ipywidgets.IntSlider(
                value=self._state.position[axis],
                min=0,
                max=self._scene.image.shape[axis] - 1,
                description=name,
                style=_WIDE,
                layout={"width": "310px"},
            )
            slider.observe(lambda change, axis=axis: self._move(axis, change["new"]), names="value")
            self._state.observe(
                lambda change, axis=axis, slider=slider: _set(slider, change["new"][axis]), names="position"
            )
            sliders.append(slider)
        return sliders

    def _move(self, axis: int, index: int) -> None:
        position = list(self._state.position)
        position[axis] = index
        self._state.position = tuple(position)

    def _window_slider(self) -> ipywidgets.Widget:
        low, high = self._state.window
        reach = high - low
        slider = ipywidgets.FloatRangeSlider(
            value=(low, high),
            min=low - reach,
            max=high + reach,
            step=reach / 200,
            description="grey window",
            readout_format=".0f" if reach > 20 else ".2f",
            style=_WIDE,
            layout={"width": "360px"},
        )
        _link(slider, self._state, "window")
        return slider

    def _opacity_sliders(self) -> list[ipywidgets.Widget]:
        sliders = []
        for name, trait in (("fill", "fill_opacity"), ("outline", "outline_opacity")):
            slider = ipywidgets.FloatSlider(
                value=self._state.trait_values()[trait],
                min=0,
                max=1,
                step=0.05,
                description=name,
                style={"description_width": "48px"},
                layout={"width": "220px"},
            )
            _link(slider, self._state, trait)
            sliders.append(slider)
        return sliders

    def _convention_buttons(self) -> ipywidgets.Widget:
        toggle = ipywidgets.ToggleButtons(
            options=[("radiological", True), ("neurological", False)],
            value=self._state.radiological,
            tooltips=["the patient's right is at the left", "the patient's right is at the right"],
            style={"button_width": "auto"},
        )
        _link(toggle, self._state, "radiological")
        return toggle

    def _list_labels(self, _: object = None) -> None:
        mode = self._state.mode
        boxes = []
        for code, (name, colour) in self._scene.entries(mode).items():
            volume_ml = self._measure_volumes(mode).get(code, 0.0)
            tick = ipywidgets.Checkbox(
                value=self._state.is_shown(mode, code), description="", indent=False, layout={"width": "auto"}
            )
            tick.observe(
                lambda change, mode=mode, code=code: self._state.show_code(mode, code, change["new"]), names="value"
            )
            swatch = f"<span style='display:inline-block;width:14px;height:14px;background:{colour}'></span>"
            text = f"{swatch}&nbsp;{html.escape(name)} <span style='color:#666'>{volume_ml:.1f} ml</span>"
            boxes.append(ipywidgets.HBox([tick, ipywidgets.HTML(text)], layout={"margin": "0 14px 0 0"}))
        self._labels.children = boxes

    def _measure_volumes(self, mode: str) -> dict[int, float]:
        """Millilitres of each code of a mode."""
        if mode not in self._volumes_ml:
            counts = np.zeros(256, np.int64)
            for index in range(self._scene.image.shape[0]):
                counts += np.bincount(self._scene.labels(mode, index).ravel(), minlength=256)
            voxel_ml = float(np.prod(self._scene.geometry.spacing_mm_zyx)) / 1000
            self._volumes_ml[mode] = {code: int(counts[code]) * voxel_ml for code in self._scene.entries(mode)}
        return self._volumes_ml[mode]

    def _describe_place(self, _: object = None) -> None:
        position = self._state.position
        z, y, x = self._scene.order.index_in_file(position, self._scene.image.shape)
        value = self._scene.image[position]
        self._place.value = (
            f"<span style='color:#666'>voxel in the file: x {x}, y {y}, z {z}; grey {value:.6g}</span>"
        )


def _link(widget: ipywidgets.Widget, state: ViewState, trait: str) -> None:
    widget.observe(lambda change: state.set_trait(trait, change["new"]), names="value")
    state.observe(lambda change: _set(widget, change["new"]), names=trait)


def _set(widget: Any, value: object) -> None:
    if widget.value != value:
        widget.value = value
