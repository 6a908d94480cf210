"""Whole commands on the same model folder and cases: `cookbook predict` and nnU-Net v2's own prediction, on the CPU.

    python benchmarks/predict_vs_nnunet.py --folders FOLDER --to benchmarks/results/predict.json

The folders are those of `nnunet_folders.py`, and are written if missing. Neither side mirrors. "first" starts with
an empty outputs folder, so that the model is proven on the way; "later" finds it proven and writes into a new
folder; "notebook" is the headless notebook from an empty outputs folder. Contestants take turns, command by command,
in every round. The table shows medians, and the shares of nnU-Net's wall time and peak memory with their limits.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.measure import describe_machine  # noqa: E402
from benchmarks.nnunet_folders import DATA_SETS, images, model_folder, write_folder  # noqa: E402

_PEER = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as main; main()"
_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")  # it warns if they are not set
_OURS = [sys.executable, "-m", "helpers"]
_DEMO = ROOT / "helpers" / "weights" / "nnunet_demo" / "nnUNetTrainerNoMirroring__nnUNetResEncUNetMPlans__2d"
# The largest permitted share of nnU-Net's wall time, by row.
LIMITS = {
    "2 cases, first f32": 1.0,
    "2 cases, later f32": 0.5,
    "2 cases, notebook f32": 2.5,
    "10 cases, later f32": 0.4,
    "10 cases, later bf16": 0.25,
}
_NO_LIMIT_OF_MEMORY = ("2 cases, notebook f32",)
_DEMO_SECONDS = 4.0

Figures = dict[str, list[dict[str, float]]]


def main() -> None:
    """Measures every command, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folders", type=Path, default=Path(tempfile.gettempdir()) / "nnunet_folders")
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    content: dict[str, object] = {"machine": describe_machine(), "command": sys.argv}
    for name in DATA_SETS:
        write_folder(options.folders, name)
        content[name] = measure(options.folders, name, options.rounds)
    content["demo"] = measure_demo(max(3, options.rounds))
    for line in table(content):
        sys.stdout.write(f"{line}\n")
    if options.to:
        options.to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measure(root: Path, name: str, rounds: int) -> Figures:
    """Wall seconds, CPU seconds and peak memory (MB, of the largest process) of each command by round."""
    figures: Figures = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as work:
            for row, command in commands(root, name, Path(work)):
                figures.setdefault(row, []).append(timed(command))
                sys.stderr.write(f"{name}, {row}: {figures[row][-1]}\n")
                shutil.rmtree(Path(work) / "masks", ignore_errors=True)
    return figures


def commands(root: Path, name: str, work: Path) -> Iterator[tuple[str, list[str]]]:
    """The rows and command lines of a round, in order."""
    model, masks = str(model_folder(root, name)), str(work / "masks")
    folds = [str(fold) for fold in range(DATA_SETS[name][1])]
    plain = ["-p", "mirror_axes", "[]"]
    peer = [sys.executable, "-c", _PEER, "-m", model, "-o", masks, "-f", *folds, "-device", "cpu", "--disable_tta"]
    source = {count: str(_linked(images(root, name), work / f"images_{count}", count)) for count in (2, 10)}

    def ours(count: int, precision: str) -> list[str]:
        return [*_OURS, "predict", model, source[count], masks, "--precision", precision, *plain, *outputs]

    outputs = ["-p", "outputs", str(work / "outputs")]
    yield "2 cases, nnU-Net", [*peer, "-i", source[2]]
    yield "2 cases, first f32", ours(2, "f32")
    yield "2 cases, later f32", ours(2, "f32")
    yield "2 cases, first bf16", ours(2, "bf16")
    yield "10 cases, nnU-Net", [*peer, "-i", source[10]]
    yield "10 cases, later f32", ours(10, "f32")
    yield "10 cases, later bf16", ours(10, "bf16")
    data = ["-p", "profile", "cpu", "-p", "checkpoint", model, "-p", "data_root", source[2]]
    yield "2 cases, notebook f32", [*_OURS, "run", "nnunet", *data, *plain, "-p", "outputs", str(work / "notebook")]


def _linked(folder: Path, place: Path, count: int) -> Path:
    place.mkdir()
    for path in sorted(folder.iterdir())[:count]:
        (place / path.name).symlink_to(path)
    return place


def measure_demo(rounds: int) -> list[dict[str, float]]:
    """One case of the shipped demo folder, whose model is proven: the whole command until its mask is there."""
    from helpers import recipes

    found = []
    with tempfile.TemporaryDirectory() as work:
        recipes.load("nnunet").cases.write_demo_cases(Path(work) / "demo", [9001])
        for index in range(rounds + 1):
            words = [str(_DEMO), str(Path(work) / "demo"), str(Path(work) / f"masks_{index}")]
            found.append(timed([*_OURS, "predict", *words, "-p", "outputs", str(Path(work) / "outputs")]))
    return found[1:]  # the first call proves the model


def table(content: dict[str, object]) -> Iterator[str]:
    """One line per row: wall and CPU seconds, peak memory, and the shares of nnU-Net's with their limits."""
    yield f"{'':52}{'wall s':>8}{'CPU s':>8}{'MB':>7}{'of its wall':>13}{'limit':>7}{'of its MB':>11}"
    for name in DATA_SETS:
        rows = {row: _median(runs) for row, runs in content[name].items()}  # type: ignore[attr-defined]
        for row, found in rows.items():
            peer = rows[f"{row.partition(',')[0]}, nnU-Net"]
            share, memory, limit = (
                found["seconds"] / peer["seconds"],
                found["peak_mb"] / peer["peak_mb"],
                LIMITS.get(row),
            )
            line = _columns(f"{name}, {row}", found)
            if row.endswith("nnU-Net"):
                yield line
                continue
            failed = limit is not None and (share > limit or (memory > 1 and row not in _NO_LIMIT_OF_MEMORY))
            yield f"{line}{share:13.2f}{limit or '':>7}{memory:11.2f}{'  FAILED' if failed else ''}"
    demo = _median(content["demo"])  # type: ignore[arg-type]
    yield f"{_columns('a proven demo case', demo)}{'  FAILED' if demo['seconds'] > _DEMO_SECONDS else ''}"


def _columns(title: str, found: dict[str, float]) -> str:
    return f"{title:52}{found['seconds']:8.1f}{found['cpu_seconds']:8.1f}{found['peak_mb']:7.0f}"


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def timed(command: list[str]) -> dict[str, float]:
    """Wall seconds, CPU seconds and peak memory of one command."""
    environment = {**os.environ, **dict.fromkeys(_VARIABLES, tempfile.gettempdir())}
    program = "import json, resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True);"
    program += "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
    program += "print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - start
    cpu, peak_kb = json.loads(done.stdout)
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(peak_kb * 1024 / 1e6, 1)}


if __name__ == "__main__":
    main()
