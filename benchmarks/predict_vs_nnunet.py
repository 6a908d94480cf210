"""Whole commands on the same model folder and cases: `cookbook predict` and nnU-Net v2's own prediction, on the CPU.

    python benchmarks/predict_vs_nnunet.py --rounds 3 --to results.json

The folders are those of `nnunet_folders.py`. Neither side mirrors. "first" starts with an empty outputs folder, so
that the model is proven on the way; "later" finds it proven and writes into a new folder. Contestants take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.measure import describe_machine  # noqa: E402
from benchmarks.nnunet_folders import DATA_SETS, images, model_folder, write_folder  # noqa: E402

_PEER = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as main; main()"
_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")  # it warns if they are not set
_PRECISIONS = ("f32", "bf16")


def main() -> None:
    """Measures every contestant on every data set, and prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folders", type=Path, default=Path(tempfile.gettempdir()) / "nnunet_folders")
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    results: dict[str, object] = {"machine": describe_machine(), "command": sys.argv}
    for name in DATA_SETS:
        write_folder(options.folders, name)
        results[name] = {f"{count} cases": measure(options.folders, name, count, options.rounds) for count in (2, 10)}
    text = json.dumps(results, indent=1)
    sys.stdout.write(f"{text}\n")
    if options.to:
        options.to.write_text(text + "\n", encoding="utf-8")


def measure(root: Path, name: str, count: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Wall seconds and peak memory (MB, of the largest process) of each contestant by round."""
    figures: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "images"
        source.mkdir()
        for path in sorted(images(root, name).iterdir())[:count]:
            (source / path.name).symlink_to(path)
        for _ in range(rounds):
            shutil.rmtree(Path(work) / "outputs", ignore_errors=True)
            for contestant, command in commands(root, name, source, Path(work)).items():
                figures.setdefault(contestant, []).append(timed(command))
                shutil.rmtree(Path(work) / "masks")
    return figures


def commands(root: Path, name: str, source: Path, work: Path) -> dict[str, list[str]]:
    """The command lines of a round, in order."""
    model, masks = str(model_folder(root, name)), str(work / "masks")
    folds = [str(fold) for fold in range(DATA_SETS[name][1])]
    peer = [sys.executable, "-c", _PEER, "-i", str(source), "-o", masks, "-m", model, "-f", *folds]
    found = {"nnU-Net f32": [*peer, "-device", "cpu", "--disable_tta"]}
    for precision in _PRECISIONS:
        ours = [sys.executable, "-m", "helpers", "predict", model, str(source), masks, "--precision", precision]
        ours += ["-p", "mirror_axes", "[]", "-p", "outputs", str(work / "outputs")]
        found |= {f"first {precision}": ours, f"later {precision}": ours}
    return found


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
