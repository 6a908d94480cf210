"""The kept answers notice what a rewrite or an export changes, at every batch size, with one run of the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from helpers.graph.export import export_network
from helpers.graph.probe import Proof, probe_batch, probe_sample
from helpers.graph.spec import GraphSpec
from helpers.graph.surgery import AxiswiseInstanceNorm
from helpers.recipes.base import LoadedModel
from helpers.stages.answers import ReferenceAnswers, prove_export, prove_rewrites

SPEC, SMALL = GraphSpec("image", "class", (1, 128, 128)), (64, 64)


class Net(nn.Module):
    def __init__(self, mixes_samples: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.mixes_samples = mixes_samples
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.InstanceNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return x + x.mean(0, keepdim=True) if self.mixes_samples else x


@dataclass
class Reference:
    """A network that counts how often it runs."""

    network: nn.Module
    runs: int = 0

    def scores(self, batch: np.ndarray) -> np.ndarray:
        self.runs += 1
        with torch.no_grad():
            return self.network(torch.from_numpy(batch)).numpy()


@pytest.fixture
def exported(tmp_path):
    """A reference, its graph, and its answers on small windows."""
    reference, path = Reference(Net().eval()), tmp_path / "net.onnx"
    export_network(reference.network, SPEC, path)
    proof, by_batch = prove_export(cast(LoadedModel, reference), path, SPEC, [SMALL, (128, 128)], 1e-3)
    assert proof.largest < 1e-5
    return reference, path, ReferenceAnswers("torch", SMALL, by_batch, reference.scores(probe_sample(SPEC)))


def test_the_reference_runs_once_for_every_batch_size(exported):
    reference, _, answers = exported
    assert reference.runs == 2  # the probe batches, and the full window
    for batch, scores in answers.by_batch.items():
        np.testing.assert_allclose(scores, reference.scores(probe_batch(SPEC, SMALL, batch)), atol=1e-5)
    assert sorted(answers.by_batch) == [1, 2]


def test_samples_that_depend_on_one_another_fail(tmp_path):
    reference, path = Reference(Net(mixes_samples=True).eval()), tmp_path / "net.onnx"
    export_network(reference.network, SPEC, path)
    proof, _ = prove_export(cast(LoadedModel, reference), path, SPEC, [SMALL, (128, 128)], 1e-3)
    assert proof.errors[1] < 1e-5 and proof.errors[0] > 1e-2


def test_a_rewrite_is_compared_with_the_answers(exported):
    _, path, answers = exported
    proof = prove_rewrites(answers, path, [AxiswiseInstanceNorm()], SPEC)
    assert proof is not None and proof[1] == 1
    assert proof[0].window == SMALL and 0 < proof[0].largest < 1e-4


def test_a_rewrite_that_changes_no_node_at_this_size_is_said(exported):
    _, path, answers = exported
    tiny = replace(answers, window=(8, 8), by_batch={})
    assert prove_rewrites(tiny, path, [AxiswiseInstanceNorm()], SPEC) == (Proof((8, 8), (), ()), 0)


def test_a_rewrite_that_changes_the_scores_is_not_proven(exported, monkeypatch):
    _, path, answers = exported
    build = AxiswiseInstanceNorm.replace

    def shifted(self, node, view):
        replacement = build(self, node, view)
        for tensor in replacement.initializers if replacement else ():
            if "epsilon" in tensor.name:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(1, np.float32), tensor.name))
        return replacement

    monkeypatch.setattr(AxiswiseInstanceNorm, "replace", shifted)
    assert prove_rewrites(answers, path, [AxiswiseInstanceNorm()], SPEC) is None


def test_answers_of_other_weights_prove_nothing(exported):
    _, path, answers = exported
    other = {batch: scores * 1.1 for batch, scores in answers.by_batch.items()}
    assert prove_rewrites(replace(answers, by_batch=other), path, [AxiswiseInstanceNorm()], SPEC) is None
