"""MagicMind's own timer, `mm_run`: its command, its run, and the one line of its output that is known."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from helpers.compile.program import run_program
from helpers.errors import CompileError
from helpers.graph.spec import GraphSpec

_THROUGHPUT = re.compile(r"^Throughput \(qps\):\s*([0-9.eE+-]+)\s*$", re.MULTILINE)


def mm_run_command(
    model: Path,
    spec: GraphSpec,
    layout: tuple[str, str] | None,
    *,
    devices: tuple[int, ...] = (0,),
    threads: int = 1,
    iterations: int = 1000,
) -> list[str]:
    """`mm_run` for the graph's batch.

    Args:
        model: the built model.
        spec: names and shapes of the graph.
        layout: the graph's layout and the one that the model is fed in, which is what `--input_dims` wants.
    """
    dims = spec.batch_shape(spec.batch_size)
    if layout is not None:
        dims = tuple(dims[layout[0].index(axis)] for axis in layout[1])
    return [
        "mm_run",
        "--magicmind_model",
        str(model),
        "--input_dims",
        ",".join(map(str, dims)),
        "--devices",
        ",".join(map(str, devices)),
        "--threads",
        str(threads),
        "--iterations",
        str(iterations),
    ]


def find_mm_run() -> str | None:
    """The timer's path, or None where MagicMind's tools are not set up."""
    return shutil.which("mm_run")


def measure_throughput(command: list[str], log: Path, timeout_s: float = 600.0) -> float:
    """Runs `mm_run` and returns its samples a second (batch × iterations over the host's seconds).

    Raises:
        CompileError: it is not here, failed, or printed no throughput.
    """
    program = find_mm_run()
    if program is None:
        raise CompileError("mm_run is not on this machine", remedy="It comes with MagicMind.")
    run_program([program, *command[1:]], log, timeout_s, title="mm_run")
    return parse_throughput(log.read_text(encoding="utf-8", errors="replace"))


def parse_throughput(text: str) -> float:
    """Samples a second in what `mm_run` printed; nothing else of its output is documented.

    Raises:
        CompileError: there is no such line.
    """
    found = _THROUGHPUT.findall(text)
    if not found:
        raise CompileError("mm_run printed no throughput", expected="a line `Throughput (qps): 123.4`")
    return float(found[-1])
