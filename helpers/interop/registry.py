"""The tools by name."""

from __future__ import annotations

from helpers.errors import ParameterError
from helpers.interop.ais_bench import AisBench
from helpers.interop.benchmark import Benchmark
from helpers.interop.msame import Msame
from helpers.interop.tool import Tool

TOOLS: dict[str, Tool] = {tool.name: tool for tool in (Msame(), Benchmark(), AisBench())}


def tool_named(name: str) -> Tool:
    """A tool.

    Raises:
        ParameterError: there is none of this name.
    """
    if name not in TOOLS:
        raise ParameterError("unknown device tool", received=name, expected=", ".join(TOOLS))
    return TOOLS[name]
