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
    parser = _build_parser()
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal in GBK has no ✓
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        return options.command(options)
    except CookbookError as error:
        sys.stderr.write(f"error: {error.line()}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; finished stages are kept\n")
        return 130


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers", description="Carries segmentation models from a checkpoint to masks."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, (help_text, add_arguments, command) in COMMANDS.items():
        child = commands.add_parser(name, help=help_text, description=help_text)
        add_arguments(child)
        child.set_defaults(command=command)
    return parser
