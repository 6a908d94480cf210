"""A confusion matrix that accumulates images, and the IoU and accuracies that mmsegmentation reports from it.

The definitions are those of open-mmlab/mmsegmentation, mmseg/core/evaluation/metrics.py: sums over the pixels of all
images first, then ratios.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.errors import DataError


@dataclass(frozen=True)
class SegmentationScores:
    """Scores in [0, 1], or NaN if there is nothing to divide by.

    Attributes:
        iou: intersection over union per class; NaN for a class that is neither labelled nor predicted.
        acc: recall per class; NaN for a class that is not labelled.
        miou, macc: means of `iou` and `acc` without NaN.
        aacc: fraction of correct pixels.
        miou_present: mean IoU over labelled classes. A class that is only predicted lowers the IoU of the classes
            that it replaces, but is not counted itself.
    """

    iou: tuple[float, ...]
    acc: tuple[float, ...]
    miou: float
    macc: float
    aacc: float
    miou_present: float


class ConfusionMatrix:
    """Pixel counts over any number of images: labelled class by row, predicted class by column.

    >>> matrix = ConfusionMatrix(3)
    >>> matrix.update(prediction=np.array([0, 1, 1, 2]), label=np.array([0, 1, 2, 255]))
    >>> matrix.counts.tolist()
    [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    >>> scores = matrix.scores()
    >>> scores.iou, scores.miou, round(scores.aacc, 3)
    ((1.0, 0.5, 0.0), 0.5, 0.667)
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Adds one image; pixels labelled with the ignore index are left out.

        Args:
            prediction: integer classes of any shape, all below `num_classes`.
            label: integer classes of the same shape.

        Raises:
            DataError: the shapes differ, or a counted pixel has a class out of range.
        """
        if prediction.shape != label.shape:
            raise DataError("prediction and label differ in shape", received=prediction.shape, expected=label.shape)
        counted = label != self.ignore_index
        predicted = prediction[counted].astype(np.int64)
        labelled = label[counted].astype(np.int64)
        for name, classes in (("prediction", predicted), ("label", labelled)):
            if classes.size and (classes.min() < 0 or classes.max() >= self.num_classes):
                raise DataError(
                    f"the {name} has classes out of range",
                    received=f"{classes.min()} to {classes.max()}",
                    expected=f"0 to {self.num_classes - 1}, or {self.ignore_index} to ignore in a label",
                )
        cells = np.bincount(labelled * self.num_classes + predicted, minlength=self.num_classes**2)
        self.counts += cells.reshape(self.counts.shape)

    def scores(self) -> SegmentationScores:
        """The scores over all images so far; NaN throughout if nothing was counted."""
        correct = np.diag(self.counts).astype(np.float64)
        labelled, predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        iou, acc = _ratio(correct, labelled + predicted - correct), _ratio(correct, labelled)
        return SegmentationScores(
            iou=tuple(iou.tolist()),
            acc=tuple(acc.tolist()),
            miou=_mean(iou),
            macc=_mean(acc),
            aacc=float(_ratio(correct.sum(), labelled.sum())),
            miou_present=_mean(iou[labelled > 0]),
        )


def _ratio(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    out = np.full(np.shape(part), np.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
