"""Parses the command line and turns every error into one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from helpers import __version__
from helpers.cli.commands import COMMANDS
from helpers.errors import CookbookError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 when every gate held; 2 for wrong parameters, 130 after Ctrl-C, 1 for anything else.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = _build_parser(arguments).parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal in GBK has no ✓
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.WARNING)  # what a run logs below that is in its own file
    try:
        return options.command(options)
    except CookbookError as error:
        sys.stderr.write(f"error: {error.line()}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; finished stages are kept\n")
        return 130


def _build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers", description="Carries segmentation models from a checkpoint to masks."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, (help_text, add_arguments, command) in COMMANDS.items():
        child = commands.add_parser(name, help=help_text, description=help_text)
        if name in arguments:  # another command's arguments may need packages that are not on this machine
            add_arguments(child)
        child.set_defaults(command=command)
    return parser
