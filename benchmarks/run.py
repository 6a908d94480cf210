"""Runs the contestants of a benchmark in turn, round by round, and writes medians and ratios as JSON.

    python benchmarks/run.py labels scores resample depth budget --rounds 5

Each run is a process of its own; the rounds interleave the contestants, so that other load on the machine hits all.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.contestants import CLASSES, CONTESTANTS, WINDOW  # noqa: E402
from benchmarks.measure import describe_machine  # noqa: E402
from helpers.inference import WindowPlan  # noqa: E402
from helpers.inference.budget import estimate_memory  # noqa: E402

FIGURES = ("seconds", "cpu_seconds", "first_seconds", "peak_mb")
RESULTS = ROOT / "benchmarks" / "results"
BUDGET_SHAPES = ((128, 128, 128), (200, 200, 200), (128, 384, 384), (300, 256, 256), (160, 512, 512), (300, 512, 512))
_logger = logging.getLogger("benchmarks")


def run_once(benchmark: str, contestant: str, shape: tuple[int, ...] = (300, 512, 512)) -> dict[str, float]:
    """Figures of one run in a new process."""
    command = [sys.executable, str(ROOT / "benchmarks" / "contestants.py"), benchmark, contestant]
    command += ["--shape", *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.strip().splitlines()[-1]) | {"load": os.getloadavg()[0]}
    _logger.info("%s %s %s: %s", benchmark, contestant, shape, figures)
    return figures


def compare(benchmark: str, rounds: int) -> dict[str, object]:
    """Medians of all contestants, and the best peer's over ours."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS[benchmark]}
    for _ in range(rounds):
        for name, found in runs.items():
            found.append(run_once(benchmark, name))
    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in FIGURES} for name, found in runs.items()
    }
    peers = [figures for name, figures in medians.items() if name != "ours"]
    ratios = {key: min(peer[key] for peer in peers) / medians["ours"][key] for key in FIGURES}
    return {"medians": medians, "best_peer_over_ours": ratios, "runs": runs}


def compare_depths(rounds: int) -> dict[str, object]:
    """Peak above start, less the uint8 output, of ours at 300 and at 1200 slices of 512 x 512."""
    peaks = {}
    for depth in (300, 1200):
        found = [run_once("labels", "ours", (depth, 512, 512))["peak_mb"] for _ in range(rounds)]
        peaks[depth] = statistics.median(found) - depth * 512 * 512 / 1e6
    return {"peak_mb_besides_labels": peaks, "growth": peaks[1200] / peaks[300] - 1}


def compare_budgets(rounds: int) -> dict[str, object]:
    """Estimated over measured peak on six shapes, the volume included in both."""
    rows = []
    for shape in BUDGET_SHAPES:
        volume_mb = 4 * shape[0] * shape[1] * shape[2] / 1e6
        peak = statistics.median(run_once("labels", "ours", shape)["peak_mb"] for _ in range(rounds))
        need = estimate_memory((1, *shape), WindowPlan(WINDOW, CLASSES)).parts
        # The free network's one answer exists before the start, and so does the volume.
        outside = need["scores"] + need["image"]
        estimated = (sum(need.values()) - outside) / 1e6
        rows.append({"shape": shape, "estimated_mb": estimated + volume_mb, "measured_mb": peak + volume_mb})
    return {"rows": rows, "ratios": [row["estimated_mb"] / row["measured_mb"] for row in rows]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    choices = {
        "labels": lambda rounds: compare("labels", rounds),
        "scores": lambda rounds: compare("scores", rounds),
        "resample": lambda rounds: compare("resample", rounds),
        "depth": compare_depths,
        "budget": compare_budgets,
    }
    parser.add_argument("benchmarks", nargs="*", default=list(choices), metavar=f"{{{','.join(choices)}}}")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    RESULTS.mkdir(exist_ok=True)
    for name in arguments.benchmarks:
        machine = describe_machine()
        figures = choices[name](arguments.rounds)
        command = f"python benchmarks/run.py {name} --rounds {arguments.rounds}"
        result = {"benchmark": name, "command": command, "machine": machine, **figures}
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
