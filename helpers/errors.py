"""Errors that a user can act on: the problem, what was received, what was expected, and the remedy."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path


class CookbookError(Exception):
    """One clear line: the problem, what was received, what was expected, and the remedy.

    Only the problem is required. IPython shows the line instead of a traceback, which is written to the log of the
    run.

    >>> CookbookError("unknown target 'cpuu'", remedy="Did you mean 'cpu'?").line()
    "unknown target 'cpuu'. Did you mean 'cpu'?"
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

    def __reduce__(self) -> tuple[object, ...]:
        # Errors of other processes arrive here; the arguments of a subclass may have no default.
        return _restore, (type(self), self.args, self.__dict__)

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self.line()}"]


def _restore(kind: type[CookbookError], arguments: tuple[object, ...], state: dict[str, object]) -> CookbookError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(state)
    return error


def last_line(report: str | Exception) -> str:
    r"""The last non-blank line of a report or an exception, which usually names the cause.

    A blank report gives an empty text, an exception without a message the name of its class.

    >>> last_line("reading the graph\nError: unknown op Foo\n\n")
    'Error: unknown op Foo'
    """
    lines = [line.strip() for line in str(report).splitlines() if line.strip()]
    if lines:
        return lines[-1]
    return type(report).__name__ if isinstance(report, Exception) else ""


class ParameterError(CookbookError):
    """A parameter is unknown, has the wrong type or is out of range."""

    exit_code = 2


class DataError(CookbookError):
    """A case or one of its files cannot be used."""


class CheckpointError(CookbookError):
    """A checkpoint does not fit its network, or is not safe to load."""


class GraphError(CookbookError):
    """An exported or rewritten graph is not as required."""


class CompileError(CookbookError):
    """A compiler rejected the graph, or is not available."""


class DeviceError(CookbookError):
    """A device rejected its inputs, failed, or is not available."""


class ResourceError(CookbookError):
    """Disk space or memory is insufficient."""


class GateError(CookbookError):
    """A check on the result of a stage failed."""


class StepOrderError(CookbookError):
    """A step was run before the one whose files it needs."""


@contextlib.contextmanager
def explain_damage(file: Path, remedy: str | None = None) -> Iterator[None]:
    """Turns the errors of reading content of an unexpected form into one that names the file.

    Args:
        file: what is read; its content is not under the control of this program.
        remedy: what to do.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        # A time out of range is an OSError too, but one without a file.
        if isinstance(error, OSError) and (error.filename or error.errno not in (errno.EOVERFLOW, errno.EINVAL)):
            raise
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DataError(f"{file} is damaged or not of this program", received=cause, remedy=remedy) from error
