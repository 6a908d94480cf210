"""Ascend chips as `npu-smi` tells them, in every layout that its releases print."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from helpers.run.environment import scrubbed_environment

_TIMEOUT_S = 20.0
# A card that prints only its family's name has to be asked for its board.
_FAMILY_NAMES = ("Ascend910", "Ascend950")


@dataclass(frozen=True)
class Chip:
    """One chip: where it is, what it is called, and what it is doing.

    `processes` counts programs on the chip; None where this release of npu-smi does not list them.
    """

    npu: int
    chip: int
    name: str
    health: str
    aicore_percent: float | None
    memory_used_mb: int | None
    memory_total_mb: int | None
    processes: int | None = None

    @property
    def soc_version(self) -> str:
        """The name that ATC knows it by."""
        return self.name if self.name.startswith("Ascend") else f"Ascend{self.name}"

    @property
    def is_busy(self) -> bool:
        """Whether something else computes on it, so that timings of ours would be wrong."""
        return bool(self.aicore_percent) or bool(self.processes)

    def __str__(self) -> str:
        doing = f"AI core {self.aicore_percent:g} %" if self.aicore_percent is not None else "load unknown"
        if self.processes:
            doing += f", {self.processes} processes"
        memory = f", {self.memory_used_mb} of {self.memory_total_mb} MB" if self.memory_total_mb else ""
        return f"NPU {self.npu} chip {self.chip}: {self.name}, {self.health}, {doing}{memory}"


def list_chips() -> list[Chip]:
    """The chips of this machine; none where `npu-smi` is missing or fails."""
    return parse_info(_ask("info"))


def find_soc_version() -> str | None:
    """The `soc_version` of this machine's chips, or None where there is none or they differ."""
    names = {chip.soc_version: chip for chip in list_chips()}
    if len(names) != 1:
        return None
    (name, chip), *_ = names.items()
    if name not in _FAMILY_NAMES:
        return name
    return parse_board(_ask("info", "-t", "board", "-i", str(chip.npu), "-c", str(chip.chip)))


def parse_info(text: str) -> list[Chip]:
    """The chips in the table of `npu-smi info`, read by its cells: columns and boxes differ between releases.

    A chip has two rows: `number name | health | power, temperature` and `chip [device] | bus | load and memory`.
    """
    chips: list[Chip] = []
    first, processes = None, None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.strip().startswith("|"):
            continue
        if "Process id" in line:
            processes, first = {}, None
        elif processes is not None:
            _count_process(cells, processes)
        elif len(cells) == 3 and first is None:
            first = re.fullmatch(r"(\d+)\s+(\S+)", cells[0]) and cells
        elif len(cells) == 3:
            chips.append(_chip(first, cells))
            first = None
    if processes is None:
        return chips
    counts = [processes.get((chip.npu, chip.chip), 0) for chip in chips]
    return [Chip(**{**vars(chip), "processes": count}) for chip, count in zip(chips, counts, strict=True)]


def parse_board(text: str) -> str | None:
    """`soc_version` from `npu-smi info -t board`: the chip's name, an underscore and the NPU's name."""
    fields = dict(re.findall(r"^\s*(\w+ Name)\s*:\s*(\S+)", text, re.MULTILINE))
    if "Chip Name" not in fields or "NPU Name" not in fields:
        return None
    name = f"{fields['Chip Name']}_{fields['NPU Name']}"
    return name if name.startswith("Ascend") else f"Ascend{name}"


def _chip(first: list[str], second: list[str]) -> Chip:
    npu, name = first[0].split()
    numbers = re.match(r"([\d.]+)?", second[2])
    # The last pair that is not "0 / 0": cards with HBM print their DDR before it, as nothing of nothing.
    pairs = [(int(used), int(total)) for used, total in re.findall(r"(\d+)\s*/\s*(\d+)", second[2])]
    used, total = max(pairs, key=lambda pair: pair[1], default=(None, None))
    load = float(numbers[1]) if numbers and numbers[1] else None
    return Chip(int(npu), int(second[0].split()[0]), name, first[1], load, used, total)


def _count_process(cells: list[str], processes: dict[tuple[int, int], int]) -> None:
    place = re.match(r"(\d+)\s+(\d+)", cells[0])
    if place and len(cells) >= 3 and cells[1].isdigit():
        key = int(place[1]), int(place[2])
        processes[key] = processes.get(key, 0) + 1


def _ask(*arguments: str) -> str:
    program = shutil.which("npu-smi")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=scrubbed_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
