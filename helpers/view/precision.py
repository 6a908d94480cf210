"""The precision study as a picture and as an HTML page: accuracy, speed, the published speeds recomputed."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypedDict

from helpers.run.result import name_simulated
from helpers.view.figures.canvas import new_figure
from helpers.view.palette import ACCENT, FAILED, GRID, INK, MUTED, PASSED
from helpers.view.tables import html_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TIMES = ("p50 ms", "p90 ms", "p99 ms", "samples/s", "peak RAM MB", "to device ms", "execute ms", "from device ms")
_SPEED_HEADER = ("cell", "batch", "times are", *_TIMES)
_PUBLISHED_HEADER = ("batch", "latency ms", "published fps", "batch / latency", "× 4 chips", "note")
# The palette's hues from dark to light, without its yellow, which is hard to see as a line.
_LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


class CellRow(Protocol):
    """The accuracy of one cell of the study: a target and a precision."""

    @property
    def cell(self) -> object: ...
    @property
    def status(self) -> str: ...
    @property
    def change(self) -> float | None: ...
    @property
    def interval(self) -> tuple[float, float] | None: ...
    @property
    def passed(self) -> bool | None: ...
    @property
    def metrics(self) -> Mapping[str, Mapping[str, float]]: ...
    def cells(self) -> Mapping[str, object]: ...


class PublishedRow(Protocol):
    """A speed that the source publishes for one batch size, next to what its latency gives."""

    @property
    def batch(self) -> int: ...
    @property
    def latency_ms(self) -> float | None: ...
    @property
    def published_fps(self) -> float: ...
    @property
    def derived_fps(self) -> float | None: ...
    @property
    def note(self) -> str: ...
    @property
    def is_incorrect(self) -> bool: ...


class Speed(TypedDict):
    """The speed of a cell at one batch size; `simulated` if a double of the vendor's runtime was timed."""

    batch: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    samples_per_second: float
    peak_rss_mb: float
    h2d_ms: float | None
    execute_ms: float | None
    d2h_ms: float | None
    simulated: bool
    calls: int
    joules_per_sample: float | None


def draw_precision(
    title: str,
    rows: Sequence[CellRow],
    speeds: Mapping[str, Sequence[Speed]],
    published: Sequence[PublishedRow],
) -> Figure:
    """Draws the change of the score with its interval, the time of the smallest batch, and throughput by batch size.

    Args:
        title: of the recipe.
        rows: the accuracy of every cell.
        speeds: cell to its speeds, one per batch size.
        published: the source's speeds; incorrect ones are crossed out.
    """
    made = [row for row in rows if row.status == "made"]
    batches = {speed["batch"] for found in speeds.values() for speed in found}
    panels = 3 if len(batches) > 1 or published else 2
    figure = new_figure(4.2 * panels, 0.34 * len(made) + 1.8)
    axes = figure.subplots(1, panels)
    _draw_changes(axes[0], made)
    _draw_times(axes[1], made, speeds)
    if panels == 3:
        _draw_throughput(axes[2], speeds, published)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    figure.tight_layout()
    return figure


def precision_html(
    title: str,
    rows: Sequence[CellRow],
    speeds: Mapping[str, Sequence[Speed]],
    published: Sequence[PublishedRow],
) -> str:
    """Renders the study as one page that needs no server.

    Args:
        title: of the recipe.
        rows: the accuracy of every cell.
        speeds: cell to its speeds, one per batch size.
        published: the source's speeds.
    """
    shown = [row.cells() for row in rows]
    columns = max((list(row) for row in shown), key=len, default=[])
    parts = [f"<h1>{html.escape(title)}: precisions compared</h1>"]
    parts.append(html_table(columns, [[row.get(name, "") for name in columns] for row in shown]))
    parts.append("<h2>Speed on this machine</h2>" + html_table(_SPEED_HEADER, _speed_rows(speeds)))
    parts += _nnunet_metrics(rows)
    if published:
        parts.append("<h2>Published speeds, recomputed</h2>")
        parts.append(html_table(_PUBLISHED_HEADER, [_published_row(row) for row in published]))
    body = "\n".join(parts)
    return f"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>{body}</html>\n"


