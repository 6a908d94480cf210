"""Configurations of MONAI bundles in the form of the model zoo, shortened to the keys that matter."""

from __future__ import annotations

import json
from pathlib import Path


def write_bundle(folder: Path, inference: dict, metadata: dict) -> Path:
    """Writes `configs/` of a bundle and returns its folder."""
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(inference), encoding="utf-8")
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    return folder


def _compose(*transforms: dict) -> dict:
    return {"_target_": "Compose", "transforms": list(transforms)}


_COMMON = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network": "$@network_def.to(@device)",
}
_SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}
_INVERT = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "nearest_interp": False}


def spleen() -> tuple[dict, dict]:
    """CT, one channel, sliding windows, softmax."""
    inference = _COMMON | {
        "network_def": {
            "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [16, 32],
            "strides": [2], "num_res_units": 2, "norm": "batch",
        },
        "preprocessing": _compose(
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1,
             "clip": True},
            {"_target_": "EnsureTyped", "keys": "image"},
        ),
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "sw_batch_size": 4, "overlap": 0.5},
        "postprocessing": _compose(
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            _INVERT,
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            _SAVE,
        ),
    }  # fmt: skip
    return inference, _metadata("Spleen CT", 1, [96, 96, 96], {"0": "background", "1": "spleen"})


def brats() -> tuple[dict, dict]:
    """MRI, four channels, sigmoid regions that a Python expression turns into labels."""
    inference = _COMMON | {
        "network_def": {"_target_": "SegResNet", "in_channels": 4, "out_channels": 3, "init_filters": 16},
        "preprocessing": _compose(
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
        ),
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [240, 240, 160], "overlap": 0.5},
        "postprocessing": _compose(
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            _INVERT,
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
            {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: torch.where(x[[2]] > 0, 4, 0)"},
            _SAVE,
        ),
    }
    return inference, _metadata("BraTS MRI", 4, [8, 8, 8], {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing"})


def whole_body() -> tuple[dict, dict]:
    """References to other keys, and a spacing that only Python can compute."""
    inference = _COMMON | {
        "displayable_configs": {"highres": True, "sw_overlap": 0.25},
        "image_key": "image",
        "pixdim": "$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        "network_def": {"_target_": "SegResNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2},
        "preprocessing": _compose(
            {"_target_": "LoadImaged", "keys": "@image_key"},
            {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@pixdim", "mode": "bilinear"},
            {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
            {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1.0, "maxv": 1.0},
        ),
        "inferer": {
            "_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "mode": "gaussian",
            "padding_mode": "replicate", "overlap": "@displayable_configs#sw_overlap",
        },
        "postprocessing": _compose({"_target_": "Activationsd", "keys": "pred", "softmax": True}, _SAVE),
    }  # fmt: skip
    return inference, _metadata("Whole body", 1, [96, 96, 96], {"0": "background", "1": "organ"})


def endoscopy() -> tuple[dict, dict]:
    """Pictures, which MONAI reads with x first."""
    inference = _COMMON | {
        "network_def": {"_target_": "FlexibleUNet", "in_channels": 3, "out_channels": 2, "spatial_dims": 2},
        "preprocessing": _compose(
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": -1},
            {"_target_": "Resized", "keys": ["image"], "spatial_size": [736, 480], "mode": ["bilinear"]},
            {"_target_": "ScaleIntensityd", "keys": ["image"]},
        ),
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": _compose(_INVERT, {"_target_": "AsDiscreted", "argmax": True, "to_onehot": 2}),
    }
    return inference, _metadata("Endoscopy", 3, [736, 480], {"0": "background", "1": "tool"})


def _metadata(name: str, channels: int, shape: list[int], classes: dict[str, str]) -> dict:
    image = {"type": "image", "num_channels": channels, "spatial_shape": shape, "dtype": "float32"}
    output = {"type": "image", "num_channels": len(classes), "channel_def": classes}
    return {
        "name": name,
        "version": "0.2.0",
        "monai_version": "1.4.0",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": output}},
    }
