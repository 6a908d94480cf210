"""What a stage returns: what was made, the checks with their figures, seconds, bytes, the next step."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

Status = Literal["made", "reused", "not run here", "failed"]
_STATUS_COLOUR = {"made": "#1b7837", "reused": "#2166ac", "not run here": "#8c6d1f", "failed": "#b2182b"}


def mark_simulated(simulated: bool) -> str:
    """What stands behind a time: nothing, or that a double of a vendor's runtime was timed."""
    return " simulated" if simulated else ""


def name_simulated(name: str, simulated: bool) -> str:
    """The name of a row or a bar of times, with the word where a double was timed."""
    return f"{name} (simulated)" if simulated else name


@dataclass(frozen=True)
class Check:
    """One thing that had to hold, with the figure that decided."""

    name: str
    passed: bool
    figure: str

    def __str__(self) -> str:
        return f"{'✓' if self.passed else '✗'} {self.name}: {self.figure}"


@dataclass(frozen=True)
class StageOutput:
    """What the inside of a stage reports; the run adds status, seconds and bytes.

    `facts` are the rows of the stage's table. `values` are JSON figures for later stages and `metrics.json`:
    the same inputs must give the same values, so
    times and memory go to `timings`. `status` is "not run here" when the tool
    for the stage is not on this machine. `simulated`: a double of a vendor's runtime was timed.
    """

    checks: tuple[Check, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    next_step: str = ""
    status: Literal["made", "not run here"] = "made"
    timings: Mapping[str, float] = field(default_factory=dict)
    simulated: bool = False


@dataclass(frozen=True)
class StageResult:
    """A finished stage, as shown in a notebook, written to the log and kept in `run.json`."""

    stage: str
    title: str
    status: Status
    files: tuple[str, ...]
    checks: tuple[Check, ...]
    facts: Mapping[str, object]
    values: Mapping[str, object]
    seconds: float
    bytes: int
    next_step: str
    timings: Mapping[str, float]
    folder: str
    simulated: bool = False

    def to_json(self) -> dict:
        """The result as JSON, without the folder (it moves with the run)."""
        content = asdict(self)
        del content["folder"]
        return content

    @property
    def shown_seconds(self) -> str:
        """Seconds for a table, marked where they are a double's."""
        return f"{self.seconds:.1f}{mark_simulated(self.simulated)}"

    def __str__(self) -> str:
        seconds = f"{self.seconds:.1f} s{mark_simulated(self.simulated)}"
        head = f"{self.title}: {self.status}, {seconds}, {_show_bytes(self.bytes)}"
        rows = [f"  {name}: {value}" for name, value in self.facts.items()]
        return "\n".join([head, *rows, *(f"  {check}" for check in self.checks)])

    def _repr_html_(self) -> str:
        colour = _STATUS_COLOUR[self.status]
        head = (
            f"<b>{_text(self.title)}</b> <span style='color:{colour};font-weight:bold'>{self.status}</span>"
            f" &nbsp; {self.seconds:.1f} s{mark_simulated(self.simulated)} &nbsp; {_show_bytes(self.bytes)}"
        )
        rows = [_row(name, _text(value)) for name, value in self.facts.items()]
        for check in self.checks:
            mark = "<span style='color:#1b7837'>✓</span>" if check.passed else "<span style='color:#b2182b'>✗</span>"
            rows.append(_row(f"{mark} {_text(check.name)}", _text(check.figure), escaped=True))
        if self.files:
            rows.append(_row("files", "<br>".join(f"<code>{_text(name)}</code>" for name in self.files)))
        if self.next_step:
            rows.append(_row("next", _text(self.next_step)))
        return f"{head}<table style='margin:4px 0 0 0;text-align:left'>{''.join(rows)}</table>"


def _row(name: str, value: str, escaped: bool = False) -> str:
    cell = "text-align:left;vertical-align:top;padding:1px 14px 1px 0"
    return f"<tr><td style='{cell}'>{name if escaped else _text(name)}</td><td style='{cell}'>{value}</td></tr>"


def _text(value: object) -> str:
    return html.escape(str(value))


def _show_bytes(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