def _draw_changes(axis: Axes, rows: Sequence[CellRow]) -> None:
    for index, row in enumerate(rows):
        colour = {True: PASSED, False: FAILED, None: MUTED}[row.passed]
        if row.change is not None and row.interval is not None:
            axis.plot(row.interval, (index, index), color=colour, linewidth=2)
            axis.plot(row.change, index, "o", color=colour)
    axis.axvline(0, color=GRID, linewidth=1, zorder=0)
    axis.set_xlabel("change of the score, 95 % interval", fontsize=9)
    axis.locator_params(axis="x", nbins=5)  # tick labels of tiny changes are long
    axis.xaxis.get_offset_text().set_fontsize(8)
    _name_rows(axis, [str(row.cell) for row in rows])


def _draw_times(axis: Axes, rows: Sequence[CellRow], speeds: Mapping[str, Sequence[Speed]]) -> None:
    for index, row in enumerate(rows):
        if found := speeds.get(str(row.cell)):
            median_ms, simulated = found[0]["p50_ms"], found[0]["simulated"]
            axis.barh(index, median_ms, color=ACCENT, height=0.6)
            axis.text(median_ms, index, name_simulated(f" {median_ms:.1f}", simulated), va="center", fontsize=8)
    axis.set_xlabel("median ms of the smallest batch", fontsize=9)
    axis.margins(x=0.15)
    _name_rows(axis, [""] * len(rows))


def _draw_throughput(axis: Axes, speeds: Mapping[str, Sequence[Speed]], published: Sequence[PublishedRow]) -> None:
    for index, (cell, found) in enumerate(speeds.items()):
        axis.plot(
            [speed["batch"] for speed in found],
            [speed["samples_per_second"] for speed in found],
            "o-",
            color=_LINE_COLOURS[index % len(_LINE_COLOURS)],
            label=name_simulated(cell, found[0]["simulated"]),
            markersize=3,
            linewidth=1,
        )
    correct = [(row.batch, row.derived_fps) for row in published if row.derived_fps is not None]
    if correct:
        axis.plot(*zip(*correct, strict=True), "s--", color=INK, label="source, batch / latency", markersize=3)
        incorrect = [(row.batch, row.published_fps) for row in published if row.is_incorrect]
        if incorrect:
            axis.plot(*zip(*incorrect, strict=True), "x", color=FAILED, label="source, as published")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("batch", fontsize=9)
    axis.set_ylabel("samples/s", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axis.spines[["top", "right"]].set_visible(False)


def _name_rows(axis: Axes, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _speed_rows(speeds: Mapping[str, Sequence[Speed]]) -> list[tuple[object, ...]]:
    return [
        (
            cell,
            speed["batch"],
            "simulated" if speed["simulated"] else "measured",
            *(f"{ms:.1f}" for ms in (speed["p50_ms"], speed["p90_ms"], speed["p99_ms"])),
            f"{speed['samples_per_second']:.2f}",
            f"{speed['peak_rss_mb']:.0f}",
            *("–" if ms is None else f"{ms:.2f}" for ms in (speed["h2d_ms"], speed["execute_ms"], speed["d2h_ms"])),
        )
        for cell, found in speeds.items()
        for speed in found
    ]


def _nnunet_metrics(rows: Sequence[CellRow]) -> list[str]:
    """One table per label of nnU-Net's thirteen metrics, for recipes that compute them."""
    known = [row for row in rows if row.metrics]
    parts = []
    for label in known[0].metrics if known else ():
        names = list(known[0].metrics[label])
        lines = [(str(row.cell), *(f"{row.metrics[label][name]:.5g}" for name in names)) for row in known]
        parts.append(f"<h2>nnU-Net metrics: {html.escape(label)}</h2>")
        parts.append(html_table(("cell", *names), lines))
    return parts


def _published_row(row: PublishedRow) -> tuple[object, ...]:
    one, four = (
        ("void", "void") if row.derived_fps is None else (f"{row.derived_fps:.3f}", f"{4 * row.derived_fps:.2f}")
    )
    return row.batch, row.latency_ms, row.published_fps, one, four, row.note
