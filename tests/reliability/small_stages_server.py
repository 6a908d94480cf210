"""Performs small stages that write a few files each, every time in a forked process that a test may kill.

Reads the outputs folder of each run from standard input; answers with the process id, and with its exit code.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from helpers.params import RunParams
from helpers.run import Check, Run, StageOutput
from helpers.run.code import project_code
from helpers.run.libraries import DISTRIBUTIONS, library_versions

STAGES, FILES, PIECES = 8, 3, 4


def make_stage(number: int):
    """The `make` of a stage: writes its files in pieces, as slow writers do."""

    def make(folder: Path) -> StageOutput:
        for file in range(FILES):
            with (folder / f"stage_{number}_{file}.bin").open("wb", buffering=0) as stream:
                for piece in range(PIECES):
                    stream.write(bytes([number, file, piece]) * 4000)
                    time.sleep(0.001)
        return StageOutput((Check("written", True, str(FILES)),), {"files": FILES}, {"number": number})

    return make


def perform_stages(outputs: str) -> None:
    """Performs every stage of a run."""
    run = Run(RunParams(recipe="lamp", outputs=outputs))
    for number in range(STAGES):
        run.perform(f"work/{number}", f"Stage {number}", inputs={"number": number}, make=make_stage(number))
    run.finish()


def main() -> None:
    """Serves runs until standard input closes."""
    project_code().reach((make_stage(0),))  # read the sources once, not in every fork
    library_versions(DISTRIBUTIONS)
    _answer("ready")
    while line := sys.stdin.readline():
        pid = os.fork()
        if not pid:
            perform_stages(line.strip())
            sys.exit(0)
        _answer(pid)
        _answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _answer(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
