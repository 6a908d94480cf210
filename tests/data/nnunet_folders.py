"""Model folders in the form that each version of nnU-Net writes, for tests."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

LIVER_STATISTICS = {"mean": 99.4, "sd": 39.4, "percentile_00_5": -17.0, "percentile_99_5": 201.0}


def v1_plans(dims: int = 3, stages: int = 1, modality: str = "CT") -> dict:
    """The content of plans.pkl, numpy numbers and arrays where v1 leaves them."""
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
        del full["architecture"]
        full |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 320,
            "n_conv_per_stage_encoder": [2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2],
            "num_pool_per_axis": [1, 2, 2],
            "pool_op_kernel_sizes": network["strides"],
            "conv_kernel_sizes": network["kernel_sizes"],
        }
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


def v2_dataset() -> dict:
    """The content of dataset.json."""
    labels = {"background": 0, "liver": 1, "cancer": 2}
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}


def write_v1(root: Path, state: dict, folds: int = 1, plans: dict | None = None, stage: int = 0) -> Path:
    """A v1 model folder; returns it."""
    plans = plans or v1_plans()
    folder = root / "nnUNetTrainerV2__nnUNetPlansv2.1"
    folder.mkdir(parents=True)
    (folder / "plans.pkl").write_bytes(pickle.dumps(plans))
    for fold in range(folds):
        path = folder / f"fold_{fold}" / "model_final_checkpoint.model"
        path.parent.mkdir()
        content = {"epoch": 1000, "state_dict": state, "optimizer_state_dict": None, "lr_scheduler_state_dict": None}
        torch.save(content | {"plot_stuff": ([1.0], [np.float64(0.5)], [], [])}, path)
        arguments = ("plans.pkl", fold, "out", "data", True, stage, True, False, True)
        about = {"init": arguments, "name": "nnUNetTrainerV2", "class": "<class>", "plans": plans}
        Path(f"{path}.pkl").write_bytes(pickle.dumps(about))
    return folder


def write_v2(root: Path, state: dict, folds: int = 1, mirrors: tuple[int, ...] | None = (0, 1, 2)) -> Path:
    """A v2 model folder; returns it."""
    folder = root / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(v2_plans()))
    (folder / "dataset.json").write_text(json.dumps(v2_dataset()))
    for fold in range(folds):
        path = folder / f"fold_{fold}" / "checkpoint_final.pth"
        path.parent.mkdir()
        arguments = {
            "plans": v2_plans(),
            "configuration": "3d_fullres",
            "fold": fold,
            "dataset_json": v2_dataset(),
            "device": torch.device("cpu"),
        }
        content = {
            "network_weights": state,
            "optimizer_state": {},
            "grad_scaler_state": None,
            "logging": {"train_losses": [np.float32(0.1)], "epoch_start_timestamps": [1.0]},
            "_best_ema": np.float64(0.9),
            "current_epoch": 1000,
            "init_args": arguments,
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": mirrors,
        }
        torch.save(content, path)
    return folder
