"""Model folders in the form that each version of nnU-Net writes, for tests."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import torch

from tests.data.nnunet_plan_files import v1_plans, v2_dataset, v2_plans


def v2_names(state: dict) -> dict:
    """A plain U-Net's state dict under v2's names, every unit twice and the encoder again below the decoder."""
    plain = {_v2_name(key): value for key, value in state.items()}
    # v1 has no bias in its transposed convolutions and outputs.
    for key, weight in list(plain.items()):
        channels_axis = {"transpconvs": 1, "seg_layers": 0}.get(key.split(".")[1])
        if channels_axis is not None and key.endswith("weight"):
            plain.setdefault(key.replace("weight", "bias"), torch.zeros(weight.shape[channels_axis]))
    for key in [key for key in plain if ".convs." in key]:
        plain[key.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")] = plain[key]
    return plain | {f"decoder.{key}": value for key, value in plain.items() if key.startswith("encoder.")}


def _v2_name(key: str) -> str:
    parts = key.replace("instnorm", "norm").split(".")
    if parts[0] in ("tu", "seg_outputs"):
        return ".".join(["decoder", {"tu": "transpconvs", "seg_outputs": "seg_layers"}[parts[0]], *parts[1:]])
    half = ["decoder", "stages", parts[1]] if "localization" in key else ["encoder", "stages", parts[1], "0"]
    # v1's bottleneck and steps up are two stacks of one unit each: the stack counts.
    unit = parts[3] if parts[2] == "blocks" else parts[2]
    return ".".join([*half, "convs", unit, *parts[-2:]])


def write_v1(
    root: Path,
    state: dict | list[dict],
    folds: int = 1,
    plans: dict | None = None,
    stage: int = 0,
    trainer: str = "nnUNetTrainerV2",
) -> Path:
    """A v1 model folder; returns it. Several states are those of the folds."""
    plans = plans or v1_plans()
    states = state if isinstance(state, list) else [state] * folds
    folder = root / f"{trainer}__nnUNetPlansv2.1"
    folder.mkdir(parents=True)
    (folder / "plans.pkl").write_bytes(pickle.dumps(plans))
    for fold, weights in enumerate(states):
        path = folder / f"fold_{fold}" / "model_final_checkpoint.model"
        path.parent.mkdir()
        content = {
            "epoch": 1000,
            "state_dict": weights,
            "optimizer_state_dict": None,
            "lr_scheduler_state_dict": None,
        }
        torch.save(content | {"plot_stuff": ([1.0], [np.float64(0.5)], [], [])}, path)
        arguments = ("plans.pkl", fold, "out", "data", True, stage, True, False, True)
        about = {"init": arguments, "name": trainer, "class": "<class>", "plans": plans}
        Path(f"{path}.pkl").write_bytes(pickle.dumps(about))
    return folder


def write_v2(
    root: Path,
    state: dict | list[dict],
    folds: int = 1,
    mirrors: tuple[int, ...] | None = (0, 1, 2),
    plans: dict | None = None,
    dataset: dict | None = None,
    trainer: str = "nnUNetTrainer",
) -> Path:
    """A v2 model folder; returns it. Several states are those of the folds."""
    plans, dataset = plans or v2_plans(), dataset or v2_dataset()
    configuration = next(iter(plans["configurations"]))
    states = state if isinstance(state, list) else [state] * folds
    folder = root / f"{trainer}__nnUNetPlans__{configuration}"
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    for fold, weights in enumerate(states):
        path = folder / f"fold_{fold}" / "checkpoint_final.pth"
        path.parent.mkdir()
        arguments = {
            "plans": plans,
            "configuration": configuration,
            "fold": fold,
            "dataset_json": dataset,
            "device": torch.device("cpu"),
        }
        content = {
            "network_weights": weights,
            "optimizer_state": {},
            "grad_scaler_state": None,
            "logging": {"train_losses": [np.float32(0.1)], "epoch_start_timestamps": [1.0]},
            "_best_ema": np.float64(0.9),
            "current_epoch": 1000,
            "init_args": arguments,
            "trainer_name": trainer,
            "inference_allowed_mirroring_axes": mirrors,
        }
        torch.save(content, path)
    return folder
