"""Which compiler belongs to a runtime; a module is imported only when its runtime is asked for."""

from __future__ import annotations

import functools
import importlib

from helpers.compile.job import Compiler
from helpers.errors import CompileError

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
        CompileError: none is known.
    """
    if runtime not in _COMPILERS:
        raise CompileError("no compiler for this runtime yet", received=runtime, expected=", ".join(_COMPILERS))
    module, _, name = _COMPILERS[runtime].partition(":")
    return getattr(importlib.import_module(module), name)()
