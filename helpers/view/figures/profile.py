"""Draws where a model's time goes: along the network, by op, by resolution, and against the machine's roofline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from helpers.view.figures.canvas import new_figure
from helpers.view.palette import GRID, INK, MUTED, OP_COLOURS, OTHER_OP, SECONDARY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED = 5


class TimedNode(Protocol):
    """A node with its time."""

    @property
    def node(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def ms(self) -> float: ...
    @property
    def least_ms(self) -> float | None: ...


def draw_profile(
    title: str,
    nodes: Sequence[TimedNode],
    by_op: Mapping[str, float],
    by_level: Mapping[str, float],
    points: Sequence[tuple[float, float, TimedNode]] = (),
    peaks: tuple[float, float] | None = None,
) -> Figure:
    """Draws the nodes of a model along the network and their sums.

    Args:
        title: above the picture.
        nodes: in the order in which they run.
        by_op, by_level: milliseconds, the largest first.
        points: (multiply-accumulates per byte, multiply-accumulates per second, node) of every layer.
        peaks: (multiply-accumulates, bytes) per second of the machine; None leaves the roofline out.
    """
    figure = new_figure(11, 6.4)
    grid = figure.add_gridspec(2, 3, height_ratios=(1.25, 1), hspace=0.42, wspace=0.34)
    _draw_along(figure.add_subplot(grid[0, :]), nodes)
    colours = [OP_COLOURS.get(op, OTHER_OP) for op in by_op]
    _draw_shares(figure.add_subplot(grid[1, 0]), by_op, colours, "by op")
    named = {level or "changes of layout": ms for level, ms in by_level.items()}
    _draw_shares(figure.add_subplot(grid[1, 1]), named, [MUTED] * len(named), "by resolution")
    axis = figure.add_subplot(grid[1, 2])
    if peaks and points:
        _draw_roofline(axis, points, peaks)
    else:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def _draw_along(axis: Axes, nodes: Sequence[TimedNode]) -> None:
    places = range(len(nodes))
    axis.bar(places, [node.ms for node in nodes], color=[OP_COLOURS.get(node.op, OTHER_OP) for node in nodes])
    least = [node.least_ms for node in nodes if node.least_ms is not None]
    if len(least) == len(nodes):
        axis.plot(places, least, "_", color=INK, markersize=5, label="least time at the machine's peak")
        axis.legend(fontsize=8, frameon=False, loc="upper left")
    slowest = sorted(places, key=lambda place: -nodes[place].ms)[:_NAMED]
    for rank, place in enumerate(sorted(slowest, key=lambda place: -nodes[place].ms), start=1):
        axis.text(place, nodes[place].ms, str(rank), ha="center", va="bottom", fontsize=8, fontweight="bold")
    axis.set_xlim(-1, len(nodes))
    axis.margins(y=0.16)
    axis.set_xlabel("nodes in the order in which they run; the numbers rank the most expensive", fontsize=9)
    axis.set_ylabel("ms", fontsize=9)
    _tidy(axis)


def _draw_shares(axis: Axes, shares: Mapping[str, float], colours: Sequence[str], title: str) -> None:
    total = sum(shares.values())
    kept = list(shares.items())[:8]
    axis.barh([name for name, _ in kept], [ms for _, ms in kept], color=list(colours)[: len(kept)])
    for place, (_, ms) in enumerate(kept):
        axis.text(ms, place, f" {ms / total:.0%}", va="center", fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.18)
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_xlabel("ms", fontsize=8)
    _tidy(axis)


def _draw_roofline(axis: Axes, points: Sequence[tuple[float, float, TimedNode]], peaks: tuple[float, float]) -> None:
    compute, bandwidth = peaks
    for per_byte, rate, node in points:
        axis.plot(per_byte, rate / 1e9, "o", color=OP_COLOURS.get(node.op, OTHER_OP), markersize=4, alpha=0.8)
    ridge = compute / bandwidth
    left = min(min(per_byte for per_byte, _, _ in points), ridge) / 2
    right = max(max(per_byte for per_byte, _, _ in points), ridge) * 2
    axis.plot([left, ridge, right], [left * bandwidth / 1e9, compute / 1e9, compute / 1e9], color=SECONDARY)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title("layers under the roofline", fontsize=9, loc="left")
    axis.set_xlabel("multiply-accumulates per byte", fontsize=8)
    axis.set_ylabel("G per second", fontsize=8)
    _tidy(axis)


def _tidy(axis: Axes) -> None:
    axis.tick_params(labelsize=8)
    axis.grid(axis="both", color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
