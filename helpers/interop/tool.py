"""The vendor's command-line tools: each reads a folder of raw inputs and writes a folder of raw outputs."""

from __future__ import annotations

import itertools
import json
import math
import platform
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from helpers.errors import DeviceError, ParameterError
from helpers.interop.ports import ModelPorts
from helpers.run.atomic import atomic_path

INPUT, OUTPUT, RUN = "input", "output", "run"  # folders of ais_bench and msame
RESULT = "result"  # folder of benchmark, which it names itself
LOG = "msame.log"  # copy of what msame prints

# benchmark's records: of inference, and of pure runs without input.
_INFERENCE = re.compile(r"\[infer(?:ence)?\][^\n]*?Interface throughputRate:\s*([0-9.]+)")
_PURE = re.compile(r"ave_throughputRate:\s*([0-9.]+)\s*samples/s")
_RECORDS = {"perf_vision_batchsize_*_device_*.txt": _INFERENCE, "PureInfer_perf_of_*_in_device_*.txt": _PURE}
# msame's times: the average, else each batch.
_AVERAGE = re.compile(r"Inference average time(?: without first time)?\s*:\s*([0-9.]+)\s*ms")
_ONE = re.compile(r"Inference time:\s*([0-9.]+)\s*ms")


@dataclass(frozen=True)
class ToolTimes:
    """A tool's own measurement on one device.

    Args:
        ms_per_batch: execution on the device alone.
        samples_per_second: of one device; batch × 1000 / ms_per_batch.
        source: the file it was read from.
    """

    ms_per_batch: float
    samples_per_second: float
    source: str

    def __str__(self) -> str:
        return f"{self.ms_per_batch:.3f} ms per batch, {self.samples_per_second:.3f} samples/s on one device"


class Tool(ABC):
    """One tool: its command, its input files and its output files. Paths are relative to the exchange folder.

    Attributes:
        name: its value of the parameter `device_tool`.
        several_chips: whether its inputs can be split over devices, with one command each.
    """

    name: ClassVar[str]
    several_chips: ClassVar[bool] = False

    def samples_per_file(self, ports: ModelPorts) -> int:
        """Samples in each input file."""
        return 1

    def write_lists(self, folder: Path, stems: Sequence[str], ports: ModelPorts, chips: int) -> None:  # noqa: B027
        """Writes the lists that the tool reads in addition to the inputs."""

    @abstractmethod
    def commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[list[str]]:
        """The command lines, one per device, to be run in the exchange folder; `model` relative to it."""

    def shown_commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[str]:
        """The command lines, ready to be pasted into a shell."""
        return [shlex.join(command) for command in self.commands(model, ports, chips)]

    @abstractmethod
    def find_outputs(self, folder: Path, stems: Sequence[str], ports: ModelPorts) -> dict[str, Path]:
        """The output file of each input that has one."""

    @abstractmethod
    def read_times(self, folder: Path, ports: ModelPorts) -> ToolTimes | None:
        """The tool's measurement, if it left one."""


def most_complete(folders: Iterable[Path], names: Mapping[str, str]) -> dict[str, Path]:
    """The files `names` (by stem) in the folder that has the most of them; of equal folders, the one written last.

    A tool that was run twice leaves two folders, whose names do not sort by time if days are not padded with zeros.
    """

    def found(folder: Path) -> dict[str, Path]:
        files = {path.name: path for path in folder.iterdir() if path.is_file()}
        return {stem: files[name] for stem, name in names.items() if name in files}

    candidates = [(found(folder), folder.stat().st_mtime_ns) for folder in folders if folder.is_dir()]
    return max(candidates, key=lambda item: (len(item[0]), item[1]), default=({}, 0))[0]


class AisBench(Tool):
    """One sample per file. It pads the last batch itself and saves no output for the padding."""

    name = "ais_bench"

    def commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[list[str]]:
        """One command; a graph whose samples are counted on another axis needs `--output_batchsize_axis`."""
        command = ["python3", "-m", "ais_bench", "--model", model, "--input", INPUT, "--output", OUTPUT]
        command += ["--output_dirname", RUN, "--outfmt", "BIN", "--batchsize", str(ports.batch_size)]
        if ports.output_batch_axis:
            command += ["--output_batchsize_axis", str(ports.output_batch_axis)]
        return [command]

    def find_outputs(self, folder: Path, stems: Sequence[str], ports: ModelPorts) -> dict[str, Path]:
        """`<output>/<dirname or time>/<stem>_<k>.bin`, k from 0; below it `device<i>/` when several were given."""
        names = {stem: f"{stem}_{ports.output_index}.bin" for stem in stems}
        folders = [*(folder / OUTPUT).glob("*"), *(folder / OUTPUT).glob("*/device*")]
        return most_complete(folders, names)

    def read_times(self, folder: Path, ports: ModelPorts) -> ToolTimes | None:
        """From `<dirname>_summary.json` next to the outputs, or `sumary.json` among them (releases up to 2022)."""
        paths = [*(folder / OUTPUT).glob("*_summary.json"), *(folder / OUTPUT).glob("*/sumary.json")]
        for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                ms = _positive(json.loads(path.read_text(encoding="utf-8"))["NPU_compute_time"]["mean"])
            except (OSError, ValueError, LookupError, TypeError, RecursionError):
                continue
            if ms:
                return ToolTimes(ms, 1000 * ports.batch_size / ms, path.relative_to(folder).as_posix())
        return None


