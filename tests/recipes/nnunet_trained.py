"""Model folders that nnU-Net v2 itself plans, builds and saves, small enough for tests, and its own masks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets import residual_encoder_unet_planners as resenc
from nnunetv2.inference import predict_from_raw_data as predicting
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from PIL import Image

PLANNERS = {"default": ExperimentPlanner, "M": resenc.nnUNetPlannerResEncM, "L": resenc.nnUNetPlannerResEncL}
LABELS = {
    "plain": {"labels": {"background": 0, "tumour": 1, "liver": 2}},
    "regions": {
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
        "regions_class_order": [1, 2, 3],
    },
    "ignore": {"labels": {"background": 0, "liver": 1, "cancer": 2, "ignore": 3}},
}
PICTURES = "NaturalImage2DIO"
ORIENTATIONS = ("RAS", "LPS", "LAS", "PIR")
DATASET = "Dataset501_Small"
PATCH = {2: [24, 32], 3: [8, 24, 24]}
SHAPE, SPACING_MM = (27, 34, 14), (1.1, 0.9, 2.5)  # x, y, z of an image before it is turned


@dataclass(frozen=True)
class Kind:
    """One combination: planner, configuration, labels and reader."""

    planner: str
    configuration: str
    labels: str
    reader: str

    def __str__(self) -> str:
        return f"{self.planner}-{self.configuration}-{self.labels}-{self.reader}"


@dataclass(frozen=True)
class Trained:
    """What nnU-Net wrote: its model folders by configuration, its raw data, and the file ending of the images."""

    kind: Kind
    results: Path
    images: Path
    labels: Path
    file_ending: str

    def folder(self, configuration: str | None = None) -> Path:
        """The model folder of a configuration; by default of the kind's."""
        (found,) = self.results.glob(f"{DATASET}/*__{configuration or self.kind.configuration}")
        return found

    @property
    def cases(self) -> list[str]:
        """The ids of the images."""
        return sorted(path.name.removesuffix(f"_0000{self.file_ending}") for path in self.images.iterdir())


def train(root: Path, kind: Kind, orientations: tuple[str, ...] = ORIENTATIONS) -> Trained:
    """A data set of noise below `root`, and the folder that nnU-Net makes for it, not trained."""
    is_picture = kind.reader == PICTURES
    raw, ending = root / "raw" / DATASET, ".png" if is_picture else ".nii.gz"
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    if is_picture:
        _write_pictures(raw)
    else:
        for orientation in orientations:
            _write_volume(raw, orientation, _largest(kind))
    channels = {"0": "R", "1": "G", "2": "B"} if is_picture else {"0": "CT"}
    dataset = {"channel_names": channels, **LABELS[kind.labels], "numTraining": len(orientations)}
    dataset |= {"file_ending": ending, "overwrite_image_reader_writer": kind.reader}
    (raw / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    with nnunet_folders(root):
        plans = _plan(root, kind, 3 if is_picture else 1)
        stages = ["3d_lowres"] if kind.configuration == "3d_cascade_fullres" else []
        for seed, configuration in enumerate([*stages, kind.configuration]):
            _save(root, plans, dataset, configuration, seed)
    return Trained(kind, root / "results", raw / "imagesTr", raw / "labelsTr", ending)


@contextmanager
def nnunet_folders(root: Path) -> Iterator[None]:
    """nnU-Net's variables, below `root`."""
    names = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
    with mock.patch.dict(os.environ, {name: str(root / folder) for name, folder in names.items()}):
        yield


def _plan(root: Path, kind: Kind, channels: int) -> dict:
    """The planner's own plan, with fewer stages and features and a smaller window."""
    preprocessed = root / "preprocessed" / DATASET
    preprocessed.mkdir(parents=True)
    is_picture = kind.reader == PICTURES
    statistics = {"mean": 40.0, "std": 60.0, "median": 40.0, "min": -200.0, "max": 300.0}
    statistics |= {"percentile_00_5": -120.0, "percentile_99_5": 190.0}
    fingerprint = {
        "spacings": [[999.0, 1.0, 1.0] if is_picture else [2.0, 1.0, 1.0]] * 3,
        "shapes_after_crop": [[1, 200, 240] if is_picture else [400, 1000, 1000]] * 3,
        "foreground_intensity_properties_per_channel": {str(index): statistics for index in range(channels)},
        "median_relative_size_after_cropping": 1.0,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint), encoding="utf-8")
    planner = PLANNERS[kind.planner]
    # The networks are not built to estimate their memory: that takes most of the planner's time.
    with mock.patch.object(planner, "static_estimate_VRAM_usage", return_value=1.0):
        planner(501).plan_experiment()
    plans = json.loads((preprocessed / f"{_plans_name(kind)}.json").read_text(encoding="utf-8"))
    for configuration in plans["configurations"].values():
        _shrink(configuration)
    return plans


def _plans_name(kind: Kind) -> str:
    return "nnUNetPlans" if kind.planner == "default" else f"nnUNetResEncUNet{kind.planner}Plans"


def _shrink(configuration: dict) -> None:
    if "architecture" not in configuration:
        return
    options = configuration["architecture"]["arch_kwargs"]
    options |= {"n_stages": 3, "features_per_stage": [4, 6, 8]}
    for name, count in (("kernel_sizes", 3), ("strides", 3), ("n_conv_per_stage", 3), ("n_blocks_per_stage", 3)):
        if name in options:
            options[name] = options[name][:count]
    options["n_conv_per_stage_decoder"] = options["n_conv_per_stage_decoder"][:2]
    configuration["patch_size"] = PATCH[len(configuration["patch_size"])]


