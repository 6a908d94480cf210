"""One run of one contestant in a process of its own; prints its figures as one line of JSON.

The network is free: it returns one array of zeros that exists before the start. In `labels` everybody ends with the
labels of the volume, the peers by their own function for it; in `scores` the peers stop before that, and ours ends
with labels all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.measure import measure

CLASSES = 3
WINDOW = (128, 128, 128)


def sliding_ours(shape: tuple[int, ...]) -> Callable[[], object]:
    from helpers.inference import sliding_window

    # The loops are compiled on first use, as the peers' libraries are loaded before the start.
    sliding_window(np.zeros((1, 8, 8, 8), np.float32), lambda batch: np.repeat(batch, 3, 1), (4, 4, 4), classes=3)
    volume, answer = np.full((1, *shape), 0.5, np.float32), _answer()
    return lambda: sliding_window(volume, lambda batch: answer, WINDOW, classes=CLASSES)


def sliding_monai(
    shape: tuple[int, ...], labels: bool = False, buffer_steps: int | None = None
) -> Callable[[], object]:
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import AsDiscrete

    volume, answer = torch.full((1, 1, *shape), 0.5), torch.from_numpy(_answer())
    buffer = {} if buffer_steps is None else {"buffer_steps": buffer_steps, "buffer_dim": 0}
    inferer = SlidingWindowInferer(WINDOW, sw_batch_size=1, overlap=0.5, mode="gaussian", **buffer)
    to_labels = AsDiscrete(argmax=True, dtype=torch.uint8)

    def run() -> object:
        with torch.inference_mode():
            scores = inferer(volume, lambda batch: answer)
            return to_labels(scores[0]) if labels else scores

    return run


def sliding_nnunet(shape: tuple[int, ...], labels: bool = False) -> Callable[[], object]:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    class Free(torch.nn.Module):
        def forward(self, batch):
            return answer

    volume, answer = torch.full((1, *shape), 0.5), torch.from_numpy(_answer())
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.network = Free()
    predictor.configuration_manager = SimpleNamespace(patch_size=WINDOW)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=CLASSES)
    manager = LabelManager({"background": 0, "organ": 1, "lesion": 2}, None)

    def run() -> object:
        scores = predictor.predict_sliding_window_return_logits(volume)
        return manager.convert_logits_to_segmentation(scores).to(torch.uint8) if labels else scores

    return run


def resample_ours(target: tuple[int, ...]) -> Callable[[], object]:
    from helpers.inference.resample import resample_to_labels

    logits = _logits()
    return lambda: resample_to_labels(logits, target)


def resample_nnunet(target: tuple[int, ...]) -> Callable[[], object]:
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg

    logits = _logits()
    return lambda: resample_data_or_seg(logits, target, order=1).argmax(0).astype(np.uint8)


def _logits() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((CLASSES, 200, 320, 320), dtype=np.float32)


def _answer() -> np.ndarray:
    # Written, so that it lies in memory; nnU-Net scales answers in place, which only zeros survive.
    return np.full((1, CLASSES, *WINDOW), 0.0, np.float32)


CONTESTANTS = {
    "labels": {
        "ours": sliding_ours,
        "monai": partial(sliding_monai, labels=True),
        "monai buffered": partial(sliding_monai, labels=True, buffer_steps=4),
        "nnunet": partial(sliding_nnunet, labels=True),
    },
    "scores": {
        "ours": sliding_ours,
        "monai": sliding_monai,
        "monai buffered": partial(sliding_monai, buffer_steps=4),
        "nnunet": sliding_nnunet,
    },
    "resample": {"ours": resample_ours, "nnunet": resample_nnunet},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=CONTESTANTS)
    parser.add_argument("contestant")
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512))
    arguments = parser.parse_args()
    run = CONTESTANTS[arguments.benchmark][arguments.contestant](tuple(arguments.shape))
    sys.stdout.write(json.dumps(measure(run)) + "\n")


if __name__ == "__main__":
    main()
