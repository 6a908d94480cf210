"""One picture of the results: seconds, CPU seconds and peak memory of every contestant."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).resolve().parent / "results"
NAMES = {
    "labels": "windows to labels",
    "scores": "windows to scores (ours: to labels)",
    "resample": "scores to labels on a finer grid",
}
TITLES = {"seconds": "seconds by the clock", "cpu_seconds": "CPU seconds", "peak_mb": "peak MB above start"}


def plot_results() -> Path:
    """Writes and returns `results/comparison.png`."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    compared = [result for result in found if "medians" in result]
    figure, rows = plt.subplots(len(compared), len(TITLES), figsize=(11, 2.4 * len(compared)), squeeze=False)
    for row, result in zip(rows, compared, strict=True):
        for axes, (key, title) in zip(row, TITLES.items(), strict=True):
            names = list(result["medians"])
            bars = axes.barh(names, [result["medians"][name][key] for name in names], color="0.7")
            bars[names.index("ours")].set_color("tab:blue")
            axes.bar_label(bars, fmt="{:.4g}", padding=2)
            axes.set_title(f"{NAMES[result['benchmark']]}: {title}", fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
            axes.margins(x=0.3)
            axes.invert_yaxis()
    figure.tight_layout()
    path = RESULTS / "comparison.png"
    figure.savefig(path, dpi=110)
    return path


if __name__ == "__main__":
    plot_results()
