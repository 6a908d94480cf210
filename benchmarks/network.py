"""Sliding window and network on the CPU with the same seeded weights: ours on OpenVINO, nnU-Net v2 on torch.

    python benchmarks/network.py --rounds 5

Every run is a process of its own that does the volume twice, of which the faster one counts; the rounds interleave.
`share of the network` is the seconds of the whole sliding window over (windows x the median latency of the device
alone), both measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.files import compile_for_cpu  # noqa: E402
from benchmarks.measure import describe_machine  # noqa: E402
from benchmarks.rounds import run_rounds  # noqa: E402
from benchmarks.seeded import randomise_norms  # noqa: E402

NETWORKS = {
    "2-D nnU-Net of the heart, official": {"window": (320, 256), "shape": (1, 12, 320, 256)},
    "3-D nnU-Net, half width": {"window": (96, 96, 96), "shape": (1, 144, 144, 144)},
}
CONTESTANTS = ("ours f32", "ours bf16", "nnU-Net f32")


def build_network(name: str):
    """The network with seeded random weights, one output."""
    import torch

    from helpers.networks.nnunet import GenericUNet

    torch.manual_seed(0)
    if name.startswith("2-D"):
        network = GenericUNet.heart_2d()
    else:
        network = GenericUNet(1, 3, [[2, 2, 2]] * 4, base_num_features=16)
    network.do_ds = False
    return randomise_norms(network).eval()


def compile_network(name: str, folder: Path) -> None:
    """OpenVINO's files of the network in each precision, with the rewrites of the target `cpu`."""
    from helpers.graph.spec import GraphSpec

    spec = GraphSpec("image", "class", (1, *NETWORKS[name]["window"]))
    for precision in ("f32", "bf16"):
        compile_for_cpu(build_network(name), spec, precision, folder)


def run_ours(name: str, precision: str, folder: Path) -> dict[str, object]:
    """Seconds from the whole volume to labels and of the device alone, labels saved."""
    from helpers.devices import open_device
    from helpers.inference import sliding_window
    from helpers.inference.predictor import DevicePredictor

    window, volume = NETWORKS[name]["window"], make_volume(name)
    with open_device(folder / f"{precision}.xml", "cpu", precision=precision) as device:
        call = DevicePredictor(device, "image", "class")
        sample = np.ascontiguousarray(volume[None, :, *([0] if len(window) == 2 else []), *map(slice, window)])
        classes, latencies, wholes = call(sample).shape[1], [], []
        for _ in range(2):  # in turn, so that both see the same machine
            for _ in range(4):
                start = time.perf_counter()
                call(sample)
                latencies.append(time.perf_counter() - start)
            start = time.perf_counter()
            labels = sliding_window(volume, call, window, classes=classes)
            wholes.append(time.perf_counter() - start)
    np.save(folder / f"ours {precision}.npy", labels)
    return {"seconds": min(wholes), "latency": statistics.median(latencies)}


def run_nnunet(name: str, folder: Path) -> dict[str, object]:
    """Seconds from the whole volume to labels; logits saved."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.network = build_network(name)
    window, volume = NETWORKS[name]["window"], torch.from_numpy(make_volume(name))
    with torch.no_grad():
        sample = volume[None, :, 0] if len(window) == 2 else volume[None, :, *map(slice, window)]
        classes = predictor.network(sample).shape[1]
        predictor.configuration_manager = SimpleNamespace(patch_size=window)
        predictor.label_manager = SimpleNamespace(num_segmentation_heads=classes)
        wholes = []
        for _ in range(2):
            start = time.perf_counter()
            logits = predictor.predict_sliding_window_return_logits(volume)
            logits.argmax(0)  # as its export makes labels
            wholes.append(time.perf_counter() - start)
    np.save(folder / "nnU-Net f32.npy", logits.float().numpy())
    return {"seconds": min(wholes)}


def make_volume(name: str) -> np.ndarray:
    """(1, Z, Y, X) float32: smooth shapes and noise, as a normalised scan has."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    shape = NETWORKS[name]["shape"]
    volume = gaussian_filter(random.standard_normal(shape[1:]), 6) * 40 + random.standard_normal(shape[1:]) * 0.2
    return volume[None].astype(np.float32)


def count_windows(name: str) -> int:
    """Windows of the whole volume at a step of one half."""
    from helpers.inference import WindowPlan, count_samples

    return count_samples(NETWORKS[name]["shape"], WindowPlan(NETWORKS[name]["window"], 2))


def compare_labels(folder: Path) -> dict[str, float]:
    """Share of voxels whose label differs from nnU-Net's, where its lead is at least 1e-3 of the logits' range."""
    logits = np.load(folder / "nnU-Net f32.npy")
    ordered = np.sort(logits, axis=0)
    clear = ordered[-1] - ordered[-2] >= 1e-3 * np.ptp(logits)
    wanted, found = logits.argmax(0), {}
    for precision in ("f32", "bf16"):
        differs = np.load(folder / f"ours {precision}.npy") != wanted
        found[f"{precision} where the lead is clear"] = float((differs & clear).sum() / clear.sum())
        found[f"{precision} anywhere"] = float(differs.mean())
    return found


def compare(name: str, rounds: int) -> dict[str, object]:
    """Medians and ratios of one network."""
    with tempfile.TemporaryDirectory() as folder:
        compile_network(name, Path(folder))
        runs = run_rounds(Path(__file__), CONTESTANTS, rounds, "--network", name, "--folder", folder)
        labels = compare_labels(Path(folder))
    seconds = {key: statistics.median(run["seconds"] for run in found) for key, found in runs.items()}
    windows = count_windows(name)
    shares = {
        key: statistics.median(run["seconds"] / (windows * run["latency"]) for run in runs[key])
        for key in CONTESTANTS[:2]
    }
    faster = {key: seconds["nnU-Net f32"] / seconds[key] for key in CONTESTANTS[:2]}
    return {
        "windows": windows,
        "seconds": seconds,
        "share of the network": shares,
        "faster than nnU-Net": faster,
        "labels that differ": labels,
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--once", choices=CONTESTANTS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.once == "nnU-Net f32":
        sys.stdout.write(json.dumps(run_nnunet(arguments.network, arguments.folder)) + "\n")
        return
    if arguments.once:
        figures = run_ours(arguments.network, arguments.once.split()[1], arguments.folder)
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    machine, command = describe_machine(), f"python benchmarks/network.py --rounds {arguments.rounds}"
    figures = {name: compare(name, arguments.rounds) for name in NETWORKS}
    result = {"benchmark": "network", "command": command, "machine": machine, "networks": figures}
    (ROOT / "benchmarks" / "results" / "network.json").write_text(
        json.dumps(result, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
