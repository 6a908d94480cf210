"""The interface of a compiler: the job it receives, the model it returns, and the choice of a compiler by runtime."""

from __future__ import annotations

import functools
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from helpers.errors import CompileError
from helpers.graph.spec import GraphSpec
from helpers.params.model import RunParams
from helpers.params.targets import Precision, Target
from helpers.run.result import Check

if TYPE_CHECKING:
    import torch

Report = Callable[[str], None]


class Calibration(Protocol):
    """The windows that a quantising compiler calibrates with; made on demand."""

    def windows(self) -> np.ndarray:
        """Windows (N, C, *window) float32 of several cases, prepared for the network."""

    def inputs(self) -> Mapping[str, Any]:
        """Everything that determines the windows, as JSON; its `cases` maps case ids to digests."""


@dataclass(frozen=True)
class CompileJob:
    """A graph to compile for a target. Names are relative to the run folder, in which shown commands are run.

    Attributes:
        graph_name: the ONNX file, already rewritten.
        output_name: the compiled file without its suffix.
        spec: names and shapes of the graph.
        target: the target that will run the model.
        precision: the precision to compile for; some runtimes apply it only when they open the model.
        params: the run's parameters, which include the options of every compiler.
        load_network: loads the torch module that was exported, for compilers that trace it.
        checkpoints: the files that `load_network` reads; several for an ensemble.
        calibration: the windows for a quantised precision.
        calibration_file: the file with these windows, for shown commands.
    """

    graph_name: str
    output_name: str
    spec: GraphSpec
    target: Target
    precision: Precision
    params: RunParams
    load_network: Callable[[], torch.nn.Module]
    checkpoints: tuple[Path, ...]
    calibration: Calibration
    calibration_file: str

    @property
    def is_calibrated(self) -> bool:
        """Whether this precision needs calibration windows."""
        return self.precision.startswith(("int8", "qint"))

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes to compile for: the gears, or the run's batch size."""
        return tuple(sorted(self.params.batch_gears)) or (self.params.batch_size,)

    def calibration_cases(self) -> list[str]:
        """Ids of the cases that the calibration windows are cut from."""
        return list(self.calibration.inputs()["cases"])


@dataclass(frozen=True)
class CompiledModel:
    """The result of a compilation.

    Attributes:
        files: all files of the model; the device opens the first.
        batches: the batch sizes that the model accepts; None for any.
        facts: rows of the stage's table.
        checks: checks of the compiled file.
        timings: seconds and megabytes by name.
        simulated: whether a double of the vendor's compiler wrote the model, so that its times mean nothing.
    """

    files: tuple[Path, ...]
    batches: tuple[int, ...] | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    simulated: bool = False


class Compiler(ABC):
    """Compiles graphs for one runtime."""

    runtime: ClassVar[str]

    @abstractmethod
    def identity(self, target: Target) -> Mapping[str, object] | None:
        """The versions that determine the compiled model, as JSON; None if the compiler is not installed."""

    @abstractmethod
    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Compiles a graph.

        Args:
            job: describes the compilation.
            graph: the ONNX file.
            output: the compiled file without its suffix; its folder exists, and every file written to it is kept.
            report: receives lines of progress.

        Raises:
            CompileError: the compiler rejects the graph or is not installed. A log at `output` + `.log` is kept.
        """

    def inputs(self, job: CompileJob) -> Mapping[str, object]:
        """Everything besides graph, target and versions that determines the compiled model, as JSON."""
        return {}

    def side_files(self, job: CompileJob) -> Mapping[str, str]:
        """The texts of files that the commands refer to, by their names relative to the run folder."""
        return {}

    def commands(self, job: CompileJob) -> Mapping[str, str]:
        """Commands to run in the run folder on a machine that has the compiler; the compiler's own comes first."""
        return {}


# Imported on first use, so that one runtime does not need the packages of the others.
_COMPILERS = {
    "openvino": "helpers.compile.openvino:OpenVinoCompiler",
    "onnxruntime": "helpers.compile.onnxruntime:OnnxRuntimeCompiler",
    "torch": "helpers.compile.torchscript:TorchScriptCompiler",
    "ascend": "helpers.compile.atc:AtcCompiler",
    "ais_bench": "helpers.compile.atc:AtcCompiler",
    "magicmind": "helpers.compile.magicmind:MagicMindCompiler",
}


@functools.cache
def compiler_for(runtime: str) -> Compiler:
    """The compiler of a runtime.

    Raises:
        CompileError: no compiler supports the runtime.
    """
    if runtime not in _COMPILERS:
        raise CompileError("unsupported runtime", received=runtime, expected=", ".join(_COMPILERS))
    module, _, name = _COMPILERS[runtime].partition(":")
    return getattr(importlib.import_module(module), name)()
