"""From an image file to a mask file with the same model folder: ours on OpenVINO, nnU-Net v2's predictor on torch.

    python benchmarks/files.py --rounds 5

The clock runs from reading the image to the written mask; loading and compiling the network lie before it. The image
has other voxels than the plan, as another scanner's has, so both resample it and bring the scores back. No mirrors
on either side. Every run is a process of its own and the rounds interleave.
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

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.measure import describe_machine  # noqa: E402
from benchmarks.rounds import run_rounds  # noqa: E402
from benchmarks.seeded import randomise_norms  # noqa: E402

RECIPE = "nnunet_heart"
CONTESTANTS = ("ours f32", "ours bf16", "nnU-Net f32")
# shape (Z, Y, X) and spacing of the image; the plan's spacing is 1.25 mm.
SCANS = {
    "2-D nnU-Net of the heart, official": {"shape": (24, 444, 356), "spacing_mm": (2.7, 0.9, 0.9)},
    "3-D nnU-Net, half width": {"shape": (180, 180, 180), "spacing_mm": (1.0, 1.0, 1.0)},
}


def write_model(name: str, folder: Path) -> Path:
    """A v2 model folder of seeded random weights."""
    import torch

    from helpers.data.nnunet.plan import ChannelNorm, Plan
    from helpers.networks.nnunet import GenericUNet
    from tests.recipes.nnunet_models import Model

    dims = 2 if name.startswith("2-D") else 3
    patch, steps, width, widest = ((320, 256), 6, 32, 480) if dims == 2 else ((96, 96, 96), 4, 16, 320)
    plan = Plan(
        version=2,
        configuration="2d" if dims == 2 else "3d_fullres",
        patch_size=patch,
        spacing_mm=(1.25,) * dims,
        transpose_forward=(0, 1, 2),
        transpose_backward=(0, 1, 2),
        channels=(ChannelNorm("zscore"),),
        class_names=("background", "atrium"),
        pools=((2,) * dims,) * steps,
        kernels=((3,) * dims,) * (steps + 1),
        n_convolutions=2,
        base_features=width,
        largest_width=widest,
    )
    torch.manual_seed(0)
    state = randomise_norms(GenericUNet(**plan.network_arguments())).state_dict()
    return Model(RECIPE, plan, [state]).write(folder / "model", 2)


def prepare(name: str, folder: Path) -> None:
    """Model folder, image and OpenVINO's files of both precisions."""
    import torch

    from helpers import recipes
    from helpers.data.geometry import Geometry
    from helpers.data.volume import Volume, write_volume
    from tests.recipes.nnunet_models import AXES

    torch.set_grad_enabled(False)
    shape, spacing = SCANS[name]["shape"], SCANS[name]["spacing_mm"]
    image = folder / "Task02_Heart" / "imagesTr" / "scan_0000.nii.gz"
    image.parent.mkdir(parents=True)
    write_volume(image, Volume(smooth_noise(shape), Geometry(shape, spacing, (0.0, 0.0, 0.0), AXES)))
    recipe = recipes.load(RECIPE)
    params = prepare_params(recipe, write_model(name, folder), folder)
    network, spec = recipe.model.load_for_export(params), recipe.model.graph_spec(params)
    for precision in ("f32", "bf16"):
        compile_for_cpu(network, spec, precision, folder)


def compile_for_cpu(network, spec, precision: str, folder: Path) -> Path:
    """OpenVINO's files with the rewrites that the target `cpu` names for a precision."""
    import onnx

    from helpers.compile.openvino import compile_openvino
    from helpers.graph.export import export_network
    from helpers.graph.read import load_graph
    from helpers.graph.surgery import rewrite_and_prove
    from helpers.params.targets import load_target
    from helpers.stages.compile import rewrites_for

    export_network(network, spec, folder / "plain.onnx")
    model, path = load_graph(folder / "plain.onnx"), folder / f"{precision}.onnx"
    rewrites = rewrites_for(load_target("cpu"), precision)
    if rewrites:
        model, report = rewrite_and_prove(model, rewrites, spec)
        if not report.rows:
            raise RuntimeError(f"nothing was rewritten for {precision}: no run compiles such a graph")
    onnx.save(model, str(path))
    return compile_openvino(path, folder / precision)


