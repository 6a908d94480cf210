"""An exchange folder: the samples of some cases written for a tool, and the tool's answers read back.

This is the only place where windows go to disk, because these tools read nothing else; the bytes are known before.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
    """What an exchange takes on disk, known from shapes."""

    samples: int
    input_bytes: int
    output_bytes: int

    def __str__(self) -> str:
        total = (self.input_bytes + self.output_bytes) / 2**20
        return (
            f"{self.samples:,} samples, {self.input_bytes / 2**20:,.1f} MiB to write and about"
            f" {self.output_bytes / 2**20:,.1f} MiB that the tool writes: {total:,.1f} MiB"
        )


def measure_exchange(shapes: Iterable[tuple[tuple[int, ...], WindowPlan | None]], ports: ModelPorts) -> ExchangeBytes:
    """The bytes that prepared images of these shapes will take."""
    samples = sum(count_samples(shape, plan) for shape, plan in shapes)
    return ExchangeBytes(samples, samples * ports.input_bytes, samples * ports.output_bytes)


def check_room(need: ExchangeBytes, folder: Path) -> None:
    """Refuses an exchange that the disk cannot hold, before anything is written.

    Raises:
        ResourceError: with the bytes of both.
    """
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if need.input_bytes + need.output_bytes > free:
        raise ResourceError(
            "a device tool reads windows from files, and the disk cannot hold them",
            received=str(need),
            expected=f"at most {free / 2**20:,.1f} MiB free",
            remedy="Do fewer `cases` at a time, or let the device run in this process, which writes no window.",
        )


class Exchange:
    """The exchange of one folder; `is_written` says whether its inputs are all there.

    Args:
        folder: holds `exchange.json`, `input/`, and what the tool writes.
        tool: its name.
        ports: of the model that the tool will run.
        chips: over which the inputs are split, where the tool can.
    """

    def __init__(self, folder: Path, tool: str, ports: ModelPorts, chips: int = 1):
        self.folder, self.tool, self.ports = folder, tool_named(tool), ports
        self.chips = chips if self.tool.several_chips else 1
        self._content = self._read()

    @property
    def is_written(self) -> bool:
        """Whether the inputs were written for this tool and these ports."""
        return self._content is not None

    @property
    def stamp(self) -> str | None:
        """What tells one writing of the inputs from another; None when they are not written."""
        return self._content["stamp"] if self._content else None

    @property
    def case_ids(self) -> list[str]:
        """The cases whose samples were written."""
        return list(self._content["cases"]) if self._content else []

    def write(self, cases: PreparedCases) -> None:
        """Writes every sample of the cases, then the manifest; a folder without it counts as empty."""
        (self.folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.folder / INPUT, ignore_errors=True)
        writer = SampleWriter(self.folder / INPUT, self.tool.samples_a_file(self.ports))
        written: dict[str, dict] = {}
        for case_id, image, plan in cases:
            first, checksums = writer.count, []
            record = SampleRecorder(self.ports, lambda sample, sums=checksums: sums.append(writer.add(sample)))
            infer_job(image, CallablePredictor(record, "the recorder", fixed_batches=True), plan)
            written[case_id] = {"first": first, "checksums": checksums}
        writer.finish()
        chips = max(1, min(self.chips, len(writer.stems)))
        self.tool.write_lists(self.folder, writer.stems, self.ports, chips)
        for name in ("output", "result"):  # msame makes one level of folders, benchmark none
            (self.folder / name).mkdir(exist_ok=True)
        content = {"format": FORMAT, "tool": self.tool.name, "ports": self.ports.to_json(), "chips": chips}
        content["stamp"] = uuid.uuid4().hex
        write_json(self.folder / MANIFEST, content | {"stems": writer.stems, "cases": written})
        self._content = self._read()

    def shown_commands(self, model: str) -> list[str]:
        """What to run in the exchange folder; `model` relative to it."""
        return self.tool.shown_commands(model, self.ports, self._content["chips"])

    def missing(self) -> int:
        """Input files that the tool has not answered yet."""
        return len(self._content["stems"]) - len(self._outputs())

    def read_times(self) -> ToolTimes | None:
        """What the tool measured."""
        return self.tool.read_times(self.folder, self.ports)

    def answers_listing(self) -> dict[str, list]:
        """Size and time of every answer, which change when the tool is run again."""
        if not self.is_written:
            return {}
        stats = {stem: path.stat() for stem, path in self._outputs().items()}
        return {stem: [stat.st_size, stat.st_mtime_ns] for stem, stat in stats.items()}

    def predictor(self, case_id: str) -> CallablePredictor:
        """The tool's answers as the predictor of one case.

        Raises:
            DeviceError: the case was not written, or an answer is missing.
        """
        if case_id not in self.case_ids:
            raise DeviceError(f"no sample of {case_id} was written", remedy="Write the samples again.")
        case = self._content["cases"][case_id]
        replay = SampleReplay(self.ports, self._reader(), case["first"], case["checksums"])
        return CallablePredictor(replay, self.tool.name, fixed_batches=True)

    def _reader(self) -> Callable[[int], np.ndarray]:
        stems, outputs = self._content["stems"], self._outputs()
        each, axis = self.tool.samples_a_file(self.ports), self.ports.output_batch_axis
        last: dict[str, np.ndarray] = {}

        def read(number: int) -> np.ndarray:
            stem = stems[number // each]
            if stem not in outputs:
                raise DeviceError(f"{self.tool.name} left no answer to {stem}.bin", remedy="Run its command again.")
            if stem not in last:
                last.clear()
                last[stem] = self.ports.read_output(outputs[stem].read_bytes(), each, outputs[stem].name)
            return last[stem].take([number % each], axis)

        return read

    def _outputs(self) -> Mapping[str, Path]:
        return self.tool.find_outputs(self.folder, self._content["stems"], self.ports)

    def _read(self) -> dict | None:
        try:
            content = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            wanted = (FORMAT, self.tool.name, self.ports)
            same = (content["format"], content["tool"], ModelPorts.from_json(content["ports"])) == wanted
        except (OSError, ValueError, KeyError, TypeError):
            return None
        stems = content["stems"] if same else []
        there = all((self.folder / INPUT / f"{stem}.bin").is_file() for stem in stems)
        # Inputs that were answered may be removed to free the space.
        answered = there or len(self.tool.find_outputs(self.folder, stems, self.ports)) == len(stems)
        return content if same and answered else None
