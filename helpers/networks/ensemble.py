"""Several folds of nnU-Net as one network, so that an ensemble is one graph for every later step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class FoldEnsemble(nn.Module):
    """The mean answer of networks of one form.

    Windows, mirrors and resampling are linear, so the mean may be taken first: version 1 of nnU-Net averages the
    folds' probabilities (nnunet/inference/predict.py), version 2 their logits (predict_from_raw_data.py).

    Args:
        members: one network a fold; each maps (N, C, ...) to logits (N, classes, ...).
        softmax: the mean is that of probabilities, which is then what the graph returns.
    """

    def __init__(self, members: Sequence[nn.Module], softmax: bool):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.softmax = softmax

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = self._answer(self.members[0], x)
        for member in self.members[1:]:
            total = total + self._answer(member, x)
        return total / len(self.members)

    def _answer(self, member: nn.Module, x: torch.Tensor) -> torch.Tensor:
        logits = member(x)
        if not self.softmax:
            return logits
        # Written out: ONNX's Softmax of opset 11 flattens the axes, and its export wraps it in transpositions.
        raised = torch.exp(logits - torch.amax(logits, 1, keepdim=True))
        return raised / raised.sum(1, keepdim=True)
