"""The result of a stage: checks with their figures, a table of facts, files, seconds, bytes, and pictures."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

Status = Literal["made", "reused", "not run here", "failed"]

_LOG = logging.getLogger("cookbook")
_STATUS_COLOUR = {"made": "#1b7837", "reused": "#2166ac", "not run here": "#8c6d1f", "failed": "#b2182b"}
_CELL = "text-align:left;vertical-align:top;padding:1px 14px 1px 0"
_SHORT_NAME = 40  # characters of a name that is kept on one line
_NOT_RECORDED = {"folder", "own_pictures", "illustrate"}  # the folder moves with the run; the rest is for display


def mark_simulated(simulated: bool) -> str:
    """The suffix of a time: empty, or a mark that a double of a vendor's runtime was timed."""
    return " simulated" if simulated else ""


def name_simulated(name: str, simulated: bool) -> str:
    """The name of a row or bar of times, marked if a double of a vendor's runtime was timed."""
    return f"{name} (simulated)" if simulated else name


@dataclass(frozen=True)
class Check:
    """One condition that had to hold, with the figure that decided it."""

    name: str
    passed: bool
    figure: str

    def __str__(self) -> str:
        return f"{'✓' if self.passed else '✗'} {self.name}: {self.figure}"


@dataclass(frozen=True)
class StageOutput:
    """The return value of a stage's `make`; the run adds status, seconds and bytes.

    Args:
        checks: conditions that must hold; one that failed fails the run.
        facts: the rows of the stage's table.
        values: JSON figures for later stages and `metrics.json`. Equal inputs give equal values, so times and
            memory belong in `timings`.
        next_step: the line that ends the table.
        status: "not run here" if the tool for the stage is not on this machine.
        timings: seconds and megabytes, as measured.
        simulated: whether a double of a vendor's runtime was timed.
        pictures: the pictures among the stage's files in the order to show them, with their captions (may be empty).
        reusable: False if a circumstance decided the result (a time limit, a signal, too little memory) rather than
            the stage's inputs: this run goes on with it, and the next one makes the stage again.
    """

    checks: tuple[Check, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    next_step: str = ""
    status: Literal["made", "not run here"] = "made"
    timings: Mapping[str, float] = field(default_factory=dict)
    simulated: bool = False
    pictures: Mapping[str, str] = field(default_factory=dict)
    reusable: bool = True


@dataclass(frozen=True)
class StageResult:
    """A finished stage: shown in a notebook with its pictures, written to the log, and recorded in `run.json`.

    Args:
        own_pictures: the pictures among `files`, with their captions.
        illustrate: draws further pictures, as a stage of their own. Called when the result is first displayed, so
            they cost nothing otherwise.
    """

    stage: str
    title: str
    status: Status
    files: tuple[str, ...]
    checks: tuple[Check, ...]
    facts: Mapping[str, object]
    values: Mapping[str, Any]
    seconds: float
    bytes: int
    next_step: str
    timings: Mapping[str, float]
    folder: str
    simulated: bool = False
    own_pictures: Mapping[str, str] = field(default_factory=dict)
    illustrate: Callable[[], StageResult] | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, object]:
        """The result as it is recorded in `run.json`."""
        content = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _NOT_RECORDED}
        return {**content, "checks": [asdict(check) for check in self.checks]}

    @cached_property
    def pictures(self) -> dict[str, str]:
        """Picture files, relative to the run's folder, with their captions; drawn when first asked for."""
        return {**self.own_pictures, **_draw(self.illustrate)}

    @property
    def shown_seconds(self) -> str:
        """Seconds for a table, marked if they are a double's."""
        return f"{self.seconds:.1f}{mark_simulated(self.simulated)}"

    def __str__(self) -> str:
        seconds = f"{self.seconds:.1f} s{mark_simulated(self.simulated)}"
        head = f"{self.title}: {self.status}, {seconds}, {_show_bytes(self.bytes)}"
        rows = [f"  {name}: {value}" for name, value in self.facts.items()]
        return "\n".join([head, *rows, *(f"  {check}" for check in self.checks)])

    def _repr_html_(self) -> str:
        head = (
            f"<b>{_text(self.title)}</b> {_show_status(self.status)}"
            f" &nbsp; {self.seconds:.1f} s{mark_simulated(self.simulated)} &nbsp; {_show_bytes(self.bytes)}"
        )
        rows = [_row(_name(name), _text(value)) for name, value in self.facts.items()]
        rows += [_row(_name(check.name, f"{_mark(check.passed)} "), _text(check.figure)) for check in self.checks]
        if self.files:
            rows.append(_row("files", "<br>".join(f"<code>{_text(name)}</code>" for name in self.files)))
        if self.next_step:
            rows.append(_row("next", _text(self.next_step)))
        return f"{head}{_table(rows)}"

    def _ipython_display_(self) -> None:
        _display(self, lambda: self.pictures, self.folder)


