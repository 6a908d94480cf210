"""Speed of OpenVINO in f32, bf16 and int8 on the official-size networks, as JSON and a picture.

    python benchmarks/precision_speed.py prepare --models FOLDER      (exports and quantises; takes minutes)
    python benchmarks/precision_speed.py time --models FOLDER         (on a quiet machine)

int8 is calibrated with noise here: these figures say nothing about accuracy. Every precision of a network is timed in
turn, round by round, so that other load on the machine hits all.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.measure import describe_machine  # noqa: E402
from benchmarks.seeded import randomise_norms  # noqa: E402
from helpers import recipes  # noqa: E402
from helpers.compile.openvino import compile_openvino, quantize_openvino  # noqa: E402
from helpers.compile.quantize import select_fp32_layers  # noqa: E402
from helpers.devices import open_device  # noqa: E402
from helpers.graph.export import export_network  # noqa: E402
from helpers.graph.read import load_graph  # noqa: E402
from helpers.graph.spec import GraphSpec  # noqa: E402
from helpers.graph.surgery import AxiswiseInstanceNorm, rewrite_graph  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "precision_speed.json"
# Recipe, variant and shape of one sample; the 3-D networks of the nnU-Net family at 96 cubed.
NETWORKS = {
    "UNet++ 3-D, 96³": ("unetpp3d_liver", None, (1, 96, 96, 96)),
    "nnU-Net 3-D, 96³": ("nnunet_heart", "3d", (1, 96, 96, 96)),
    "3D U-Net, 64³": ("unet3d_brats", None, (4, 64, 64, 64)),
    "UNet, 572²": ("unet_carvana", None, (3, 572, 572)),
    "FCN-R50-D8, 500²": ("fcn_voc2012", None, (3, 500, 500)),
    "nnU-Net 2-D, 320 × 256": ("nnunet_heart", None, (1, 320, 256)),
}
_logger = logging.getLogger("benchmarks")


def prepare(name: str, folder: Path) -> None:
    """Exports a network and writes what each precision opens, as the compile stage does."""
    import onnx

    recipe, variant, shape = NETWORKS[name]
    spec = GraphSpec("image", "scores", shape)
    folder.mkdir(parents=True, exist_ok=True)
    graph, rewritten = folder / "model.onnx", folder / "rewritten.onnx"
    export_network(randomise_norms(recipes.load(recipe).network(variant)), spec, graph)
    model, _ = rewrite_graph(load_graph(graph), [AxiswiseInstanceNorm()])
    onnx.save(model, str(rewritten))
    compile_openvino(rewritten, folder / "f32")
    compile_openvino(graph, folder / "f32_whole_norm")
    compile_openvino(graph, folder / "bf16")
    windows = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
    quantize_openvino(graph, windows, folder / "int8", select_fp32_layers(graph))
    _logger.info("%s prepared", name)


def time_network(name: str, folder: Path, rounds: int) -> dict[str, object]:
    """Median seconds of each precision and its speed against f32; f32 also with its norms whole, the fastest f32.

    CPU seconds are given next to wall-clock seconds: they hardly change with other load on the machine.
    """
    shape = NETWORKS[name][2]
    sample = np.random.default_rng(1).standard_normal((1, *shape), dtype=np.float32)
    seconds: dict[str, list[float]] = {}
    cpu_seconds: dict[str, list[float]] = {}
    devices = {}
    for form in ("f32", "f32_whole_norm", "bf16", "int8"):
        precision = form.split("_")[0]
        devices[form] = open_device(folder / f"{form}.xml", "cpu", precision=precision, max_in_flight=1)
        devices[form].infer({"image": sample})
    for _ in range(rounds):
        for form, device in devices.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            device.infer({"image": sample})
            seconds.setdefault(form, []).append(time.perf_counter() - start)
            cpu_seconds.setdefault(form, []).append(time.process_time() - cpu_start)
    for device in devices.values():
        device.close()
    medians = {form: statistics.median(found) for form, found in seconds.items()}
    ratios = {
        f"{form} over {base}": medians[base] / medians[form]
        for form in ("bf16", "int8")
        for base in ("f32", "f32_whole_norm")
    }
    cpu_medians = {form: statistics.median(found) for form, found in cpu_seconds.items()}
    return {"median_s": medians, "cpu_median_s": cpu_medians, "speed": ratios, "seconds": seconds}


def draw(result: dict) -> None:
    """Bars of the speed against the fastest f32."""
    from helpers.view.figures.canvas import new_figure, save_figure

    figure = new_figure(7, 0.6 * len(result["networks"]) + 1.2)
    axis = figure.subplots()
    for index, found in enumerate(result["networks"].values()):
        for offset, form, colour in ((-0.2, "bf16", "#0072B2"), (0.2, "int8", "#D55E00")):
            ratio = found["speed"][f"{form} over f32_whole_norm"]
            axis.barh(index + offset, ratio, height=0.36, color=colour, label=form if index == 0 else None)
            axis.text(ratio, index + offset, f" {ratio:.2f} ×", va="center", fontsize=8)
    axis.set_yticks(range(len(result["networks"])), list(result["networks"]), fontsize=8)
    axis.invert_yaxis()
    axis.axvline(1, color="#888888", linewidth=1)
    axis.set_xlabel("speed against OpenVINO in f32 (norms whole)", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8)
    save_figure(figure, RESULT.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["prepare", "time"])
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"networks": {}}
    for name in arguments.only:
        folder = arguments.models / str(list(NETWORKS).index(name))
        if arguments.action == "prepare":
            prepare(name, folder)
            continue
        found = time_network(name, folder, arguments.rounds)
        result["networks"][name] = found
        _logger.info("%s %s %s", name, found["median_s"], found["cpu_median_s"])
        command = "python benchmarks/precision_speed.py time --models FOLDER"
        result |= {"command": command, "machine": describe_machine()}
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draw(result)


if __name__ == "__main__":
    main()
