"""The command `completion`: prints a script that completes `cookbook` in a shell."""

from __future__ import annotations

import argparse
import sys

from helpers.cli.command import Command

_SHELLS = ("bash", "zsh", "fish")
_HOW_TO = """\
to complete in every new shell:
  bash   cookbook completion bash > ~/.local/share/bash-completion/completions/cookbook
  zsh    cookbook completion zsh > FOLDER/_cookbook      (a folder of your $fpath)
  fish   cookbook completion fish > ~/.config/fish/completions/cookbook.fish
"""


def _add_completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HOW_TO
    parser.add_argument("shell", choices=_SHELLS, help="the shell to complete in")


def _print_completion(options: argparse.Namespace) -> int:
    import shtab

    from helpers import recipes
    from helpers.cli.commands import COMMANDS
    from helpers.cli.main import build_parser

    files = {"file": shtab.FILE, "python": shtab.FILE}
    folders = dict.fromkeys(("bundle", "outputs", "results", "root", "run", "to"), shtab.DIRECTORY)
    parser, children = build_parser(COMMANDS)
    for each in (parser, *children.values()):
        for action in each._actions:
            if action.dest == "command":
                action.help = None  # shtab leaves out what the help hides
            elif action.dest == "recipe":
                action.choices = recipes.recipe_names() + (["all"] if "'all'" in (action.help or "") else [])
            elif action.dest in files | folders:
                action.complete = (files | folders)[action.dest]  # type: ignore[attr-defined]  # shtab reads it
    sys.stdout.write(shtab.complete(parser, shell=options.shell) + "\n")
    return 0


COMPLETION = Command("Print a completion script for your shell.", _print_completion, _add_completion_arguments)
