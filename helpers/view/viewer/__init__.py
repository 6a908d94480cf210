"""The interactive view of a case, with its fallbacks."""

from helpers.view.viewer.opening import VIEWERS, headless_line, no_volume_line, volume

__all__ = ["VIEWERS", "headless_line", "no_volume_line", "volume"]
