"""What a compiler is asked for and what it answers; one class a runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from helpers.graph.spec import GraphSpec
from helpers.params.model import RunParams
from helpers.params.targets import Precision, Target
from helpers.run.result import Check

if TYPE_CHECKING:
    import torch

Report = Callable[[str], None]


@dataclass(frozen=True)
class CompileJob:
    """One graph for one target. Names are relative to the run's folder, as a command to copy gives them.

    Attributes:
        graph_name: the ONNX file, its rewrites done.
        output_name: the compiled file without its suffix.
        spec: names and shapes of the graph.
        target: where it is to run.
        precision: that it is compiled in, or opened in.
        params: of the run; a compiler reads its own options there.
        network: makes the torch module that was exported, for a runtime that traces it.
        checkpoints: what `network` loads, several for an ensemble.
        samples: makes windows (N, C, *spatial) of several cases, for a compiler that calibrates.
        samples_file: where `samples` are kept, for a command to copy.
        sample_inputs: what decides `samples`, as JSON; `cases` maps case ids to hashes.
    """

    graph_name: str
    output_name: str
    spec: GraphSpec
    target: Target
    precision: Precision
    params: RunParams
    network: Callable[[], torch.nn.Module]
    checkpoints: tuple[Path, ...]
    samples: Callable[[], np.ndarray]
    samples_file: str
    sample_inputs: Callable[[], Mapping[str, object]]

    @property
    def is_calibrated(self) -> bool:
        """Whether this precision needs `samples`."""
        return self.precision.startswith(("int8", "qint"))

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes to compile for: the gears, or the one batch size."""
        return tuple(sorted(self.params.batch_gears)) or (self.params.batch_size,)


@dataclass(frozen=True)
class CompiledModel:
    """What a compiler made: the files (the first is the one to open), the batch sizes in it, and what to show.

    `simulated`: a double of the compiler made it, so its times mean nothing.
    """

    files: tuple[Path, ...]
    batches: tuple[int, ...] | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    simulated: bool = False


class Compiler(ABC):
    """Compiles for one runtime."""

    runtime: ClassVar[str]

    @abstractmethod
    def identity(self, target: Target) -> Mapping[str, object] | None:
        """The versions that decide what comes out, as JSON; None where the compiler is not on this machine."""

    @abstractmethod
    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Compiles.

        Args:
            job: what is asked for.
            graph: the ONNX file.
            output: the compiled file without its suffix; its folder exists, and everything in it is kept.
            report: takes a line of progress.

        Raises:
            CompileError: the graph is refused, or the compiler is missing. A log at `output` + `.log` is kept.
        """

    def inputs(self, job: CompileJob) -> Mapping[str, object]:
        """What decides the compiled file beside graph, target and versions, as JSON."""
        return {}

    def side_files(self, job: CompileJob) -> Mapping[str, str]:
        """Text files, by name relative to the run's folder, that the commands name beside the graph."""
        return {}

    def commands(self, job: CompileJob) -> Mapping[str, str]:
        """Command lines to copy to a machine that has the compiler, run in the run's folder; first the compiler's."""
        return {}
