"""Writes a profile: all figures as JSON, the nodes as CSV, a picture, and a page that holds both."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from helpers.run.atomic import atomic_path, write_json
from helpers.run.csv_file import write_csv
from helpers.study.profile import NodeTime, Profile, describe, roofline_points
from helpers.view import figures
from helpers.view.tables import RichText, html_table, text_table

JSON, CSV, PICTURE, PAGE = "profile.json", "nodes.csv", "profile.png", "profile.html"
_HEADER = ("node", "op", "level", "ms", "share", "M MACs", "MB", "of roofline", "precision", "processor")


def write_profile(profile: Profile, folder: Path, title: str) -> list[Path]:
    """Writes the files of a profile into a folder, which is created.

    Returns:
        The page, the picture, the CSV file and the JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in (PAGE, PICTURE, CSV, JSON)]
    peaks = (profile.peaks.macs_per_second, profile.peaks.bytes_per_second) if profile.peaks else None
    drawing = figures.draw_profile(
        title,
        profile.nodes,
        profile.by(lambda node: node.op),
        profile.by(lambda node: node.level),
        roofline_points(profile),
        peaks,
    )
    figures.save_figure(drawing, paths[1])
    write_csv(paths[2], _HEADER, _rows(profile, profile.nodes))
    write_json(paths[3], profile.to_json())
    with atomic_path(paths[0]) as temporary:
        temporary.write_text(_page(profile, title, paths[1].read_bytes()), encoding="utf-8")
    return paths


def show_profile(profile: Profile, title: str) -> RichText:
    """The facts of a profile and its five most expensive nodes."""
    facts = [(f"{name}:", text) for name, text in describe(profile).items()]
    expensive = [_HEADER, *_rows(profile, profile.most_expensive())]
    lines = [*text_table(facts), "", *text_table(expensive)]
    for name, totals in _totals(profile).items():
        lines += ["", f"{name}: " + ", ".join(f"{key} {share:.1%}" for key, share in totals.items())]
    return RichText(_facts_html(profile, title), "\n".join([title, *lines]))


def _totals(profile: Profile) -> dict[str, dict[str, float]]:
    sums = {"by op": profile.by(lambda node: node.op), "by resolution": profile.by(lambda node: node.level)}
    return {
        name: {key or "changes of layout": ms / profile.sum_ms for key, ms in totals.items()}
        for name, totals in sums.items()
    }


def _rows(profile: Profile, nodes: Sequence[NodeTime]) -> list[tuple[str, ...]]:
    return [
        (
            node.node,
            " + ".join((node.op, *node.fused)),
            node.level,
            f"{node.ms:.3f}",
            f"{node.ms / profile.sum_ms:.1%}",
            f"{node.macs / 1e6:.1f}",
            f"{node.bytes / 1e6:.1f}",
            "–" if node.least_ms is None or not node.ms else f"{node.least_ms / node.ms:.1%}",
            " ".join(node.precisions),
            " ".join(node.processors) + (", reference code" if node.reference_kernels else ""),
        )
        for node in nodes
    ]


def _facts_html(profile: Profile, title: str) -> str:
    facts = list(describe(profile).items())
    parts = [f"<h1>{html.escape(title)}</h1>", html_table(("", ""), facts)]
    parts += ["<h2>Most expensive</h2>", html_table(_HEADER, _rows(profile, profile.most_expensive()))]
    return "".join(parts)


def _page(profile: Profile, title: str, picture: bytes) -> str:
    encoded = base64.b64encode(picture).decode("ascii")
    style = "body{font:14px sans-serif;margin:2em}img{max-width:100%}"
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{style}</style>{_facts_html(profile, title)}"
        f"<p><img alt='time along the network' src='data:image/png;base64,{encoded}'></p>"
        f"<h2>Every node, in the order of execution</h2>{html_table(_HEADER, _rows(profile, profile.nodes))}</html>\n"
    )
