"""`cookbook new-card`: a first model card from a model file or a MONAI bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from helpers.errors import ParameterError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", metavar="MODEL", help=".onnx, .pt, .ts, .pt2, or the folder of a MONAI bundle")
    parser.add_argument("-o", "--output", metavar="FILE", help="card to write (default: card.yaml next to MODEL)")
    parser.add_argument("--force", action="store_true", help="replace an existing card")


def run(options: argparse.Namespace) -> int:
    """Writes the card, and says what to check in it."""
    from helpers.params.paths import find_input
    from helpers.run.atomic import atomic_path

    model = find_input(options.model, parameter="MODEL")
    default = (model if model.is_dir() else model.parent) / "card.yaml"
    target = Path(options.output).expanduser() if options.output else default
    if target.suffix.lower() not in (".yaml", ".yml"):
        raise ParameterError(
            "a model card is a YAML file", received=str(target), expected="a name that ends in .yaml"
        )
    if target.exists() and not options.force:
        raise ParameterError(f"{target} exists", remedy="Name another file with -o, or replace it with --force.")
    if not target.parent.is_dir():
        raise ParameterError(f"there is no folder {target.parent}", remedy="Create it, or name another file.")
    text, notes = _text(model, target)
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    checks = text.count("CHECK: ")
    lines = [f"{target}: {checks} lines to check", *notes]
    lines.append(f"then: cookbook run own_model -p profile cpu -p card {target} -p data_root DATA")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _text(model: Path, target: Path) -> tuple[str, list[str]]:
    if model.is_dir():
        from helpers.card.monai import read_bundle

        bundle = read_bundle(model)
        return bundle.card_text(target), [f"not expressed: {line}" for line in bundle.not_expressed]
    from helpers.card.writing import write_card

    return write_card(model, target), []
