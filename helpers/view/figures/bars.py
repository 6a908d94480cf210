"""Seconds, bytes and counts as bars, each with its figure beside it."""

from __future__ import annotations

from collections.abc import Mapping

from helpers.view.figures.save import IDENTIFIES, new_figure
from helpers.view.palette import ACCENT, OTHER_OP, label_colour

_BEFORE, _AFTER = OTHER_OP, ACCENT


def draw_stage_times(seconds: Mapping[str, float]):
    """Horizontal bars, one a step, in the order given."""
    figure, axis = _bar_axis(len(seconds))
    _bars(axis, list(seconds), list(seconds.values()), lambda value: f" {value:.1f} s")
    axis.set_xlabel("seconds in this run (a reused step costs its check only)", fontsize=9)
    return figure


def draw_sizes(sizes: Mapping[str, int]):
    """Megabytes of each form of a model, in the order given."""
    figure, axis = _bar_axis(len(sizes))
    _bars(axis, list(sizes), [size / 1e6 for size in sizes.values()], lambda value: f" {value:.2f} MB")
    axis.set_xlabel("megabytes on disk", fontsize=9)
    return figure


def draw_op_changes(before: Mapping[str, int], after: Mapping[str, int], names: tuple[str, str]):
    """Two bars an op: how many nodes there were and how many there are.

    Args:
        before, after: op to number of nodes.
        names: of both graphs.
    """
    ops = sorted({*before, *after}, key=lambda op: -max(before.get(op, 0), after.get(op, 0)))
    figure, axis = _bar_axis(1.4 * len(ops))
    for counts, offset, colour, name in ((before, -0.2, _BEFORE, names[0]), (after, 0.2, _AFTER, names[1])):
        values = [counts.get(op, 0) for op in ops]
        places = [index + offset for index in range(len(ops))]
        axis.barh(places, values, height=0.38, color=colour, label=f"{name}: {sum(values)} nodes")
        for place, value in zip(places, values, strict=True):
            axis.text(value, place, f" {value}", va="center", fontsize=7)
    axis.set_yticks(range(len(ops)), ops)
    axis.set_xlabel("nodes", fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def draw_case_times(seconds: Mapping[str, Mapping[str, float]]):
    """One bar a case, stacked by step.

    Args:
        seconds: case to step to seconds; the steps of all cases are the same.
    """
    figure, axis = _bar_axis(len(seconds) + 1)
    cases = list(seconds)
    steps = list(dict.fromkeys(step for parts in seconds.values() for step in parts))
    left = [0.0] * len(cases)
    for index, step in enumerate(steps):
        widths = [seconds[case].get(step, 0.0) for case in cases]
        axis.barh(cases, widths, left=left, height=0.65, color=label_colour(index + 1), label=step)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, total in enumerate(left):
        axis.text(total, place, f" {total:.2f} s", va="center", fontsize=8)
    for label in axis.get_yticklabels():
        label.set_gid(IDENTIFIES)
    axis.set_xlabel("seconds of a case, when its mask was made", fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(steps))
    return figure


def _bar_axis(bars: float):
    figure = new_figure(7.2, 0.28 * bars + 0.8)
    axis = figure.subplots()
    axis.invert_yaxis()
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.12)
    return figure, axis


def _bars(axis, names: list[str], values: list[float], show) -> None:
    axis.barh(names, values, color=ACCENT, height=0.65)
    for index, value in enumerate(values):
        axis.text(value, index, show(value), va="center", fontsize=8)
