"""An exchange folder: the samples of some cases written for a tool, and the tool's outputs read back.

This is the only place where windows are written to disk, because these tools read nothing else; the size is known
beforehand.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.errors import DeviceError, ResourceError
from helpers.inference import WindowPlan, count_samples, infer_job
from helpers.inference.predictor import CallablePredictor
from helpers.interop.ports import ModelPorts
from helpers.interop.samples import SampleRecorder, SampleReplay, SampleWriter
from helpers.interop.tool import INPUT, ToolTimes, tool_named
from helpers.run.atomic import write_json

MANIFEST, FORMAT = "exchange.json", 1
PreparedCases = Iterable[tuple[str, np.ndarray, WindowPlan | None]]


@dataclass(frozen=True)
class ExchangeBytes:
    """The size of an exchange on disk, known from shapes."""

    samples: int
    input_bytes: int
    output_bytes: int

    def __str__(self) -> str:
        total = (self.input_bytes + self.output_bytes) / 2**20
        return (
            f"{self.samples:,} samples, {self.input_bytes / 2**20:,.1f} MiB to write and about"
            f" {self.output_bytes / 2**20:,.1f} MiB of output by the tool: {total:,.1f} MiB"
        )


def measure_exchange(shapes: Iterable[tuple[tuple[int, ...], WindowPlan | None]], ports: ModelPorts) -> ExchangeBytes:
    """The bytes that prepared images of these shapes will take.

    >>> ports = ModelPorts("image", "class", (1, 64, 64, 64), (2, 64, 64, 64))
    >>> measure_exchange([((1, 128, 128, 128), WindowPlan((64, 64, 64), 2))], ports).samples
    27
    """
    samples = sum(count_samples(shape, plan) for shape, plan in shapes)
    return ExchangeBytes(samples, samples * ports.input_bytes, samples * ports.output_bytes)


def check_room(need: ExchangeBytes, folder: Path) -> None:
    """Refuses an exchange that does not fit on the disk, before anything is written.

    Raises:
        ResourceError: the disk is too small; the message gives both sizes.
    """
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if need.input_bytes + need.output_bytes > free:
        raise ResourceError(
            "not enough disk space for the windows that a device tool reads",
            received=str(need),
            expected=f"at most {free / 2**20:,.1f} MiB free",
            remedy="Process fewer `cases` at a time, or run the device in this process, which writes no windows.",
        )


class Exchange:
    """The exchange in one folder; `is_written` is true if its inputs are complete.

    Args:
        folder: holds `exchange.json`, `input/`, and the tool's outputs.
        tool: its name.
        ports: of the model that the tool will run.
        chips: devices over which the inputs are split, if the tool can.
    """

    def __init__(self, folder: Path, tool: str, ports: ModelPorts, chips: int = 1):
        self.folder, self.tool, self.ports = folder, tool_named(tool), ports
        self.chips = chips if self.tool.several_chips else 1
        self._manifest = self._read_manifest()

    @property
    def is_written(self) -> bool:
        """Whether the inputs were written for this tool and these ports."""
        return self._manifest is not None

    @property
    def stamp(self) -> str | None:
        """Changes each time the inputs are written; None while they are not."""
        return self._manifest["stamp"] if self._manifest else None

    @property
    def case_ids(self) -> list[str]:
        """The cases whose samples were written."""
        return list(self._manifest["cases"]) if self._manifest else []

    def write(self, cases: PreparedCases) -> None:
        """Writes every sample of the cases, then the manifest; a folder without it counts as empty."""
        (self.folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.folder / INPUT, ignore_errors=True)
        writer = SampleWriter(self.folder / INPUT, self.tool.samples_per_file(self.ports))
        written = {case_id: self._record(writer, image, plan) for case_id, image, plan in cases}
        writer.finish()
        chips = max(1, min(self.chips, len(writer.stems)))
        self.tool.write_lists(self.folder, writer.stems, self.ports, chips)
        for name in ("output", "result"):  # msame creates one level of folders, benchmark none
            (self.folder / name).mkdir(exist_ok=True)
        content = {"format": FORMAT, "tool": self.tool.name, "ports": self.ports.to_json(), "chips": chips}
        content["stamp"] = uuid.uuid4().hex
        write_json(self.folder / MANIFEST, content | {"stems": writer.stems, "cases": written})
        self._manifest = self._read_manifest()

    def shown_commands(self, model: str) -> list[str]:
        """The commands to run in the exchange folder; `model` relative to it."""
        return self.tool.shown_commands(model, self.ports, self._written()["chips"])

    def missing(self) -> int:
        """Input files that the tool has not answered yet."""
        return len(self._written()["stems"]) - len(self._outputs())

    def read_times(self) -> ToolTimes | None:
        """The tool's own measurement, if it left one."""
        return self.tool.read_times(self.folder, self.ports)

    def answers_listing(self) -> dict[str, list]:
        """Size and time of every output, which change when the tool is run again."""
        if not self.is_written:
            return {}
        stats = {stem: path.stat() for stem, path in self._outputs().items()}
        return {stem: [stat.st_size, stat.st_mtime_ns] for stem, stat in stats.items()}

    def predictor(self, case_id: str) -> CallablePredictor:
        """The tool's outputs as the predictor of one case.

        Raises:
            DeviceError: the case was not written, or an output is missing.
        """
        if case_id not in self.case_ids:
            raise DeviceError(f"no samples of {case_id} were written", remedy="Write the samples again.")
        case = self._written()["cases"][case_id]
        replay = SampleReplay(self.ports, self._reader(), case["first"], case["checksums"])
        return CallablePredictor(replay, self.tool.name, fixed_batches=True)

    def _record(self, writer: SampleWriter, image: np.ndarray, plan: WindowPlan | None) -> dict[str, Any]:
        """Writes the samples of one case; returns the number of the first and their checksums."""
        first, checksums = writer.count, list[int]()
        recorder = SampleRecorder(self.ports, lambda sample: checksums.append(writer.add(sample)))
        # Samples are numbered in the order of the planned batches, whatever memory is available.
        infer_job(image, CallablePredictor(recorder, "the recorder", fixed_batches=True), plan)
        return {"first": first, "checksums": checksums}

    def _reader(self) -> Callable[[int], np.ndarray]:
        """A function that reads the output of a sample by its number."""
        stems, outputs = self._written()["stems"], self._outputs()
        per_file, axis = self.tool.samples_per_file(self.ports), self.ports.output_batch_axis
        last: dict[str, np.ndarray] = {}

        def read(number: int) -> np.ndarray:
            stem = stems[number // per_file]
            if stem not in outputs:
                raise DeviceError(f"{self.tool.name} wrote no output for {stem}.bin", remedy="Run its command again.")
            if stem not in last:
                last.clear()
                last[stem] = self.ports.read_output(outputs[stem].read_bytes(), per_file, outputs[stem].name)
            return last[stem].take([number % per_file], axis)

        return read

    def _written(self) -> dict[str, Any]:
        if self._manifest is None:
            raise DeviceError("the samples were not written yet", remedy="Write the samples first.")
        return self._manifest

    def _outputs(self) -> Mapping[str, Path]:
        return self.tool.find_outputs(self.folder, self._written()["stems"], self.ports)

    def _read_manifest(self) -> dict[str, Any] | None:
        try:
            content = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            wanted = (FORMAT, self.tool.name, self.ports)
            if (content["format"], content["tool"], ModelPorts.from_json(content["ports"])) != wanted:
                return None
            stems = [str(stem) for stem in content["stems"]]
            if not all(_is_case(case) for case in content["cases"].values()) or type(content["chips"]) is not int:
                return None
            has_inputs = all((self.folder / INPUT / f"{stem}.bin").is_file() for stem in stems)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        # Inputs whose outputs exist may be removed to free the space.
        if has_inputs or len(self.tool.find_outputs(self.folder, stems, self.ports)) == len(stems):
            return content
        return None


def _is_case(content: Mapping[str, Any]) -> bool:
    """Whether a case of a manifest has the number of its first sample, and checksums."""
    return type(content["first"]) is int and all(type(checksum) is int for checksum in content["checksums"])
