"""The plan of a demo's nnU-Net: how its cases are prepared, and the plans.json that describes it.

Plans: Isensee et al., "nnU-Net", Nature Methods 18 (2021). Cases are prepared as in version 1: crop to the nonzero
region, resample, then normalise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.data.nnunet.plan import ChannelNorm, Plan
from helpers.data.nnunet.preprocess import Prepared, prepare_case
from helpers.data.nnunet.resample import resample_image, resampled_shape, separate_axis
from helpers.demo.decathlon import DecathlonTask, DemoCase
from helpers.networks.nnunet import stage_widths


@dataclass(frozen=True)
class TrainingCase:
    """A prepared case, its classes (Z, Y, X) uint8 on the plan's grid, and the case itself."""

    prepared: Prepared
    classes: np.ndarray
    case: DemoCase


def measure_foreground(cases: Sequence[DemoCase]) -> dict[str, float]:
    """nnU-Net's statistics of all labelled voxels of the training images."""
    values = np.concatenate([case.image[case.labels > 0] for case in cases]).astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.5])
    figures = {"max": values.max(), "mean": values.mean(), "median": np.median(values), "min": values.min()}
    figures |= {"percentile_00_5": low, "percentile_99_5": high, "std": values.std()}
    return {name: round(float(value), 4) for name, value in figures.items()}


def make_plan(
    task: DecathlonTask,
    window: Sequence[int],
    spacing_mm: Sequence[float],
    network: dict,
    foreground: dict[str, float] | None = None,
) -> Plan:
    """The plan of a demo: CT normalisation if `foreground` is given, else the z-score of each case."""
    norm = ChannelNorm("zscore")
    if foreground:
        low, high = foreground["percentile_00_5"], foreground["percentile_99_5"]
        norm = ChannelNorm("ct", mean=foreground["mean"], sd=foreground["std"], low=low, high=high)
    pools = tuple(tuple(pool) for pool in network["pool_op_kernel_sizes"])
    dims = len(window)
    return Plan(
        version=1,
        configuration="2d" if dims == 2 else "3d_fullres",
        patch_size=tuple(window),
        spacing_mm=tuple(spacing_mm),
        transpose_forward=(0, 1, 2),
        transpose_backward=(0, 1, 2),
        channels=(norm,),
        class_names=task.labels,
        pools=pools,
        kernels=((3,) * dims,) * (len(pools) + 1),
        n_convolutions=2,
        base_features=network["base_num_features"],
        largest_width=network["max_num_features"],
    )


def prepare(case: DemoCase, plan: Plan) -> TrainingCase:
    """Prepares a case and its labels on the plan's grid; labels are resampled linearly, one class at a time."""
    prepared = prepare_case(case.image[None], case.spacing_mm, plan)
    masks = np.stack([case.labels[prepared.box] == value for value in range(plan.n_classes)])
    scores = resample_image(masks, prepared.image.shape[1:], separate_axis(*_spacings(case, plan)), 1)
    return TrainingCase(prepared, scores.argmax(axis=0).astype(np.uint8), case)


def describe_plan(plan: Plan, task: DecathlonTask, cases: Sequence[DemoCase], network_class: str, batch: int) -> dict:
    """The plan as nnU-Net v2's plans.json; `cases` are the training cases."""
    schemes = {"ct": "CTNormalization", "zscore": "ZScoreNormalization"}
    shapes = [resampled_shape(case.image.shape, *_spacings(case, plan)) for case in cases]
    configuration = {
        "data_identifier": f"nnUNetPlans_{plan.configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": batch,
        "patch_size": list(plan.patch_size),
        "median_image_size_in_voxels": np.median(shapes, axis=0)[-len(plan.patch_size) :].tolist(),
        "spacing": list(plan.spacing_mm),
        "normalization_schemes": [schemes[norm.scheme] for norm in plan.channels],
        "use_mask_for_norm": [norm.use_mask for norm in plan.channels],
        "batch_dice": True,
        "architecture": _describe_network(plan, network_class),
    }
    for what, is_seg, order in (("data", False, 3), ("seg", True, 1), ("probabilities", False, 1)):
        configuration[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        options = {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}
        configuration[f"resampling_fn_{what}_kwargs"] = options
    return {
        "dataset_name": task.folder,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": np.median([case.spacing_mm for case in cases], axis=0).tolist(),
        "original_median_shape_after_transp": np.median([case.image.shape for case in cases], axis=0).tolist(),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(plan.transpose_forward),
        "transpose_backward": list(plan.transpose_backward),
        "configurations": {plan.configuration: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": measure_foreground(cases)},
    }


def _describe_network(plan: Plan, network_class: str) -> dict:
    depth = len(plan.pools)
    arguments = {
        "n_stages": depth + 1,
        "features_per_stage": stage_widths(plan.base_features, depth, plan.largest_width),
        "kernel_sizes": [list(kernel) for kernel in plan.kernels],
        "strides": [[1] * len(plan.patch_size), *(list(pool) for pool in plan.pools)],
        "n_conv_per_stage": [plan.n_convolutions] * (depth + 1),
        "n_conv_per_stage_decoder": [plan.n_convolutions] * depth,
        "conv_bias": True,
    }
    return {"network_class_name": network_class, "arch_kwargs": arguments, "_kw_requires_import": []}


def _spacings(case: DemoCase, plan: Plan) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return case.spacing_mm, (*case.spacing_mm[: 3 - len(plan.spacing_mm)], *plan.spacing_mm)
