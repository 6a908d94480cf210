"""What each precision costs and brings, and throughput by batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from helpers.run.result import name_simulated
from helpers.view.figures.save import new_figure

_GOOD, _BAD, _NONE = "#1b7837", "#b2182b", "#777777"
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def draw_precision(title: str, rows: Sequence, speeds: Mapping[str, list[dict]], published: Sequence):
    """Left the change of the score with its interval, in the middle the time of a batch of one, right throughput.

    Args:
        title: of the recipe.
        rows: with `cell`, `change`, `interval`, `passed`, `status`.
        speeds: by cell, one mapping a batch size; a double's are marked as simulated.
        published: the source's speeds, judged; wrong ones are crossed out beside the right ones.
    """
    made = [row for row in rows if row.status == "made"]
    batches = sorted({speed["batch"] for found in speeds.values() for speed in found})
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


def _draw_changes(axis, rows: Sequence) -> None:
    for index, row in enumerate(rows):
        colour = {True: _GOOD, False: _BAD, None: _NONE}[row.passed]
        if row.change is not None:
            axis.plot(row.interval, (index, index), color=colour, linewidth=2)
            axis.plot(row.change, index, "o", color=colour)
    axis.axvline(0, color="#cccccc", linewidth=1, zorder=0)
    axis.set_xlabel("change of the score, 95 % interval", fontsize=9)
    axis.locator_params(axis="x", nbins=5)  # labels of tiny changes are long
    axis.xaxis.get_offset_text().set_size(8)
    _name_rows(axis, [str(row.cell) for row in rows])


def _draw_times(axis, rows: Sequence, speeds: Mapping[str, list[dict]]) -> None:
    for index, row in enumerate(rows):
        found = speeds.get(str(row.cell))
        if found:
            median_ms = found[0]["p50_ms"]
            axis.barh(index, median_ms, color="#0072B2", height=0.6)
            axis.text(
                median_ms, index, name_simulated(f" {median_ms:.1f}", found[0]["simulated"]), va="center", fontsize=8
            )
    axis.set_xlabel("median ms, smallest batch", fontsize=9)
    axis.margins(x=0.15)
    _name_rows(axis, [""] * len(rows))


def _draw_throughput(axis, speeds: Mapping[str, list[dict]], published: Sequence) -> None:
    for colour, (cell, found) in zip(_LINES * 9, speeds.items(), strict=False):
        points = ([speed["batch"] for speed in found], [speed["samples_per_second"] for speed in found])
        name = name_simulated(cell, found[0]["simulated"])
        axis.plot(*points, "o-", color=colour, label=name, markersize=3, linewidth=1)
    right = [(row.batch, row.right_fps) for row in published if row.right_fps is not None]
    if right:
        axis.plot(*zip(*right, strict=True), "s--", color="#444444", label="source, batch / latency", markersize=3)
        wrong = [(row.batch, row.published_fps) for row in published if row.is_wrong]
        if wrong:
            axis.plot(*zip(*wrong, strict=True), "x", color=_BAD, label="source, as printed")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel("batch", fontsize=9)
    axis.set_ylabel("samples/s", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=6)
    axis.spines[["top", "right"]].set_visible(False)


def _name_rows(axis, names: list[str]) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
