"""The command line, `python -m helpers doctor` and others. Exit code 0 only if every gate held."""

from helpers.cli.main import main

__all__ = ["main"]
