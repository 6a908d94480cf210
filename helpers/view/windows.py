"""Grey-value windows by modality and organ, kept in `params/windows.yaml`."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from helpers.errors import ParameterError
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping, unknown_name_error

Percent = Annotated[float, Field(ge=0, le=100)]


class GreyWindow(BaseModel):
    """Which grey values become black and white: a width and a level, or percentiles of what is not exactly zero."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    width: float | None = Field(None, gt=0)
    level: float | None = None
    percentiles: tuple[Percent, Percent] | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> GreyWindow:
        fixed = self.width is not None and self.level is not None
        halved = (self.width is None) != (self.level is None)
        if halved or fixed == (self.percentiles is not None):
            raise ValueError("either width and level, or percentiles")
        return self

    def limits(self, channel: np.ndarray) -> tuple[float, float]:
        """The grey values that become black and white in a channel (any shape)."""
        return self.fixed_limits() or window_of(channel, self.percentiles)

    def fixed_limits(self) -> tuple[float, float] | None:
        """The limits where they do not depend on the channel, else None."""
        return None if self.percentiles else (self.level - self.width / 2, self.level + self.width / 2)

    def caption(self, channel: np.ndarray) -> str:
        """The window in words, with its limits in this channel."""
        low, high = self.limits(channel)
        if self.percentiles is None:
            return f"{self.title}: width {self.width:g}, level {self.level:g}"
        return f"{self.title}: grey {low:.4g} to {high:.4g}"


def window_of(channel: np.ndarray, percentiles: tuple[float, float] = (0.5, 99.5)) -> tuple[float, float]:
    """Grey limits: percentiles of the voxels that are not exactly zero."""
    inside = channel[channel != 0]
    if inside.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(inside, percentiles)
    return float(low), float(high if high > low else low + 1)


def load_window(name: str) -> GreyWindow:
    """One window of `params/windows.yaml`.

    Raises:
        ParameterError: there is no such window, or the file has a wrong entry.
    """
    presets = read_yaml_mapping(PARAMS_FOLDER / "windows.yaml")
    if name not in presets:
        raise unknown_name_error("grey window", name, presets)
    try:
        return GreyWindow(**presets[name])
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"msg": "no mapping"}
        where = ".".join(map(str, first.get("loc", ())))
        raise ParameterError(f"windows.yaml: {name} {where}".rstrip(), received=first["msg"]) from None
