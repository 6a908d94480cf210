"""Grey-value windows by modality and organ, from `params/windows.yaml`."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from helpers.errors import ParameterError
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping, unknown_name_error

Percent = Annotated[float, Field(ge=0, le=100)]


class GreyWindow(BaseModel):
    """Which grey values become black and white: a width and a level, or percentiles of the non-zero values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    width: float | None = Field(None, gt=0)
    level: float | None = None
    percentiles: tuple[Percent, Percent] | None = None

    @model_validator(mode="after")
    def _check_one_kind(self) -> GreyWindow:
        given = (self.width is not None, self.level is not None, self.percentiles is not None)
        if given not in {(True, True, False), (False, False, True)}:
            raise ValueError("either width and level, or percentiles")
        return self

    def limits(self, channel: np.ndarray) -> tuple[float, float]:
        """The grey values that become black and white in a channel of any shape."""
        return self.fixed_limits() or percentile_limits(channel, self.percentiles or (0.5, 99.5))

    def fixed_limits(self) -> tuple[float, float] | None:
        """The limits if they do not depend on the channel, else None.

        >>> GreyWindow(title="CT liver", width=150, level=30).fixed_limits()
        (-45.0, 105.0)
        """
        if self.width is None or self.level is None:
            return None
        return self.level - self.width / 2, self.level + self.width / 2

    def caption(self, channel: np.ndarray) -> str:
        """Describes the window and its limits in this channel."""
        if self.percentiles is None:
            return f"{self.title}: width {self.width:g}, level {self.level:g}"
        low, high = self.limits(channel)
        return f"{self.title}: grey {low:.4g} to {high:.4g}"


def percentile_limits(channel: np.ndarray, percentiles: tuple[float, float] = (0.5, 99.5)) -> tuple[float, float]:
    """Grey limits from percentiles of the voxels that are not exactly zero, which leaves out masked air.

    >>> percentile_limits(np.array([0, 0, 10, 20, 30]), (0, 100))
    (10.0, 30.0)
    """
    inside = channel[channel != 0]
    if inside.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(inside, percentiles)
    return float(low), float(high if high > low else low + 1)


def load_window(name: str) -> GreyWindow:
    """Reads one window of `params/windows.yaml`.

    Raises:
        ParameterError: unknown window, or an invalid entry in the file.
    """
    presets = read_yaml_mapping(PARAMS_FOLDER / "windows.yaml")
    if name not in presets:
        raise unknown_name_error("grey window", name, presets)
    try:
        return GreyWindow(**presets[name])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ParameterError(f"windows.yaml: {name} {where}".rstrip(), received=first["msg"]) from None
    except TypeError:
        raise ParameterError(f"windows.yaml: {name} is not a mapping", received=repr(presets[name])) from None
