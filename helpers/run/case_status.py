"""How far the cases of a run are, from its record alone, so that any machine that sees the folder can tell."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.errors import explain_damage
from helpers.run.record import read_record, read_run_status

_CASES = "infer/"
_STATES = ("done", "failed", "running", "waiting")


@dataclass(frozen=True)
class CaseStatus:
    """The cases of one run.

    Attributes:
        folder: of the run.
        status, reason: of the run.
        total: cases in all; None before the data were listed.
        done: cases with a mask.
        failed: case id to the reason.
        running: ids of the cases that are being worked on; the record is up to five seconds old.
        per_hour: cases per hour of those that were made, not reused; None before the first.
        started: when the run started, in seconds since 1970.
        as_of: when the record was written, in seconds since 1970.
    """

    folder: Path
    status: str
    reason: str
    total: int | None
    done: int
    failed: Mapping[str, str] = field(default_factory=dict)
    running: Sequence[str] = ()
    per_hour: float | None = None
    started: float = 0.0
    as_of: float = 0.0

    @property
    def waiting(self) -> int | None:
        """Cases that were not started; None if unknown."""
        return None if self.total is None else max(0, self.total - self.done - len(self.failed) - len(self.running))

    @property
    def seconds_left(self) -> float | None:
        """The time until the last mask at the rate so far; None if unknown, 0 after the end."""
        if self.status != "running":
            return 0.0
        if self.total is None or not self.per_hour:
            return None
        return max(0, self.total - self.done - len(self.failed)) / self.per_hour * 3600

    def counts(self) -> dict[str, int | None]:
        """The number of cases in each state."""
        numbers = (self.done, len(self.failed), len(self.running), self.waiting)
        return dict(zip(_STATES, numbers, strict=True))


def read_case_status(folder: Path) -> CaseStatus:
    """Reads how far a run is; nothing is written, and the process of the run is not needed.

    Raises:
        DataError: there is no run in the folder, or its record is damaged.
    """
    record = read_record(folder)
    status, reason = read_run_status(folder / "run.json")
    with explain_damage(folder / "run.json", "Run the notebook again."):
        stages = record["stages"]
        cases = {name: stage for name, stage in stages.items() if name.startswith(_CASES)}
        failed = {_id(name): str(stage["reason"]) for name, stage in cases.items() if stage["status"] == "failed"}
        listed = stages.get("data", {}).get("values", {}).get("cases")
        running = record.get("running", {}) if status == "running" else {}
        return CaseStatus(
            folder,
            status,
            reason,
            total=None if listed is None else len(listed),
            done=len(cases) - len(failed),
            failed=failed,
            running=[_id(name) for name in sorted(running) if name.startswith(_CASES)],
            per_hour=_rate(cases, float(record.get("heartbeat", 0.0)) if status == "running" else 0.0),
            started=float(record.get("started", 0.0)),
            as_of=float(record.get("heartbeat", 0.0)),
        )


def prometheus_text(runs: Sequence[CaseStatus]) -> str:
    """The figures of several runs in the text format of Prometheus (prometheus.io/docs/instrumenting).

    >>> print(prometheus_text([CaseStatus(Path("a"), "passed", "", 3, 3)]).splitlines()[2])
    cookbook_cases{run="a",state="done"} 3
    """
    families: dict[str, tuple[str, list[str]]] = {
        "cookbook_cases": ("Cases of a run by state.", []),
        "cookbook_cases_per_hour": ("Masks made per hour, without those that were reused.", []),
        "cookbook_seconds_left": ("Estimated seconds until the last mask.", []),
        "cookbook_run_running": ("1 while the run is running, else 0.", []),
        "cookbook_run_failed": ("1 if the run has failed, else 0.", []),
        "cookbook_record_timestamp_seconds": ("When the record of the run was written.", []),
    }

    def add(family: str, value: float | None, labels: str) -> None:
        if value is not None:
            families[family][1].append(f"{family}{{{labels}}} {value:.15g}")

    for run in runs:
        label = f'run="{_escape(str(run.folder))}"'
        for state, count in run.counts().items():
            add("cookbook_cases", count, f'{label},state="{state}"')
        add("cookbook_cases_per_hour", run.per_hour, label)
        add("cookbook_seconds_left", run.seconds_left, label)
        add("cookbook_run_running", int(run.status == "running"), label)
        add("cookbook_run_failed", int(run.status == "failed"), label)
        add("cookbook_record_timestamp_seconds", run.as_of, label)
    lines = [
        line
        for name, (meaning, samples) in families.items()
        if samples
        for line in (f"# HELP {name} {meaning}", f"# TYPE {name} gauge", *samples)
    ]
    return "\n".join(lines) + "\n"


def show_duration(seconds: float) -> str:
    """A duration in the two largest of days, hours, minutes and seconds.

    >>> show_duration(7320), show_duration(42.4), show_duration(90061)
    ('2 h 2 min', '42 s', '1 d 1 h')
    """
    whole = round(seconds)
    units = (("d", whole // 86400), ("h", whole // 3600 % 24), ("min", whole // 60 % 60), ("s", whole % 60))
    first = next((index for index, (_, count) in enumerate(units) if count), len(units) - 1)
    return " ".join(f"{count} {unit}" for unit, count in units[first : first + 2] if count or unit == units[first][0])


def show_time(seconds: float) -> str:
    """A local time of day with its date; empty if unknown."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if 0 < seconds < 1e11 else ""


def _rate(cases: Mapping[str, Any], until: float) -> float | None:
    """Cases per hour, from the start of the first that was made to the end of the last, or to `until` if later."""
    made = [stage for stage in cases.values() if stage["status"] == "made"]
    if not made:
        return None
    start = min(float(stage["ended"]) - float(stage["seconds"]) for stage in made)
    end = max(until, *(float(stage["ended"]) for stage in made))
    return len(made) / (end - start) * 3600 if end > start else None


def _id(stage: str) -> str:
    return stage.removeprefix(_CASES)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
