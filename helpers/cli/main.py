"""Parses the command line and turns every expected error into one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import logging
import os
import re
import select
import sys
from collections.abc import Collection, Sequence

from helpers import __version__
from helpers.cli.commands import COMMANDS, GROUPS
from helpers.cli.failure import describe_failure
from helpers.errors import CookbookError
from helpers.run.termination import Terminated, termination_raises

_DESCRIPTION = "Carries segmentation models from a PyTorch checkpoint to masks made by an accelerator."
_EPILOG = "`cookbook COMMAND --help` explains a command."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 if every gate held, 2 for an invalid parameter, 130 after Ctrl-C, 143 after SIGTERM (129 after SIGHUP), 141
        if standard output was closed, 1 for any other failure.

    Raises:
        SystemExit: the command line itself is invalid (2), or only help was asked for (0).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal in GBK has no ✓
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.WARNING)  # a run writes its finer messages to its own log
    try:
        options = parse(words)
        with termination_raises():
            code = COMMANDS[options.command].run(options)
            sys.stdout.flush()
        return code
    except CookbookError as error:
        return _report(error.line(), error.exit_code)
    except Terminated as error:
        return _report(f"{error}; finished stages are kept", error.exit_code)
    except KeyboardInterrupt:
        return _report("interrupted; finished stages are kept", 130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _has_no_reader():
            return _report("", 141)
        if isinstance(error, OSError) and not _flush_output():
            return _report(f"standard output cannot be written: {error.strerror}", 1)
        return _report(describe_failure(" ".join(["cookbook", *words[:2]]), error), 1)


def _report(line: str, code: int) -> int:
    """Writes an error line, if standard error is open, and returns the exit code."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"error: {line}\n" if line else "")
        sys.stderr.flush()
    return code


def _flush_output() -> bool:
    """Whether standard output takes what was written; if not, the rest is discarded."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
        return False
    return True


def _has_no_reader() -> bool:
    """Whether the reader of standard output has closed it; what is left of it is then discarded."""
    try:
        file = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    closed = any(event & select.POLLERR for _, event in poll.poll(0))
    if closed:
        _discard_output()
    return closed


def _discard_output() -> None:
    # Python would try again when it ends, and report the failure with an exit code of its own.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses a command line; a mistyped command or option is answered with the nearest one."""
    named = next((word for word in arguments if not word.startswith("-")), "")
    parser, children = build_parser([named])
    if named and named not in COMMANDS:
        parser.error(_describe_unknown("command", named, COMMANDS))
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        child = children[options.command]
        known = re.findall(r"(?<![\w-])--[a-z][a-z-]*", child.format_help())
        child.error(_describe_unknown("argument", unknown[0], known))
    return options


def build_parser(names: Collection[str]) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Builds the parser, and that of each command.

    Args:
        names: the commands that get their arguments; those of another may need packages that this machine lacks.
    """
    parser = argparse.ArgumentParser(
        prog="cookbook",
        usage="cookbook [--help] [--version] COMMAND ...",
        description=f"{_DESCRIPTION}\n\n{_list_commands()}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cookbook {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, prog="cookbook", help=argparse.SUPPRESS
    )
    children = {}
    for name, command in COMMANDS.items():
        children[name] = subparsers.add_parser(name, help=command.summary, description=command.summary)
        if name in names:
            command.add_arguments(children[name])
    return parser, children


def _list_commands() -> str:
    lines = []
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:<12}{command.summary}" for name, command in commands.items()]
    return "\n".join(lines[1:])


def _describe_unknown(kind: str, name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"unknown {kind} {name!r}. " + (f"Did you mean {near[0]!r}?" if near else "See --help.")
