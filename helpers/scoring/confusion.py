"""A streaming confusion matrix over classes, and the IoU and accuracies that mmsegmentation reports.

Definitions as open-mmlab/mmsegmentation, mmseg/core/evaluation/metrics.py: sums over all pixels of all
images first, ratios afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.errors import DataError


@dataclass(frozen=True)
class SegmentationScores:
    """Scores in [0, 1]; per-class tuples are NaN where a class gives no ratio.

    `iou`: intersection over union, NaN for a class neither labelled nor predicted; `acc`: recall, NaN for a
    class not labelled; `miou` and `macc`: their means without the NaN; `aacc`: share of right pixels;
    `miou_present`: mean IoU over the classes that are labelled, so that a class predicted by mistake costs
    the classes it was taken from and does not count as a class of its own.
    """

    iou: tuple[float, ...]
    acc: tuple[float, ...]
    miou: float
    macc: float
    aacc: float
    miou_present: float


class ConfusionMatrix:
    """Counts of pixels, labelled class by row and predicted class by column, over any number of images."""

    def __init__(self, num_classes: int, ignore_index: int = 255):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Adds one image; pixels whose label is the ignore index are left out.

        Args:
            prediction: integer classes of any shape, all below `num_classes`.
            label: integer classes of the same shape.

        Raises:
            DataError: the shapes differ, or a counted pixel holds a class out of range.
        """
        if prediction.shape != label.shape:
            raise DataError("prediction and label differ in shape", received=prediction.shape, expected=label.shape)
        counted = label != self.ignore_index
        predicted = prediction[counted].astype(np.int64)
        labelled = label[counted].astype(np.int64)
        for name, classes in (("prediction", predicted), ("label", labelled)):
            if classes.size and (classes.min() < 0 or classes.max() >= self.num_classes):
                raise DataError(
                    f"the {name} holds classes out of range",
                    received=f"{classes.min()} to {classes.max()}",
                    expected=f"0 to {self.num_classes - 1}, or {self.ignore_index} to ignore in a label",
                )
        cells = np.bincount(labelled * self.num_classes + predicted, minlength=self.num_classes**2)
        self.counts += cells.reshape(self.counts.shape)

    def merge(self, other: ConfusionMatrix) -> None:
        """Adds another matrix's counts.

        Raises:
            DataError: the other matrix has another number of classes.
        """
        if other.num_classes != self.num_classes:
            raise DataError(
                "matrices of different classes do not add up",
                received=other.num_classes,
                expected=self.num_classes,
            )
        self.counts += other.counts

    def scores(self) -> SegmentationScores:
        """The scores of all that was counted; NaN throughout when nothing was."""
        right = np.diag(self.counts).astype(np.float64)
        labelled, predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        iou, acc = _ratio(right, labelled + predicted - right), _ratio(right, labelled)
        return SegmentationScores(
            iou=tuple(iou.tolist()),
            acc=tuple(acc.tolist()),
            miou=_mean(iou),
            macc=_mean(acc),
            aacc=float(_ratio(right.sum(), labelled.sum())),
            miou_present=_mean(iou[labelled > 0]),
        )


def _ratio(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    out = np.full(np.shape(part), np.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
