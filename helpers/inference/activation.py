"""Activations over the class axis of a batch of windows (N, classes, ...)."""

from __future__ import annotations

import numpy as np


def softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax over axis 1, shifted by the largest score so that nothing overflows."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Logistic function, from tanh, which does not overflow."""
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * scores) + np.float32(1.0))


def label_threshold(activation: str | None) -> float:
    """The score above which the label of a single class is 1: 0 on a logit is 0.5 on its sigmoid."""
    return 0.5 if activation == "sigmoid" else 0.0


ACTIVATIONS = {None: lambda scores: scores, "softmax": softmax, "sigmoid": sigmoid}
