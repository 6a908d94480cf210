"""A command of `cookbook`: its summary, its arguments, and the function that carries it out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command: `cookbook NAME ...`.

    Attributes:
        summary: its line in the list of commands.
        run: carries it out and returns the exit code.
        add_arguments: declares its arguments. It may import packages that other commands do not need.
    """

    summary: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None]
