"""Sliders, toggles and ticks that set a viewer's state."""

from __future__ import annotations

import html

import ipywidgets
import numpy as np

from helpers.view.viewer.scene import ViewState, VolumeScene

_AXES = ("slice (I to S)", "front to back", "right to left")
_WIDE = {"description_width": "92px"}


class Controls:
    """The controls of one view; `widget` is what to show above the picture."""

    def __init__(self, scene: VolumeScene, state: ViewState):
        self._scene, self._state = scene, state
        self._labels = _row()
        self._volumes_ml: dict[str, dict[int, float]] = {}
        self._place = ipywidgets.HTML()
        rows = [
            ipywidgets.HBox([self._mode(), *self._jumps(), self._place], layout={"flex_flow": "row wrap"}),
            ipywidgets.HBox(self._positions(), layout={"flex_flow": "row wrap"}),
            ipywidgets.HBox(
                [self._window(), *self._opacities(), self._convention()], layout={"flex_flow": "row wrap"}
            ),
            self._labels,
        ]
        self.widget = ipywidgets.VBox(rows)
        self.widget.add_class("cookbook-controls")
        state.observe(self._list_labels, names="mode")
        state.observe(self._tell_place, names="position")
        self._list_labels()
        self._tell_place()

    def _mode(self) -> ipywidgets.Widget:
        toggle = ipywidgets.ToggleButtons(
            options=self._scene.modes, value=self._state.mode, style={"button_width": "auto"}
        )
        _link(toggle, self._state, "mode")
        return toggle

    def jump_to_worst_slice(self) -> None:
        """Goes to the slice with the most differing voxels."""
        self._jump(None if self._scene.worst_slice() is None else self._scene.start_position())

    def jump_to_largest_error(self) -> None:
        """Goes to the middle of the largest connected error."""
        self._jump(self._scene.largest_error())

    def _jumps(self) -> list[ipywidgets.Widget]:
        if not {"truth", "other run"} & set(self._scene.masks):
            return []
        buttons = []
        for text, go in (("worst slice", self.jump_to_worst_slice), ("largest error", self.jump_to_largest_error)):
            button = ipywidgets.Button(description=text, tooltip=go.__doc__, layout={"width": "auto"})
            button.on_click(lambda _, go=go: go())
            buttons.append(button)
        return buttons

    def _jump(self, found: tuple[int, int, int] | None) -> None:
        if found is None:
            self._place.value = "<i>nothing differs</i>"
        else:
            self._state.position = found

    def _positions(self) -> list[ipywidgets.Widget]:
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
                lambda change, axis=axis, slider=slider: _set(slider, change["new"][axis]), "position"
            )
            sliders.append(slider)
        return sliders

    def _move(self, axis: int, index: int) -> None:
        position = list(self._state.position)
        position[axis] = index
        self._state.position = tuple(position)

    def _window(self) -> ipywidgets.Widget:
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

    def _opacities(self) -> list[ipywidgets.Widget]:
        sliders = []
        for name, trait in (("fill", "fill_opacity"), ("outline", "outline_opacity")):
            slider = ipywidgets.FloatSlider(
                value=getattr(self._state, trait),
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

    def _convention(self) -> ipywidgets.Widget:
        toggle = ipywidgets.ToggleButtons(
            options=[("radiological", True), ("neurological", False)],
            value=self._state.radiological,
            tooltips=["the patient's right at the left", "the patient's right at the right"],
            style={"button_width": "auto"},
        )
        _link(toggle, self._state, "radiological")
        return toggle

    def _list_labels(self, _: object = None) -> None:
        mode = self._state.mode
        boxes = []
        for code, (name, colour) in self._scene.entries(mode).items():
            volume_ml = self._volumes(mode).get(code, 0.0)
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

    def _volumes(self, mode: str) -> dict[int, float]:
        if mode not in self._volumes_ml:
            counts = np.zeros(256, np.int64)
            for index in range(self._scene.image.shape[0]):
                counts += np.bincount(self._scene.labels(mode, index).ravel(), minlength=256)
            voxel_ml = float(np.prod(self._scene.geometry.spacing_mm_zyx)) / 1000
            self._volumes_ml[mode] = {code: int(counts[code]) * voxel_ml for code in self._scene.entries(mode)}
        return self._volumes_ml[mode]

    def _tell_place(self, _: object = None) -> None:
        position = self._state.position
        z, y, x = self._scene.order.index_in_file(position, self._scene.image.shape)
        value = self._scene.image[position]
        self._place.value = f"<span style='color:#666'>voxel x {x}, y {y}, z {z} of the file, grey {value:.6g}</span>"


def _row(*widgets: ipywidgets.Widget) -> ipywidgets.HBox:
    return ipywidgets.HBox(widgets, layout={"flex_flow": "row wrap", "align_items": "center"})


def _link(widget: ipywidgets.Widget, state: ViewState, trait: str) -> None:
    widget.observe(lambda change: setattr(state, trait, change["new"]), names="value")
    state.observe(lambda change: _set(widget, change["new"]), names=trait)


def _set(widget: ipywidgets.Widget, value: object) -> None:
    if widget.value != value:
        widget.value = value
