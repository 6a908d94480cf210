"""The commands of readers: `agreement` and `adjudicate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.cli.command import Command

if TYPE_CHECKING:
    from helpers.qa.finished import FinishedRun

_RUN_HELP = "folder of a run that passed, such as outputs/unet3d_brats/demo-1a2b3c4d"


def _add_agreement_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=_RUN_HELP)
    parser.add_argument(
        "--readers", metavar="NAMES", help="comma-separated (default: all who judged a mask of the run)"
    )
    parser.add_argument("--to", metavar="FOLDER", help="default: qa/RECIPE/RUN in the folder of the runs")


def _agreement(options: argparse.Namespace) -> int:
    from helpers.params.paths import check_output_file
    from helpers.qa.agreement import open_agreement
    from helpers.qa.agreement_files import agreement_lines, write_agreement
    from helpers.qa.review import review_folder

    run, outputs = _find_run(options.run)
    readers = [name.strip() for name in options.readers.split(",")] if options.readers else None
    folder = review_folder(outputs, run)
    if options.to:
        folder = check_output_file(str(Path(options.to) / "agreement.csv"), "--to").parent
    agreement = open_agreement(run, outputs, readers)
    paths = write_agreement(agreement, folder, run.recipe.title, anonymise=run.params.anonymise)
    sys.stdout.write("\n".join([*agreement_lines(agreement), *map(str, paths)]) + "\n")
    return 0


def _add_adjudicate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=_RUN_HELP)
    parser.add_argument("case", metavar="CASE", help="id of a case that two readers or more have judged")
    parser.add_argument("decision", metavar="DECISION", choices=("accept", "reject", "unsure"), help="%(choices)s")
    parser.add_argument("--reader", required=True, metavar="NAME", help="who decides; signs the adjudication")
    parser.add_argument("--note", default="", metavar="TEXT", help="why")


def _adjudicate(options: argparse.Namespace) -> int:
    from helpers.qa.adjudication import adjudicate
    from helpers.qa.agreement import mask_subject
    from helpers.qa.journal import read_verdicts

    run, outputs = _find_run(options.run)
    subject = mask_subject(run, options.case)
    latest = read_verdicts(outputs).latest().get(subject, {})
    entry = adjudicate(outputs, options.reader, subject, latest, options.decision, options.note.strip())
    sys.stdout.write(f"saved at {entry.when[11:19]} UTC: {entry.case}: {entry.decision} by {entry.who}\n")
    return 0


def _find_run(text: str) -> tuple[FinishedRun, Path]:
    """A finished run and the folder of the runs, which holds the journals."""
    from helpers.params.paths import find_input
    from helpers.qa.finished import find_run

    folder = find_input(text, parameter="RUN")
    outputs = folder.parent.parent
    return find_run(outputs, folder.parent.name, folder.name), outputs


READER_COMMANDS = {
    "agreement": Command("Compare several readers' verdicts on a run's masks.", _agreement, _add_agreement_arguments),
    "adjudicate": Command("Decide between verdicts that disagree.", _adjudicate, _add_adjudicate_arguments),
}