def _save(root: Path, plans: dict, dataset: dict, configuration: str, seed: int) -> None:
    """A network of nnU-Net's trainer with random weights, saved by the trainer."""
    torch.manual_seed(seed)
    trainer = nnUNetTrainer(
        {**plans, "continue_training": False}, configuration, 0, dataset, device=torch.device("cpu")
    )
    data = Path(trainer.preprocessed_dataset_folder)
    data.mkdir(parents=True, exist_ok=True)
    (data / "case.b2nd").touch()  # the trainer looks for the kind of its files
    trainer.initialize()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    with torch.no_grad():
        for layer in trainer.network.decoder.seg_layers:  # scores that favour no class and differ clearly
            layer.weight[...] = 4 * (layer.weight - layer.weight.mean(1, keepdim=True))
    folder = Path(trainer.output_folder)
    for name, content in (("plans.json", plans), ("dataset.json", dataset)):
        (folder.parent / name).write_text(json.dumps(content), encoding="utf-8")
    trainer.save_checkpoint(str(folder / "checkpoint_final.pth"))


def _largest(kind: Kind) -> int:
    return 2 if kind.labels == "plain" else 3


def _write_volume(raw: Path, orientation: str, largest: int) -> None:
    """An image of smooth noise with a rim of zeros and a truth, turned to an orientation."""
    random = np.random.default_rng(ORIENTATIONS.index(orientation))
    coarse = random.normal(40, 90, [side // 3 + 1 for side in SHAPE])
    image = np.kron(coarse, np.ones((3, 3, 3)))[tuple(slice(side) for side in SHAPE)]
    image = (image + random.normal(0, 20, SHAPE)).round().astype(np.int16)
    image[:2] = image[..., -1:] = 0
    truth = (random.integers(0, largest + 1, SHAPE) * (image > 20)).astype(np.uint8)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = (-12.0, 5.0, 40.0)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(orientation))
    for folder, suffix, array in (("imagesTr", "_0000", image), ("labelsTr", "", truth)):
        turned = nibabel.Nifti1Image(array, affine).as_reoriented(turn)
        nibabel.save(turned, raw / folder / f"case_{orientation}{suffix}.nii.gz")


def _write_pictures(raw: Path) -> None:
    for index, shape in enumerate(((50, 61), (24, 40))):
        random = np.random.default_rng(index)
        coarse = random.integers(0, 256, (shape[0] // 4 + 1, shape[1] // 4 + 1, 3))
        pixels = np.kron(coarse, np.ones((4, 4, 1)))[: shape[0], : shape[1]].astype(np.uint8)
        Image.fromarray(pixels).save(raw / "imagesTr" / f"picture_{index}_0000.png")
        Image.fromarray((pixels[..., 0] > 128).astype(np.uint8)).save(raw / "labelsTr" / f"picture_{index}.png")


class TorchWithoutHalf:
    """torch as one module sees it, with float32 in place of float16."""

    half = torch.float32

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)


@contextmanager
def in_float32() -> Iterator[None]:
    """nnU-Net's sums in float32: its float16 Gaussian rounds the weights of a window's corners up to 6e-8."""
    gaussian = predicting.compute_gaussian

    def whole(*given: object, **options: object) -> torch.Tensor:
        return gaussian(*given, **{**options, "dtype": torch.float32})

    whole.cache_clear = gaussian.cache_clear
    with (
        mock.patch.object(predicting, "compute_gaussian", whole),
        mock.patch.object(predicting, "torch", TorchWithoutHalf()),
    ):
        yield


def predict(trained: Trained, to: Path, configuration: str | None = None, previous: Path | None = None) -> None:
    """nnU-Net's own masks and probabilities of every image, as files in a folder."""
    to.mkdir(parents=True, exist_ok=True)
    # nnU-Net's own pools and threads are more than a network as small as this needs.
    predictor = predicting.nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(trained.folder(configuration)), (0,), "checkpoint_final.pth")
    images = [[str(trained.images / f"{case}_0000{trained.file_ending}")] for case in trained.cases]
    outputs = [str(to / case) for case in trained.cases]
    predictor.predict_from_files_sequential(
        images,
        outputs,
        save_probabilities=True,
        folder_with_segs_from_prev_stage=None if previous is None else str(previous),
    )


def sure_voxels(folder: Path, case: str, trained: Trained, lead: float = 1e-4) -> np.ndarray:
    """Where nnU-Net's own probabilities leave no doubt, in the axes of its mask's file."""
    import pickle

    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    probabilities = np.load(folder / f"{case}.npz")["probabilities"]
    if trained.kind.labels == "regions":
        sure = (np.abs(probabilities - 0.5) >= lead).all(axis=0)
    else:
        ordered = np.sort(probabilities, axis=0)
        sure = ordered[-1] - ordered[-2] >= lead
    reader = PlansManager(str(trained.folder() / "plans.json")).image_reader_writer_class()
    path = folder / f"{case}_sure{trained.file_ending}"
    reader.write_seg(sure.astype(np.uint8), str(path), pickle.loads((folder / f"{case}.pkl").read_bytes()))
    return read_values(path) != 0


def read_grid(path: Path) -> np.ndarray:
    """The matrix from voxels to millimetres of a mask's file, rounded as its float32; a picture has none."""
    return np.eye(4) if path.name.endswith(".png") else np.round(nibabel.load(path).affine, 4)


def read_values(path: Path) -> np.ndarray:
    """The values of a mask's file, in its own axes."""
    if path.name.endswith(".png"):
        return np.asarray(Image.open(path))
    return np.asarray(nibabel.load(path).dataobj)
