"""Many large cases with a network that costs next to nothing: `cookbook predict` and nnU-Net v2 with its own workers.

    python benchmarks/pipeline_vs_nnunet.py [--cases 12] [--shape 300 512 512] [--folders FOLDER]

What is compared is the host's work: reading, resampling to the plan's spacing and back, writing. Whole commands, one
after the other, with the defaults of both; memory is that of all their processes together (PSS, twice a second). The
model is proven before, in a first call that is not counted. Writes `benchmarks/results/pipeline_vs_nnunet.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from benchmarks.measure import describe_machine  # noqa: E402
from benchmarks.nnunet_folders import model_folder, write_folder  # noqa: E402
from benchmarks.pipeline_cases import write_cases  # noqa: E402
from helpers.data.volume import read_volume  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "pipeline_vs_nnunet.json"
NAME, CONFIGURATION, SPACING_MM = "Dataset902_Volumes", "3d_fullres", (1.2, 1.2, 1.2)
_PEER = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as main; main()"
_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def main() -> None:
    """Measures both, and writes and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--shape", type=int, nargs=3, default=[300, 512, 512])
    parser.add_argument("--folders", type=Path, default=Path(tempfile.gettempdir()) / "nnunet_free_folders")
    options = parser.parse_args()
    model = write_free_model(options.folders.resolve())
    with tempfile.TemporaryDirectory(prefix="pipeline-") as name:
        work = Path(name)
        write_cases(work, options.cases, options.shape, SPACING_MM, 1)
        write_cases(work / "one", 1, [64, 96, 96], SPACING_MM, 1)
        timed(ours(model, work / "one" / "imagesTs", work / "proof", work))
        figures = {
            "cookbook predict": timed(ours(model, work / "imagesTs", work / "ours", work)),
            "nnUNetv2_predict_from_modelfolder": timed(theirs(model, work / "imagesTs", work / "theirs")),
            "equal_voxels": share_equal(work),
        }
    content = {
        "what": "whole commands with a network that costs next to nothing",
        "command": " ".join(["python", "benchmarks/pipeline_vs_nnunet.py", *sys.argv[1:]]),
        "machine": describe_machine(),
        "cases": options.cases,
        "shape": options.shape,
        **figures,
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def write_free_model(root: Path) -> Path:
    """A model folder as nnU-Net's trainer saves it, from plans in which the network was made as small as possible."""
    write_folder(root, NAME)
    file = root / "nnUNet_preprocessed" / NAME / "nnUNetPlans.json"
    plans = json.loads(file.read_text(encoding="utf-8"))
    configuration = plans["configurations"][CONFIGURATION]
    configuration["patch_size"] = [160, 160, 160]
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": 2,
        "features_per_stage": [1, 1],
        "kernel_sizes": [[1, 1, 1], [1, 1, 1]],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
    }
    file.write_text(json.dumps(plans), encoding="utf-8")
    environment = {**os.environ, **{variable: str(root / variable) for variable in _VARIABLES}}
    script = str(ROOT / "benchmarks" / "nnunet_folders.py")
    subprocess.run([sys.executable, script, "--checkpoints", NAME], env=environment, check=True)
    return model_folder(root, NAME)


def ours(model: Path, images: Path, masks: Path, work: Path) -> list[str]:
    """Our command line."""
    command = [sys.executable, "-m", "helpers", "predict", str(model), str(images), str(masks)]
    return [*command, "-p", "mirror_axes", "[]", "-p", "folds", "0", "-p", "outputs", str(work / "outputs")]


def theirs(model: Path, images: Path, masks: Path) -> list[str]:
    """nnU-Net's command line, with its own number of worker processes."""
    command = [sys.executable, "-c", _PEER, "-i", str(images), "-o", str(masks), "-m", str(model)]
    return [*command, "-f", "0", "-device", "cpu", "--disable_tta"]


def timed(command: list[str]) -> dict[str, float]:
    """Wall seconds of a command, and the peak memory of all its processes together."""
    environment = {**os.environ, **dict.fromkeys(_VARIABLES, tempfile.gettempdir())}
    started, peak = time.perf_counter(), 0
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, held_bytes(process.pid))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}")
    return {"seconds": round(time.perf_counter() - started, 1), "peak_mb_of_all_processes": round(peak / 1e6)}


def held_bytes(pid: int) -> int:
    """The proportional set size of a process and its children."""
    total = 0
    try:
        for process in (parent := psutil.Process(pid), *parent.children(recursive=True)):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8")
            total += int(text.partition("\nPss:")[2].split()[0]) * 1024
    except (psutil.Error, OSError, IndexError):
        return total  # a process ended meanwhile
    return total


def share_equal(work: Path) -> float:
    """The share of voxels that both masks agree on; nnU-Net sums its windows in float16."""
    shares = []
    for path in sorted((work / "theirs").glob("*.nii.gz")):
        pair = [read_volume(work / side / path.name).array for side in ("ours", "theirs")]
        shares.append(float(np.mean(pair[0] == pair[1])))
    return round(float(np.mean(shares)), 6)


if __name__ == "__main__":
    main()
