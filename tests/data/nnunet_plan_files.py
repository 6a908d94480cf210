"""Plans in the form that each version of nnU-Net writes, for tests."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from helpers.data.nnunet.plan import Plan

PLAIN = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
LIVER_STATISTICS = {"mean": 99.4, "sd": 39.4, "percentile_00_5": -17.0, "percentile_99_5": 201.0}


def v1_plans(dims: int = 3, stages: int = 1, modality: str = "CT") -> dict:
    """The content of plans.pkl, with numpy numbers and arrays in the places where v1 has them."""
    patch, pool = np.array([32, 48, 40][3 - dims :]), [2] * dims
    stage = {
        "batch_size": 2,
        "num_pool_per_axis": [2] * dims,
        "patch_size": patch,
        "median_patient_size_in_voxels": np.array([90, 120, 100]),
        "current_spacing": np.array([1.5, 0.8, 0.8]),
        "original_spacing": np.array([1.5, 0.8, 0.8]),
        "do_dummy_2D_data_aug": False,
        "pool_op_kernel_sizes": [pool, pool],
        "conv_kernel_sizes": [[3] * dims] * 3,
    }
    per_stage = {
        index: {**stage, "current_spacing": stage["current_spacing"] * (stages - index)} for index in range(stages)
    }
    return {
        "num_stages": stages,
        "num_modalities": 1,
        "modalities": {0: modality},
        "normalization_schemes": OrderedDict([(0, modality)]),
        "dataset_properties": {
            "all_classes": [1, 2],
            "intensityproperties": OrderedDict(
                [(0, {name: np.float64(value) for name, value in LIVER_STATISTICS.items()})]
            ),
        },
        "original_spacings": [np.array([1.0, 0.8, 0.8])],
        "num_classes": 2,
        "all_classes": [1, 2],
        "base_num_features": 4,
        "use_mask_for_norm": OrderedDict([(0, False)]),
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "plans_per_stage": per_stage,
        "preprocessor_name": "GenericPreprocessor",
        "conv_per_stage": 2,
    }


def v2_plans(old_form: bool = False) -> dict:
    """The content of plans.json with a full-resolution and a cascade configuration."""
    network = {
        "n_stages": 3,
        "features_per_stage": [4, 8, 16],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_bias": True,
    }
    name = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    full = {
        "patch_size": [32, 48, 40],
        "spacing": [1.5, 0.8, 0.8],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
        "architecture": {"network_class_name": name, "arch_kwargs": network},
    }
    if old_form:
        full = _in_old_form(full)
    statistics = {"mean": 99.4, "std": 39.4, "percentile_00_5": -17.0, "percentile_99_5": 201.0, "median": 101.0}
    return {
        "dataset_name": "Dataset003_Liver",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
        "configurations": {
            "3d_fullres": full,
            "3d_lowres": {"inherits_from": "3d_fullres", "spacing": [3.0, 1.6, 1.6]},
        },
        "foreground_intensity_properties_per_channel": {"0": statistics},
    }


def _in_old_form(full: dict) -> dict:
    """A configuration as the first releases of v2 wrote it: the network's settings among the others."""
    network = full["architecture"]["arch_kwargs"]
    return {name: value for name, value in full.items() if name != "architecture"} | {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "num_pool_per_axis": [1, 2, 2],
        "pool_op_kernel_sizes": network["strides"],
        "conv_kernel_sizes": network["kernel_sizes"],
    }


def v2_dataset() -> dict:
    """The content of dataset.json."""
    labels = {"background": 0, "liver": 1, "cancer": 2}
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}


def v1_plans_of(plan: Plan) -> dict:
    """The content of v1's plans.pkl that is equivalent to a plan."""
    base, dims = v1_plans(len(plan.patch_size), modality="CT"), len(plan.patch_size)
    stage = base["plans_per_stage"][0] | {
        "patch_size": np.array(plan.patch_size),
        "current_spacing": np.array([1.0, *plan.spacing_mm][-3:]),
        "num_pool_per_axis": [len(plan.pools)] * dims,
        "pool_op_kernel_sizes": [list(pool) for pool in plan.pools],
        "conv_kernel_sizes": [list(kernel) for kernel in plan.kernels],
    }
    norm, labels = plan.channels[0], list(range(1, plan.n_classes))
    statistics = {"mean": norm.mean, "sd": norm.sd, "percentile_00_5": norm.low, "percentile_99_5": norm.high}
    known = {name: np.float64(value) for name, value in statistics.items() if value is not None}
    modality = "CT" if norm.scheme == "ct" else "MRI"
    return base | {
        "modalities": {0: modality},
        "normalization_schemes": OrderedDict([(0, "CT" if norm.scheme == "ct" else "nonCT")]),
        "dataset_properties": {"all_classes": labels, "intensityproperties": OrderedDict([(0, known)])},
        "num_classes": len(labels),
        "all_classes": labels,
        "base_num_features": plan.base_features,
        "plans_per_stage": {0: stage},
        "conv_per_stage": plan.n_convolutions,
    }


def _architecture_of(plan: Plan) -> dict:
    """The arguments of the network that v2 builds for a plan."""
    widths = [min(plan.base_features * 2**stage, plan.largest_width) for stage in range(len(plan.kernels))]
    dims = len(plan.patch_size)
    return {
        "n_stages": len(widths),
        "features_per_stage": widths,
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [list(kernel) for kernel in plan.kernels],
        "strides": [[1] * dims, *(list(pool) for pool in plan.pools)],
        "n_conv_per_stage": [plan.n_convolutions] * len(widths),
        "n_conv_per_stage_decoder": [plan.n_convolutions] * len(plan.pools),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def v2_plans_of(plan: Plan, network_class: str = PLAIN) -> dict:
    """The content of v2's plans.json that is equivalent to a plan."""
    norm, full = plan.channels[0], v2_plans()["configurations"]["3d_fullres"]
    full = full | {
        "data_identifier": f"nnUNetPlans_{plan.configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(plan.patch_size),
        "spacing": list(plan.spacing_mm),
        "normalization_schemes": ["CTNormalization" if norm.scheme == "ct" else "ZScoreNormalization"],
        "use_mask_for_norm": [norm.use_mask],
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "batch_dice": True,
        "architecture": {
            "network_class_name": network_class,
            "arch_kwargs": _architecture_of(plan),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    statistics = {"mean": norm.mean, "std": norm.sd, "percentile_00_5": norm.low, "percentile_99_5": norm.high}
    return v2_plans() | {
        "configurations": {plan.configuration: full},
        "foreground_intensity_properties_per_channel": {"0": statistics},
        "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner",
    }
