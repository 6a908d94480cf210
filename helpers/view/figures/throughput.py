"""Throughput and latency against the batch size, one line a precision or device."""

from __future__ import annotations

from collections.abc import Mapping

from helpers.view.figures.save import new_figure
from helpers.view.palette import label_colour

_MARKERS = "osD^vPX"


def draw_throughput(series: Mapping[str, Mapping[int, float]], *, unit: str = "samples", simulated: bool = False):
    """Two panels: samples a second and milliseconds a call, by batch size on a binary scale.

    Args:
        series: name (a precision, a device) to batch size to seconds of one call.
        unit: what a sample is, in the plural.
        simulated: whether the seconds are a double's; the picture then says so.
    """
    figure = new_figure(7.6, 3.2)
    rate, latency = figure.subplots(1, 2, gridspec_kw={"wspace": 0.28})
    for index, (name, seconds) in enumerate(series.items()):
        batches = sorted(seconds)
        style = {"color": label_colour(index + 1), "marker": _MARKERS[index % len(_MARKERS)], "markersize": 5}
        style |= {"markeredgecolor": "#222222", "markeredgewidth": 0.4}
        rate.plot(batches, [batch / seconds[batch] for batch in batches], label=name, **style)
        latency.plot(batches, [1000 * seconds[batch] for batch in batches], label=name, **style)
    every = sorted({batch for seconds in series.values() for batch in seconds})
    note = " (simulated)" if simulated else ""
    for axis, title in ((rate, f"{unit} a second{note}"), (latency, f"milliseconds a call{note}")):
        axis.set_xscale("log", base=2)
        axis.set_xticks(every, [str(batch) for batch in every])
        axis.minorticks_off()
        axis.set_xlabel("batch size", fontsize=9)
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)
        axis.grid(color="#E4E4E4", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    latency.legend(fontsize=8, frameon=False)
    return figure
