"""Model folders of official size, written by nnU-Net itself: its fingerprint, its planner, its trainer's checkpoints.

    python benchmarks/nnunet_folders.py FOLDER

Weights are seeded random ones. Each of the two data sets has two training cases and ten cases to segment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.seeded import randomise_norms  # noqa: E402

# Data set -> configuration, folds, shape (Z, Y, X) and spacing in mm (Z, Y, X) of its scans.
DATA_SETS = {
    "Dataset901_Slices": ("2d", 1, (24, 320, 256), (2.7, 1.25, 1.25)),
    "Dataset902_Volumes": ("3d_fullres", 2, (64, 96, 96), (1.5, 1.5, 1.5)),
}
CASES = 10


def main() -> None:
    """Writes both data sets and their models."""
    root = Path(sys.argv[1]).resolve()
    for name in DATA_SETS:
        write_folder(root, name)
        sys.stdout.write(f"{model_folder(root, name)}\n")


def write_folder(root: Path, name: str) -> None:
    """Writes a data set, lets nnU-Net plan it, and saves a checkpoint of each fold with its own trainer."""
    if (model_folder(root, name) / "plans.json").is_file():
        return
    environment = {variable: str(root / variable) for variable in _VARIABLES}
    for folder in environment.values():
        Path(folder).mkdir(parents=True, exist_ok=True)
    _write_raw(root / "nnUNet_raw" / name, name)
    number = name[7:10]
    for arguments in (
        ["-c", _ENTRY.format("extract_fingerprint"), "-d", number, "-np", "2"],
        ["-c", _ENTRY.format("plan_experiment"), "-d", number],
        [__file__, "--checkpoints", name],
    ):
        subprocess.run([sys.executable, *arguments], env={**os.environ, **environment}, check=True)


def model_folder(root: Path, name: str) -> Path:
    """The folder that `nnUNetv2_predict_from_modelfolder -m` takes."""
    return root / "nnUNet_results" / name / f"nnUNetTrainer__nnUNetPlans__{DATA_SETS[name][0]}"


def images(root: Path, name: str) -> Path:
    """The folder of the cases to segment."""
    return root / "nnUNet_raw" / name / "imagesTs"


_ENTRY = "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import {0}_entry; {0}_entry()"
_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def _write_raw(folder: Path, name: str) -> None:
    import SimpleITK
    from scipy.ndimage import gaussian_filter

    _, _, shape, spacing = DATA_SETS[name]
    random = np.random.default_rng(0)
    files = [(f"imagesTr/train_{index}_0000", f"labelsTr/train_{index}") for index in range(2)]
    files += [(f"imagesTs/case_{index:02d}_0000", "") for index in range(CASES)]
    for image, label in files:
        smooth = gaussian_filter(random.standard_normal(shape), 6)
        scan = (smooth * 4000 + random.normal(300, 20, shape)).astype(np.int16)
        for path, array in ((image, scan), (label, (smooth > smooth.mean()).astype(np.uint8))):
            if path:
                picture = SimpleITK.GetImageFromArray(array)
                picture.SetSpacing(tuple(reversed(spacing)))
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                SimpleITK.WriteImage(picture, str(folder / f"{path}.nii.gz"), True)
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "atrium": 1}}
    content |= {"numTraining": 2, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def _save_checkpoints(name: str) -> None:
    """Runs in a process that has nnU-Net's variables."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / name  # noqa: SIM112 (nnU-Net sets this name)
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    dataset = json.loads((preprocessed / "dataset.json").read_text(encoding="utf-8"))
    configuration, folds, _, _ = DATA_SETS[name]
    os.environ["nnUNet_compile"] = "f"  # noqa: SIM112 (nnU-Net reads this name)
    prepared = preprocessed / f"nnUNetPlans_{configuration}"  # the trainer reads its data format off the files in it
    prepared.mkdir(exist_ok=True)
    (prepared / "train_0.b2nd").touch()
    for fold in range(folds):
        torch.manual_seed(fold)
        trainer = nnUNetTrainer(
            {**plans, "continue_training": False}, configuration, fold, dataset, device=torch.device("cpu")
        )
        trainer.initialize()
        randomise_norms(trainer.network)
        folder = Path(trainer.output_folder)
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("plans.json", "dataset.json"):
            content = plans if file.startswith("plans") else dataset
            (folder.parent / file).write_text(json.dumps(content, indent=1), encoding="utf-8")
        trainer.save_checkpoint(str(folder / "checkpoint_final.pth"))


if __name__ == "__main__":
    if sys.argv[1] == "--checkpoints":
        _save_checkpoints(sys.argv[2])
    else:
        main()
