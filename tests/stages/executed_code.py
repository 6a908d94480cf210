"""Which definitions of helpers a stage executes, to compare with those in its cache key."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType

from helpers.params.paths import PROJECT_ROOT
from helpers.run import Run
from helpers.run.code import Node, project_code

HELPERS = str(PROJECT_ROOT / "helpers") + "/"


class Recorder:
    """Wraps `Run.begin` so that every definition which a stage's `make` executes is recorded.

    Attributes:
        executed: by stage; a stage within a stage has its own entry.
        reached: the definitions in the stage's key.
    """

    def __init__(self) -> None:
        self.executed: dict[str, set[Node]] = {}
        self.reached: dict[str, frozenset[Node]] = {}
        self._begin = Run.begin

    def missing(self) -> dict[str, set[Node]]:
        """What was executed and is not in the key, by stage."""
        missing = {stage: nodes - self.reached[stage] for stage, nodes in self.executed.items()}
        return {stage: nodes for stage, nodes in missing.items() if nodes}

    def begin(self, run: Run, stage: str, title: str, *, make: Callable, code=(), **given):
        """As `Run.begin`."""
        self.reached[stage] = project_code().reach((make, *code)).definitions

        @functools.wraps(make)
        def traced(folder: Path):
            with _trace() as codes:
                made = make(folder)
            self.executed[stage] = {node for code in codes if (node := _definition_of(code))}
            return made

        return self._begin(run, stage, title, make=traced, code=code, **given)


@contextlib.contextmanager
def _trace() -> Iterator[set[CodeType]]:
    """The code of helpers that this thread and those it starts execute, imports aside."""
    codes: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code not in codes and code.co_filename.startswith(HELPERS) and not _imports(frame):
            codes.add(code)

    before = sys.getprofile(), threading.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield codes
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported; its statements run once, whichever stage comes first."""
    while frame:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(HELPERS):
            return True
        frame = frame.f_back
    return False


def _definition_of(code: CodeType) -> Node | None:
    """The top-level definition that holds a line; None in a passive package."""
    parts = Path(code.co_filename).relative_to(PROJECT_ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    module = project_code().module(name)
    for definition, statements in module.definitions.items() if module else ():
        for statement in statements:
            first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", ()))])
            if first <= code.co_firstlineno <= (statement.end_lineno or first):
                return name, definition
    return None
