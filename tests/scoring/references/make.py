"""Makes the reference values of the surface and lesion metrics with the tools that define them.

    python make.py masks                          # the pairs of masks, into masks.npz
    python make.py surface-distance               # in an environment of its own for each tool
    python make.py monai
    python make.py calibration
    python make.py meshmetrics
    python make.py panoptica
    python make.py brats-2023 path/to/brats_metrics.py    # of rachitsaluja/BraTS-2023-Metrics, commit 0c603fc

Each tool writes `<tool>.json`: its version, and one row of figures per pair.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
from scipy import ndimage

HERE = Path(__file__).parent
PAIRS = 240
TOLERANCES = (1.0, 2.0)
_SPACINGS = ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (1.25, 0.7, 0.7), (0.9, 2.3, 1.6))


def draw_pairs():
    """Blobs, noise, shifted copies, masks at the border, single voxels, empty and full masks."""
    random = np.random.default_rng(2026)
    for index in range(PAIRS):
        shape = tuple(int(side) for side in random.integers(2, 25, size=3))
        prediction, truth = (_blobs(random, shape) for _ in range(2))
        if index % 3 == 0:
            prediction |= truth
        elif index % 3 == 1:
            prediction = np.roll(truth, int(random.integers(-2, 3)), axis=index % 2)
        chosen = prediction if index % 2 else truth
        if index % 10 == 3:
            chosen[:] = False
        elif index % 10 == 6:
            chosen[:] = False
            chosen[tuple(random.integers(0, shape))] = True
        if index % 40 == 9:
            prediction[:] = truth[:] = index % 80 == 9
        yield prediction, truth, _SPACINGS[index % 4]


def _blobs(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    noise = ndimage.gaussian_filter(random.normal(size=shape), random.uniform(0.0, 2.5))
    return noise > np.quantile(noise, 1 - random.uniform(0.005, 0.5))


def write_masks() -> None:
    """Packs the pairs, so that no other version of a random generator changes them."""
    pairs = list(draw_pairs())
    bits = [np.packbits(np.stack(pair[:2])) for pair in pairs]
    np.savez_compressed(
        HERE / "masks.npz",
        shapes=np.array([pair[1].shape for pair in pairs]),
        spacings=np.array([pair[2] for pair in pairs]),
        bits=np.concatenate(bits),
        sizes=np.array([len(each) for each in bits]),
    )


def read_masks():
    """(prediction, truth, spacing) of each pair."""
    with np.load(HERE / "masks.npz") as content:
        shapes, spacings, bits, sizes = (content[name] for name in ("shapes", "spacings", "bits", "sizes"))
    ends = np.cumsum(sizes)
    for shape, spacing, end, size in zip(shapes, spacings, ends, sizes, strict=True):
        pair = np.unpackbits(bits[end - size : end], count=2 * int(np.prod(shape))).reshape(2, *shape).astype(bool)
        yield pair[0], pair[1], tuple(float(step) for step in spacing)


def surface_distance():
    """HD95, both mean distances, the areas and NSD of google-deepmind/surface-distance."""
    # Its release names attributes that NumPy 2 and SciPy 1.15 no longer have.
    np.Inf, np.NaN = np.inf, np.nan
    ndimage.filters = types.SimpleNamespace(correlate=ndimage.correlate)
    ndimage.morphology = types.SimpleNamespace(distance_transform_edt=ndimage.distance_transform_edt)
    import surface_distance as tool

    for prediction, truth, spacing in read_masks():
        found = tool.compute_surface_distances(truth, prediction, spacing)
        if not prediction.any() or not truth.any():
            yield {"elements": [len(found["distances_pred_to_gt"]), len(found["distances_gt_to_pred"])]}
            continue
        means = tool.compute_average_surface_distance(found)
        areas = [float(found[name].sum()) for name in ("surfel_areas_gt", "surfel_areas_pred")]
        yield {
            "elements": [len(found["distances_pred_to_gt"]), len(found["distances_gt_to_pred"])],
            "hd95": float(tool.compute_robust_hausdorff(found, 95)),
            "assd": float(np.average(means, weights=areas)),
            "nsd": [float(tool.compute_surface_dice_at_tolerance(found, each)) for each in TOLERANCES],
        }


def monai():
    """NSD of MONAI with sub-voxel surfaces, on masks with a margin: MONAI leaves surfaces open at the border."""
    import torch
    from monai.metrics import compute_surface_dice

    for prediction, truth, spacing in read_masks():
        batches = [torch.from_numpy(np.pad(mask, 2))[None, None].float() for mask in (prediction, truth)]
        found = [
            compute_surface_dice(*batches, [each], include_background=True, spacing=spacing, use_subvoxels=True)
            for each in TOLERANCES
        ]
        yield {"nsd": [float(value) for value in found]}


def calibration():
    """The calibration error of MONAI, of made-up probabilities, none of which lies at the edge of a bin."""
    import torch
    from monai.metrics import CalibrationErrorMetric

    for prediction, truth, _ in read_masks():
        metric = CalibrationErrorMetric(num_bins=20)
        batches = [torch.from_numpy(each)[None, None].float() for each in (made_up_chances(prediction), truth)]
        yield {"ece": float(metric(*batches).mean())}


def made_up_chances(mask: np.ndarray) -> np.ndarray:
    """Probabilities that depend on a mask and on the place."""
    place = np.arange(mask.size).reshape(mask.shape)
    return (((place * 37) % 61 + 0.37) / 104 + 0.4 * mask).astype(np.float32)


def meshmetrics():
    """HD95, ASSD and NSD between meshes."""
    from meshmetrics import DistanceMetrics

    for prediction, truth, spacing in read_masks():
        if not prediction.any() or not truth.any():
            yield {}
            continue
        measured = DistanceMetrics(verbose=False)
        # Its arrays are (x, y, z); margins close the surfaces at the border.
        masks = [np.pad(mask, 2).transpose(2, 1, 0) for mask in (truth, prediction)]
        measured.set_input(*masks, spacing=spacing[::-1])
        nsd = [float(measured.nsd(each)) for each in TOLERANCES]
        yield {"hd95": float(measured.hd(95)), "assd": float(measured.assd()), "nsd": nsd}


def panoptica():
    """Components found, missed and false, each matched with at most one other."""
    from panoptica import ConnectedComponentsInstanceApproximator, InputType, Panoptica_Evaluator
    from panoptica.instance_matcher import MaxBipartiteMatching
    from panoptica.metrics import Metric

    tool = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=MaxBipartiteMatching(matching_metric=Metric.DSC, matching_threshold=1e-6),
        instance_metrics=[Metric.DSC],
    )
    for prediction, truth, _ in read_masks():
        found = tool.evaluate(prediction.astype(np.uint8), truth.astype(np.uint8), verbose=False)
        result = next(iter(found.values())).to_dict()
        yield {name: int(result[name]) for name in ("tp", "fp", "fn")} | {"dice": float(result.get("sq_dsc", "nan"))}


def brats_2023(path: str):
    """Lesion-wise Dice and HD95, and the lesions found, missed and false, for two of the challenges."""
    tool = _load(path)
    for prediction, truth, spacing in read_masks():
        yield {challenge: tool(prediction, truth, spacing, challenge) for challenge in ("BraTS-GLI", "BraTS-MET")}


def _load(path: str):
    """The challenge's function, with its files replaced by arrays."""
    import surface_distance as distances

    package = types.ModuleType("brats_2023_metrics")
    package.surface_distance = distances
    sys.modules |= {"brats_2023_metrics": package, "brats_2023_metrics.surface_distance": distances}
    next(surface_distance())  # for the attributes that it sets
    spec = importlib.util.spec_from_file_location("brats_metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # pandas can no longer compare a column of arrays; only the column of HD95 holds infinities.
    module.pd.DataFrame.replace = lambda self, old, new: self.assign(
        hd95_lesion_wise=[new if value == old else value for value in self["hd95_lesion_wise"]]
    )
    compute = distances.compute_surface_distances
    distances.compute_surface_distances = lambda *args: compute(args[0] != 0, args[1] != 0, args[2])

    class Image:
        def __init__(self, array, spacing):
            self._array, self.header = array, types.SimpleNamespace(get_zooms=lambda: spacing)

        def get_fdata(self):
            return 3.0 * self._array

    def score(prediction, truth, spacing, challenge):
        module.nib = types.SimpleNamespace(load=lambda which: Image({"p": prediction, "t": truth}[which], spacing))
        row = module.get_lesion_wise_results("p", "t", challenge).set_index("Labels").loc["ET"]
        names = ("Lesion_Wise_Score_Dice", "Lesion_Wise_Score_HD95", "Num_TP", "Num_FN", "Num_FP")
        return [float(row[name]) for name in names]

    return score


TOOLS = {
    "surface-distance": (surface_distance, ("surface-distance", "numpy", "scipy")),
    "monai": (monai, ("monai", "torch", "numpy")),
    "calibration": (calibration, ("monai", "torch", "numpy")),
    "meshmetrics": (meshmetrics, ("pymeshmetrics", "vtk", "numpy")),
    "panoptica": (panoptica, ("panoptica", "connected-components-3d", "numpy")),
    "brats-2023": (brats_2023, ("surface-distance", "connected-components-3d", "numpy", "scipy")),
}

if __name__ == "__main__":
    if sys.argv[1] == "masks":
        write_masks()
    else:
        make, packages = TOOLS[sys.argv[1]]
        rows = list(make(*sys.argv[2:]))
        versions = {name: importlib.metadata.version(name) for name in packages}
        text = json.dumps({"versions": versions, "pairs": rows}).replace("}, {", "},\n{")
        (HERE / f"{sys.argv[1]}.json").write_text(text + "\n", encoding="utf-8")
