"""The interactive view of a case, with its fallbacks."""

from helpers.view.viewer.opening import VIEWERS, headless_note, no_volume_note, volume

__all__ = ["VIEWERS", "headless_note", "no_volume_note", "volume"]
