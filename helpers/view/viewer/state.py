"""What the reader has chosen in a viewer; every part of the view listens to it."""

from __future__ import annotations

import traitlets

from helpers.view.viewer.scene import VolumeScene

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
