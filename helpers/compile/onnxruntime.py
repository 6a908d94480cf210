"""ONNX Runtime opens the graph itself."""

from __future__ import annotations

import shutil
from pathlib import Path

from helpers.compile.job import CompiledModel, CompileJob, Compiler, Report
from helpers.params.targets import Target
from helpers.run.environment import package_version


class OnnxRuntimeCompiler(Compiler):
    """Copies the graph."""

    runtime = "onnxruntime"

    def identity(self, target: Target) -> dict[str, object] | None:
        """ONNX Runtime's version."""
        version = package_version("onnxruntime")
        return {"onnxruntime": version} if version else None

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.onnx`."""
        path = output.with_suffix(".onnx")
        shutil.copyfile(graph, path)
        return CompiledModel((path,))
