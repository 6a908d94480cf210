"""Lists the Ascend devices that `npu-smi` reports, in the output formats of all its releases."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

from helpers.run.environment import scrubbed_environment

_LOG = logging.getLogger("cookbook")
_TIMEOUT_S = 20.0
# Cards that report only their family; the full name is in the output of `npu-smi info -t board`.
_FAMILY_NAMES = ("Ascend910", "Ascend950")


@dataclass(frozen=True)
class NpuDevice:
    """One Ascend device: its position, name, health and load.

    Attributes:
        npu: number of the card.
        chip: number on the card.
        name: as printed, such as 310P3.
        health: `OK` or a warning.
        aicore_percent: load of the AI cores; None if not reported.
        memory_used_mb, memory_total_mb: None if not reported.
        processes: programs that use the device; None if this release of npu-smi does not list them.
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
        """ATC's name for this kind of device."""
        return self.name if self.name.startswith("Ascend") else f"Ascend{self.name}"

    @property
    def is_busy(self) -> bool:
        """Whether other programs use it, which makes timings unreliable."""
        return bool(self.aicore_percent) or bool(self.processes)

    def __str__(self) -> str:
        load = f"AI core {self.aicore_percent:g} %" if self.aicore_percent is not None else "load unknown"
        if self.processes:
            load += f", {self.processes} processes"
        memory = f", {self.memory_used_mb} of {self.memory_total_mb} MB" if self.memory_total_mb else ""
        return f"NPU {self.npu} chip {self.chip}: {self.name}, {self.health}, {load}{memory}"


def list_npu_devices() -> list[NpuDevice]:
    """The Ascend devices of this machine; none if `npu-smi` is missing or fails."""
    return parse_info(_run_npu_smi("info"))


def find_soc_version() -> str | None:
    """The `soc_version` of this machine's devices; None if there are none, or several kinds."""
    kinds = {device.soc_version: device for device in list_npu_devices()}
    if len(kinds) != 1:
        return None
    (name, device), *_ = kinds.items()
    if name not in _FAMILY_NAMES:
        return name
    return parse_board(_run_npu_smi("info", "-t", "board", "-i", str(device.npu), "-c", str(device.chip)))


def parse_info(text: str) -> list[NpuDevice]:
    """The devices in the table of `npu-smi info`, read cell by cell, because column widths differ between releases.

    A device has two rows: `number name | health | power, temperature` and `chip [device] | bus | load and memory`.
    """
    devices: list[NpuDevice] = []
    first: list[str] | None = None
    processes: dict[tuple[int, int], int] | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.strip().startswith("|"):
            continue
        if "Process id" in line:
            processes, first = {}, None
        elif processes is not None:
            _count_process(cells, processes)
        elif len(cells) == 3 and first is None:
            first = cells if re.fullmatch(r"\d{1,6}\s+\S+", cells[0]) else None
        elif len(cells) == 3 and first is not None:
            if re.match(r"\d{1,6}(?!\S)", cells[0]):
                devices.append(_parse_device(first, cells))
            else:
                _LOG.warning("a device in the table of npu-smi cannot be read: %s", " | ".join(first + cells))
            first = None
    if processes is None:
        return devices
    return [replace(device, processes=processes.get((device.npu, device.chip), 0)) for device in devices]


def parse_board(text: str) -> str | None:
    r"""The `soc_version` from `npu-smi info -t board`: the chip's name, an underscore and the NPU's name.

    >>> parse_board("Chip Name : Ascend910\nNPU Name : 9391")
    'Ascend910_9391'
    """
    fields = dict(re.findall(r"^\s*(\w+ Name)\s*:\s*(\S+)", text, re.MULTILINE))
    if "Chip Name" not in fields or "NPU Name" not in fields:
        return None
    name = f"{fields['Chip Name']}_{fields['NPU Name']}"
    return name if name.startswith("Ascend") else f"Ascend{name}"


def _parse_device(first: Sequence[str], second: Sequence[str]) -> NpuDevice:
    npu, name = first[0].split()
    number = re.match(r"\d{1,9}(\.\d+)?", second[2])
    # Cards with HBM print their DDR first, as "0 / 0"; the larger total is the device's memory.
    pairs = [(int(used), int(total)) for used, total in re.findall(r"(\d{1,12})\s*/\s*(\d{1,12})", second[2])]
    used, total = max(pairs, key=lambda pair: pair[1], default=(None, None))
    load = float(number[0]) if number else None
    return NpuDevice(int(npu), int(second[0].split()[0]), name, first[1], load, used, total)


def _count_process(cells: Sequence[str], processes: dict[tuple[int, int], int]) -> None:
    place = re.match(r"(\d{1,6})\s+(\d{1,6})(?!\S)", cells[0])
    if place and len(cells) >= 3 and cells[1].isdigit():
        key = int(place[1]), int(place[2])
        processes[key] = processes.get(key, 0) + 1


def _run_npu_smi(*arguments: str) -> str:
    program = shutil.which("npu-smi")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            env=scrubbed_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
