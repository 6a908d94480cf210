"""Errors that a user can act on: what was received, what was expected, what to do."""

from __future__ import annotations


class CookbookError(Exception):
    """One clear line: the problem, what was received, what was expected, and the remedy.

    Every part but the problem may be left out. IPython shows the line instead of a traceback, so that the
    reader of a notebook sees the cause first; the whole traceback goes to the run's log.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        received: object = None,
        expected: object = None,
        remedy: str | None = None,
    ):
        self.problem, self.received, self.expected, self.remedy = problem, received, expected, remedy
        super().__init__(self.line())

    def line(self) -> str:
        """The error as one line, without line breaks."""
        facts = []
        if self.received is not None:
            facts.append(f"received {self.received}")
        if self.expected is not None:
            facts.append(f"expected {self.expected}")
        text = self.problem + (": " + ", ".join(facts) if facts else "")
        if self.remedy:
            text = f"{text.rstrip('.')}. {self.remedy}"
        return " ".join(text.split())

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self.line()}"]


class ParameterError(CookbookError):
    """A parameter is unknown, of the wrong type or out of range."""

    exit_code = 2


class DataError(CookbookError):
    """A case or one of its files cannot be used."""


class CheckpointError(CookbookError):
    """A checkpoint does not fit its network, or is not safe to load."""


class GraphError(CookbookError):
    """An exported or rewritten graph is not what it has to be."""


class CompileError(CookbookError):
    """A vendor's compiler refused the graph."""


class DeviceError(CookbookError):
    """A device refused its feeds, failed, or is not there."""


class ResourceError(CookbookError):
    """Disk or memory is not enough for what was asked."""


class GateError(CookbookError):
    """A stage made something, and a check with a number says that it is wrong."""


class StepOrderError(CookbookError):
    """A step was asked for before the one that makes what it needs."""
