"""Describes an unexpected exception in one line; its traceback goes to a log file."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_HELPERS = Path(__file__).resolve().parents[1]
_LONGEST = 300  # characters of an exception's own message


def describe_failure(step: str, error: BaseException) -> str:
    """Names the step, the file and the error in one line, and writes the traceback to a log.

    Args:
        step: what was asked for, such as `cookbook verify unet_carvana`.
        error: the exception.
    """
    inner = _name_step(error)
    text = f"{step}{f' ({inner})' if inner else ''} failed: {name_error(error)}"
    return f"{text.rstrip('.')}. {place_log(step, ''.join(traceback.format_exception(error)))}"


def name_error(error: BaseException) -> str:
    """The kind of an exception, its message and the file in one line."""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename or _file_at_hand(error)
        return f"{error.strerror}: {file}" if file else error.strerror
    message = " ".join(str(error).split())
    message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
    file = _file_at_hand(error)
    return ": ".join(filter(None, (type(error).__name__, message))) + (f" (file {file})" if file else "")


def place_log(step: str, text: str) -> str:
    """Writes a log among the temporary files and says where it is, or why it cannot be written."""
    prefix = "cookbook-" + "".join(each for each in step.split()[-1] if each.isalnum()) + "-"
    try:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"{' '.join(sys.argv)}\n{text}")
    except OSError as error:
        return f"The traceback cannot be written to a log ({error.strerror})."
    return f"The traceback is in {name}."


def _name_step(error: BaseException) -> str:
    """The stage or study that the exception passed through, as a notebook calls it."""
    for frame in _own_frames(error):
        package = Path(frame.f_code.co_filename).relative_to(_HELPERS).parts[0]
        if package in ("stages", "study") and not frame.f_code.co_name.startswith(("_", "<")):
            return f"{package}.{frame.f_code.co_name}"
    return ""


def _file_at_hand(error: BaseException) -> Path | None:
    """The path that the innermost function of this project which takes one was called with."""
    for frame in reversed(list(_own_frames(error))):
        arguments = frame.f_code.co_varnames[: frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount]
        for name in arguments:
            if isinstance(value := frame.f_locals.get(name), Path):
                return value
    return None


def _own_frames(error: BaseException) -> Iterator[FrameType]:
    """The frames of this project that the exception passed through, the outermost first."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if Path(frame.f_code.co_filename).is_relative_to(_HELPERS):
            yield frame
