"""The command `cookbook`, also `python -m helpers`. Exit code 0 only if every gate held."""

from helpers.cli.main import main

__all__ = ["main"]
