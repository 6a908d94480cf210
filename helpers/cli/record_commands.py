"""The commands `record`, `table` and `capacity`: speed and scores of a device as files, and plans made from them."""

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


def _add_capacity_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--record", metavar="FILE", help="a record, whose latency and batch are used")
    source.add_argument("--latency-ms", type=float, help="of one call")
    parser.add_argument("--batch", type=int, default=1, help="samples per call, with --latency-ms (default: 1)")
    parser.add_argument("--samples", type=int, required=True, help="windows of a case times its mirrored passes")
    parser.add_argument("--cases", type=int, required=True, help="cases of the list")
    parser.add_argument("--hours", type=float, default=24.0, help="in which they must be finished (default: 24)")
    parser.add_argument("--other-seconds", type=float, default=0.0, help="of a case without the device (default: 0)")


def _capacity(options: argparse.Namespace) -> int:
    from helpers.errors import ParameterError
    from helpers.params.paths import find_input
    from helpers.study.capacity import plan_capacity
    from helpers.study.device_record import read_record_file

    latency_ms, batch = options.latency_ms, options.batch
    if options.record:
        record = read_record_file(find_input(options.record, parameter="--record"))
        latency_ms, batch = record.latency.p50_ms, record.batch
    given = {"--latency-ms": latency_ms, "--batch": batch, "--samples": options.samples}
    for name, value in {**given, "--cases": options.cases, "--hours": options.hours}.items():
        if not 0 < value < float("inf"):
            raise ParameterError(f"{name} is out of range", received=value, expected="more than 0")
    if not 0 <= options.other_seconds < float("inf"):
        raise ParameterError("--other-seconds is out of range", received=options.other_seconds, expected="0 or more")
    work = {"samples": options.samples, "cases": options.cases, "hours": options.hours}
    try:
        found = plan_capacity(latency_ms=latency_ms, batch=batch, other_s=options.other_seconds, **work)
    except ValueError as error:
        raise ParameterError(
            "no number of devices finishes a case in time",
            received=str(error),
            expected=f"at most {options.hours:g} h",
        ) from None
    sys.stdout.write(
        f"one case: {found.case_s:.1f} s; one device: {found.cases_per_day:.1f} cases a day\n"
        f"{options.cases} cases in {options.hours:g} h: {found.devices} devices, done after {found.list_h:.1f} h\n"
    )
    return 0


RECORD_COMMANDS = {
    "record": Command("Measure a run's device and add a record to results/.", _record, _add_record_arguments),
    "table": Command("Show all records as a table.", _table, _add_table_arguments),
    "capacity": Command("Plan devices for a list of cases.", _capacity, _add_capacity_arguments),
}
