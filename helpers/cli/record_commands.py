"""The commands `record` and `table`: speed and scores of a device as files that can be compared."""

from __future__ import annotations

import argparse
import sys

from helpers.cli.command import Command


def _add_record_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a run that passed")
    parser.add_argument("--batch", type=int, default=1, help="samples per call (default: 1)")
    parser.add_argument("--seconds", type=float, default=10.0, help="time to measure (default: 10)")
    parser.add_argument("--to", metavar="FOLDER", help="default: results/, which takes no simulated times")


def _record(options: argparse.Namespace) -> int:
    from helpers.errors import ParameterError
    from helpers.params.paths import create_output, expand_home, find_input
    from helpers.study.device_record import RESULTS, record_run, write_record

    for name, value in (("--batch", options.batch), ("--seconds", options.seconds)):
        if not value > 0:
            raise ParameterError(f"{name} is too small", received=value, expected="more than 0")
    folder = find_input(options.run, parameter="RUN")
    to = expand_home(options.to, "--to") if options.to else RESULTS
    record = record_run(folder, batch=options.batch, budget_s=options.seconds)
    path = write_record(record, create_output(to, "--to"))
    sys.stdout.write(f"{record.latency.p50_ms:.2f} ms, {record.samples_per_second:.2f} samples/s: {path}\n")
    return 0


def _add_table_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", metavar="FOLDER", help="folder of the records (default: results/)")
    parser.add_argument("--to", metavar="FOLDER", help="folder of table.md, table.html and table.png (default: none)")
    parser.add_argument(
        "--readme",
        nargs="*",
        default=[],
        metavar="FILE",
        help="files with the marks of the table, to bring up to date",
    )


def _table(options: argparse.Namespace) -> int:
    from helpers.params.paths import create_output, expand_home, find_input
    from helpers.study.device_record import RESULTS, read_records
    from helpers.study.record_table import table_markdown, update_readme, write_tables

    folder = find_input(options.results or str(RESULTS), parameter="--results", remedy="Run `cookbook record` first.")
    records = read_records(folder)
    if options.to:
        write_tables(records, create_output(expand_home(options.to, "--to"), "--to"))
    for name in options.readme:
        update_readme(find_input(name, parameter="--readme"), records)
    sys.stdout.write(table_markdown(records) + "\n")
    return 0


RECORD_COMMANDS = {
    "record": Command("Measure a run's device and add a record to results/.", _record, _add_record_arguments),
    "table": Command("Show all records as a table.", _table, _add_table_arguments),
}