class StageResults(Sequence[StageResult]):
    """The results of the items of one stage, such as a mask per case: a sequence, shown as one table.

    Args:
        title: the heading of the table.
        results: one result per item; an item's name is what follows the slash in its stage.
        illustrate: draws the picture of all items, as in `StageResult`.
    """

    def __init__(
        self, title: str, results: Iterable[StageResult], illustrate: Callable[[], StageResult] | None = None
    ):
        self.title = title
        self._results = tuple(results)
        self._illustrate = illustrate

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> StageResult: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[StageResult]: ...

    def __getitem__(self, index: int | slice) -> StageResult | Sequence[StageResult]:
        return self._results[index]

    @cached_property
    def pictures(self) -> dict[str, str]:
        """As `StageResult.pictures`."""
        return _draw(self._illustrate)

    def __str__(self) -> str:
        return "\n".join(str(result) for result in self)

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for result in self for name in result.facts))
        head = _row(*(f"<b>{_text(name)}</b>" for name in ("", "status", "seconds", *names)))
        rows = [self._row_of(result, names) for result in self]
        return f"<b>{_text(self.title)}</b>{_table([head, *rows])}{self._checks()}"

    def _row_of(self, result: StageResult, names: Sequence[str]) -> str:
        facts = [_text(result.facts.get(name, "")) for name in names]
        item = result.stage.partition("/")[2] or result.title
        return _row(_text(item), _show_status(result.status), result.shown_seconds, *facts)

    def _checks(self) -> str:
        """A line per check with the number of items that passed it."""
        passed: dict[str, list[bool]] = {}
        for check in (check for result in self for check in result.checks):
            passed.setdefault(check.name, []).append(check.passed)
        return "".join(
            f"<div>{_mark(all(found))} {_text(name)}: {sum(found)} of {len(found)}</div>"
            for name, found in passed.items()
        )

    def _ipython_display_(self) -> None:
        _display(self, lambda: self.pictures, self[0].folder if self else "")


def _draw(illustrate: Callable[[], StageResult] | None) -> dict[str, str]:
    return illustrate().pictures if illustrate else {}


def _display(result: StageResult | StageResults, draw: Callable[[], Mapping[str, str]], folder: str) -> None:
    """Shows the table immediately, then the pictures; one that cannot be drawn is replaced by a line of text."""
    from IPython.display import Image, display

    display({"text/html": result._repr_html_(), "text/plain": str(result)}, raw=True)
    try:
        pictures = draw()
    except Exception as error:
        _LOG.warning("no picture of %s", result.title, exc_info=True)
        _display_line(f"The picture could not be drawn ({type(error).__name__}: {error}); see run.log.")
        return
    for name, caption in pictures.items():
        if caption:
            _display_line(caption)
        display(Image(filename=str(Path(folder) / name)))


def _display_line(text: str) -> None:
    from IPython.display import display

    shown = f"<div style='color:#666;margin-top:6px'>{_text(text)}</div>"
    display({"text/html": shown, "text/plain": text}, raw=True)


def _table(rows: Iterable[str]) -> str:
    return f"<table style='margin:4px 0 0 0;text-align:left'>{''.join(rows)}</table>"


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td style='{_CELL}'>{cell}</td>" for cell in cells) + "</tr>"


def _mark(passed: bool) -> str:
    return "<span style='color:#1b7837'>✓</span>" if passed else "<span style='color:#b2182b'>✗</span>"


def _show_status(status: Status) -> str:
    return f"<span style='color:{_STATUS_COLOUR[status]};font-weight:bold'>{status}</span>"


def _name(name: str, mark: str = "") -> str:
    wrap = "nowrap" if len(name) <= _SHORT_NAME else "normal"
    return f"<span style='white-space:{wrap}'>{mark}{_text(name)}</span>"


def _text(value: object) -> str:
    return html.escape(str(value))


def _show_bytes(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
