"""What the vendor's command-line tools have in common: a folder of raw inputs in, a folder of raw outputs out."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from helpers.interop.ports import ModelPorts

INPUT = "input"


@dataclass(frozen=True)
class ToolTimes:
    """What a tool measured on one device.

    Args:
        ms_per_batch: of the device's execution alone.
        samples_per_second: of one device; batch × 1000 / ms_per_batch.
        source: the file it was read from.
    """

    ms_per_batch: float
    samples_per_second: float
    source: str

    def __str__(self) -> str:
        return f"{self.ms_per_batch:.3f} ms a batch, {self.samples_per_second:.3f} samples/s on one device"


class Tool(ABC):
    """One tool: its command, the files it reads, the files it leaves. Every path is relative to the exchange folder.

    Attributes:
        name: as the parameter `device_tool` calls it.
        several_chips: whether its inputs can be split over chips, with one command each.
    """

    name: ClassVar[str]
    several_chips: ClassVar[bool] = False

    def samples_a_file(self, ports: ModelPorts) -> int:
        """Samples in each input file."""
        return 1

    def write_lists(self, folder: Path, stems: Sequence[str], ports: ModelPorts, chips: int) -> None:  # noqa: B027
        """Writes what the tool reads beside the inputs."""

    @abstractmethod
    def commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[list[str]]:
        """The command lines, one a chip, to be run in the exchange folder; `model` relative to it."""

    def shown_commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[str]:
        """The command lines as they can be pasted into a shell."""
        return [shlex.join(command) for command in self.commands(model, ports, chips)]

    @abstractmethod
    def find_outputs(self, folder: Path, stems: Sequence[str], ports: ModelPorts) -> dict[str, Path]:
        """The kept output's file of each input that has one."""

    @abstractmethod
    def read_times(self, folder: Path, ports: ModelPorts) -> ToolTimes | None:
        """What the tool measured, where it left a record of it."""


def most_complete(folders: Iterable[Path], names: Mapping[str, str]) -> dict[str, Path]:
    """The files `names` (by stem) of the folder that has the most of them; of equals the one written last.

    A tool run twice leaves two folders, whose names do not sort by time where days are not padded with zeros.
    """

    def found(folder: Path) -> dict[str, Path]:
        there = {path.name: path for path in folder.iterdir() if path.is_file()}
        return {stem: there[name] for stem, name in names.items() if name in there}

    candidates = [(found(folder), folder.stat().st_mtime_ns) for folder in folders if folder.is_dir()]
    return max(candidates, key=lambda item: (len(item[0]), item[1]), default=({}, 0))[0]
