"""Traces a network to TorchScript and stores the names and shapes of its inputs and outputs in the file."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.compile.base import CompiledModel, CompileJob, Compiler, Report
from helpers.graph.export import first_output_only
from helpers.graph.spec import GraphSpec
from helpers.params.targets import Target
from helpers.run.digest import digest_file
from helpers.run.environment import package_version

if TYPE_CHECKING:
    import torch


class TorchScriptCompiler(Compiler):
    """torch's tracer."""

    runtime = "torch"

    def identity(self, target: Target) -> dict[str, object] | None:
        """torch's version."""
        version = package_version("torch")
        return {"torch": version} if version else None

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """The checkpoints, because the network is traced and not the graph."""
        return {"checkpoints": [digest_file(path) for path in job.checkpoints]}

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.pt`."""
        path = compile_torchscript(job.load_network(), job.spec, output)
        return CompiledModel((path,), facts={"precision": f"{job.precision}, chosen when the device opens the model"})


def compile_torchscript(network: torch.nn.Module, spec: GraphSpec, output: Path) -> Path:
    """Writes `<output>.pt`; names, dtypes and shapes of its tensors are stored in it as `interface.json`."""
    import torch

    sample = torch.zeros(spec.batch_shape(1))
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns that it is deprecated
        traced = torch.jit.trace(first_output_only(network.eval()), sample, check_trace=False)
        result = traced(sample)
    output_shape: list[int | None] = list(result.shape)
    output_shape[spec.output_batch_axis] = None
    interface = {
        "inputs": [[spec.input_name, "float32", [None, *spec.input_shape]]],
        "outputs": [[spec.output_name, str(result.dtype).removeprefix("torch."), output_shape]],
    }
    path = output.with_suffix(".pt")
    torch.jit.save(traced, str(path), _extra_files={"interface.json": json.dumps(interface)})
    return path
