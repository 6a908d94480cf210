"""The precision study as one HTML page: rows of accuracy, rows of speed, the published speeds computed again."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from helpers.view.tables import html_table

_TIMES = ("p50 ms", "p90 ms", "p99 ms", "samples/s", "peak RAM MB", "to device", "execute", "back")
_SPEED = ("cell", "batch", "times are", *_TIMES)


def precision_html(title: str, rows: Sequence, speeds: Mapping[str, list[dict]], published: Sequence) -> str:
    """A page that needs no server.

    Args:
        title: of the recipe.
        rows: with `cells()`: texts by column; `metrics`: nnU-Net's thirteen by label; `cell`.
        speeds: by cell, one mapping a batch size.
        published: the source's speeds, judged.
    """
    shown = [row.cells() for row in rows]
    columns = list(max(shown, key=len)) if shown else []
    parts = [f"<h1>{html.escape(title)}: precisions side by side</h1>"]
    parts.append(html_table(columns, [[row.get(name, "") for name in columns] for row in shown]))
    parts.append("<h2>Speed on this machine</h2>" + html_table(_SPEED, _speed_rows(speeds)))
    parts += _thirteen(rows)
    if published:
        parts.append("<h2>The source's speeds, computed again</h2>" + html_table(_PUBLISHED, _published(published)))
    body = "\n".join(parts)
    return f"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>{body}</html>\n"


_PUBLISHED = ("batch", "latency ms", "published fps", "batch / latency", "× 4 chips", "note")


def _published(rows: Sequence) -> list[tuple]:
    return [
        (
            row.batch,
            row.latency_ms,
            row.published_fps,
            "void" if row.right_fps is None else f"{row.right_fps:.3f}",
            "void" if row.right_fps is None else f"{4 * row.right_fps:.2f}",
            row.note,
        )
        for row in rows
    ]


def _speed_rows(speeds: Mapping[str, list[dict]]) -> list[tuple]:
    return [
        (
            cell,
            speed["batch"],
            "simulated" if speed["simulated"] else "measured",
            *(f"{speed[name]:.1f}" for name in ("p50_ms", "p90_ms", "p99_ms")),
            f"{speed['samples_per_second']:.2f}",
            f"{speed['peak_rss_mb']:.0f}",
            *("–" if speed[name] is None else f"{speed[name]:.2f}" for name in ("h2d_ms", "execute_ms", "d2h_ms")),
        )
        for cell, found in speeds.items()
        for speed in found
    ]


def _thirteen(rows: Sequence) -> list[str]:
    labels = list(next((row.metrics for row in rows if row.metrics), {}))
    parts = []
    for label in labels:
        known = [row for row in rows if row.metrics]
        names = list(known[0].metrics[label])
        lines = [(str(row.cell), *(f"{row.metrics[label][name]:.5g}" for name in names)) for row in known]
        parts.append(f"<h2>nnU-Net's thirteen metrics: {html.escape(label)}</h2>")
        parts.append(html_table(("cell", *names), lines))
    return parts