def prepare_params(recipe, model: Path, folder: Path):
    """Parameters of a run on the model folder and the scan."""
    data = str(folder / "Task02_Heart")
    return recipe.prepare_params(profile="cpu", checkpoint=str(model), data_root=data, mirror_axes=[])


def smooth_noise(shape: tuple[int, ...]) -> np.ndarray:
    """(Z, Y, X) int16: smooth shapes and noise, as a scan has."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    return (gaussian_filter(random.standard_normal(shape), 6) * 4000 + random.normal(300, 20, shape)).astype(np.int16)


def run_ours(folder: Path, model: Path, precision: str) -> dict[str, float]:
    """Seconds from the image to the mask."""
    from helpers import recipes
    from helpers.devices import open_device
    from helpers.inference import sliding_window
    from helpers.inference.predictor import DevicePredictor

    recipe = recipes.load(RECIPE)
    params = prepare_params(recipe, model, folder)
    spec, (files,) = recipe.model.graph_spec(params), recipe.cases.list_cases(folder / "Task02_Heart", params)
    with open_device(folder / f"{precision}.xml", "cpu", precision=precision) as device:
        call = DevicePredictor(device, spec.input_name, spec.output_name)
        call(np.zeros((1, 1, *recipe.model.plan(params).patch_size), np.float32))
        # The loops are compiled on first use, as the peer's libraries are loaded before the start.
        sliding_window(np.zeros((1, 8, 8, 8), np.float32), lambda batch: np.repeat(batch, 3, 1), (4, 4, 4), classes=3)
        start = time.perf_counter()
        case = recipe.cases.read_case(files, params)
        labels = recipe.preparation.segment(case, call, params)
        recipe.cases.write_mask(labels, case, folder / f"ours {precision}.nii.gz")
        return {"seconds": time.perf_counter() - start}


def run_nnunet(folder: Path, model: Path) -> dict[str, float]:
    """Seconds from the image to the mask, in one process: nnU-Net's own way is slower by the start of its workers."""
    import contextlib

    import torch

    from tests.recipes.nnunet_peer import predictor_of

    predictor = predictor_of(model, mirroring=False)
    image = str(folder / "Task02_Heart" / "imagesTr" / "scan_0000.nii.gz")
    with torch.inference_mode(), contextlib.redirect_stdout(sys.stderr):
        predictor.network(torch.zeros(1, 1, *predictor.configuration_manager.patch_size))
        start = time.perf_counter()
        predictor.predict_from_files_sequential([[image]], [str(folder / "nnU-Net f32")])
        return {"seconds": time.perf_counter() - start}


def compare(name: str, rounds: int) -> dict[str, object]:
    """Medians, ratios and differing voxels of one network."""
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        prepare(name, folder)
        runs = run_rounds(Path(__file__), CONTESTANTS, rounds, "--folder", str(folder))
        differ = differing_voxels(folder)
    seconds = {key: statistics.median(run["seconds"] for run in found) for key, found in runs.items()}
    faster = {key: seconds["nnU-Net f32"] / seconds[key] for key in CONTESTANTS[:2]}
    return {"scan": SCANS[name], "seconds": seconds, "faster than nnU-Net": faster, "differing": differ, "runs": runs}


def differing_voxels(folder: Path) -> dict[str, float]:
    """Share of voxels of the masks that differ from nnU-Net's."""
    from helpers.data.volume import read_volume

    masks = {name: read_volume(folder / f"{name}.nii.gz").array for name in CONTESTANTS}
    return {name: float(np.mean(masks[name] != masks["nnU-Net f32"])) for name in CONTESTANTS[:2]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", choices=CONTESTANTS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.once:
        (model,) = (arguments.folder / "model").iterdir()
        who, precision = arguments.once.split()
        theirs = who == "nnU-Net"
        figures = run_nnunet(arguments.folder, model) if theirs else run_ours(arguments.folder, model, precision)
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    machine, command = describe_machine(), f"python benchmarks/files.py --rounds {arguments.rounds}"
    result = {"benchmark": "files", "command": command, "machine": machine}
    result["networks"] = {name: compare(name, arguments.rounds) for name in SCANS}
    (ROOT / "benchmarks" / "results" / "files.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