class Benchmark(Tool):
    """One sample per file, named in a list; inputs are split over devices in contiguous parts."""

    name = "benchmark"
    several_chips = True

    def write_lists(self, folder: Path, stems: Sequence[str], ports: ModelPorts, chips: int) -> None:
        """One `.info` per device: lines of index from 0, path, width and height, separated by single spaces."""
        height, width = ports.input_shape[-2:]
        for chip, part in enumerate(split_evenly(stems, chips)):
            lines = [f"{index} {INPUT}/{stem}.bin {width} {height}\n" for index, stem in enumerate(part)]
            with atomic_path(folder / _list_name(chip)) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")

    def commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[list[str]]:
        """One command per device, to be run in parallel; the binary for this machine's processor."""
        height, width = ports.input_shape[-2:]
        shared = ["-model_type=vision", f"-om_path={model}", f"-batch_size={ports.batch_size}"]
        shared += [f"-input_width={width}", f"-input_height={height}", "-useDvpp=false", "-output_binary=true"]
        program = f"benchmark.{'aarch64' if platform.machine() in ('aarch64', 'arm64') else 'x86_64'}"
        return [
            [program, *shared, f"-device_id={chip}", f"-input_text_path={_list_name(chip)}"] for chip in range(chips)
        ]

    def find_outputs(self, folder: Path, stems: Sequence[str], ports: ModelPorts) -> dict[str, Path]:
        """`result/dumpOutput_device<d>/<stem>_<k>.bin` of all devices together, k from 1.

        Raises:
            DeviceError: two devices answered the same input, so one list was run twice and another perhaps not.
        """
        there: dict[str, Path] = {}
        for path in sorted((folder / RESULT).glob(f"dumpOutput_device*/*_{ports.output_index + 1}.bin")):
            if path.name in there:
                raise DeviceError(
                    "two devices answered the same input",
                    received=f"{there[path.name].relative_to(folder)} and {path.relative_to(folder)}",
                    remedy=f"Remove {RESULT}/ and run every command once.",
                )
            there[path.name] = path
        names = {stem: f"{stem}_{ports.output_index + 1}.bin" for stem in stems}
        return {stem: there[name] for stem, name in names.items() if name in there}

    def read_times(self, folder: Path, ports: ModelPorts) -> ToolTimes | None:
        """`Interface throughputRate` of one device: samples over the device's own time; else a pure run's rate."""
        for pattern, rate in _RECORDS.items():
            for path in sorted((folder / RESULT).glob(pattern)):
                found = rate.search(path.read_text(encoding="utf-8", errors="replace"))
                if found and (per_second := _positive(found[1])):
                    source = path.relative_to(folder).as_posix()
                    return ToolTimes(1000 * ports.batch_size / per_second, per_second, source)
        return None


def _positive(value: object) -> float | None:
    """A positive finite number that a tool printed, or None."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def split_evenly(items: Sequence[str], parts: int) -> list[Sequence[str]]:
    """Contiguous parts whose lengths differ by at most one, the longer ones first.

    >>> split_evenly("abcde", 2)
    ['abc', 'de']
    """
    size, more = divmod(len(items), parts)
    cuts = [index * size + min(index, more) for index in range(parts + 1)]
    return [items[first:last] for first, last in itertools.pairwise(cuts)]


def _list_name(chip: int) -> str:
    return f"device{chip}.info"


class Msame(Tool):
    """Inputs hold `batch_size` samples each, because msame does not assemble batches."""

    name = "msame"

    def samples_per_file(self, ports: ModelPorts) -> int:
        """A complete batch."""
        return ports.batch_size

    def commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[list[str]]:
        """One command over the folder of inputs."""
        return [["msame", "--model", model, "--input", INPUT, "--output", OUTPUT, "--outfmt", "BIN"]]

    def shown_commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[str]:
        """With a copy of msame's output, the only place where it reports its times."""
        return [f"{shlex.join(command)} | tee {LOG}" for command in self.commands(model, ports, chips)]

    def find_outputs(self, folder: Path, stems: Sequence[str], ports: ModelPorts) -> dict[str, Path]:
        """`<output>/<time>/<stem>_output_<k>.bin`, k from 0."""
        names = {stem: f"{stem}_output_{ports.output_index}.bin" for stem in stems}
        return most_complete((folder / OUTPUT).glob("*"), names)

    def read_times(self, folder: Path, ports: ModelPorts) -> ToolTimes | None:
        """The average without the first call if it is printed. msame's times are per batch, never per sample."""
        path = folder / LOG
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        found = _AVERAGE.findall(text) or _ONE.findall(text)
        ms = _positive(found[-1]) if found else None
        if not ms:
            return None
        return ToolTimes(ms, 1000 * ports.batch_size / ms, LOG)


TOOLS: dict[str, Tool] = {tool.name: tool for tool in (Msame(), Benchmark(), AisBench())}


def tool_named(name: str) -> Tool:
    """A tool.

    Raises:
        ParameterError: no tool has this name.
    """
    if name not in TOOLS:
        raise ParameterError("unknown device tool", received=name, expected=", ".join(TOOLS))
    return TOOLS[name]
