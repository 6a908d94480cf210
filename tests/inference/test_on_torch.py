"""The sliding window on a torch device equals the one on the host (tested on torch's CPU device)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.errors import DeviceError  # noqa: E402
from helpers.inference import WindowPlan, as_predictor, infer_job, infer_scores, label_volume  # noqa: E402
from helpers.inference.on_torch import TorchNetwork, TorchWindows  # noqa: E402

CASES = [
    ((23, 40, 37), (8, 16, 16), {}),
    ((5, 40, 9), (8, 16, 16), {}),  # smaller than the window in two axes
    ((9, 30, 33), (16, 20), {"mirror_axes": (0, 1)}),
    ((20, 24, 24), (8, 16, 16), {"mirror_axes": (0, 2), "activation": "softmax", "batch_size": 5}),
    ((13, 20, 20), (6, 10, 10), {"tile_step_size": 0.25, "gaussian": False, "batch_size": 3}),
    ((9, 30, 33), (8, 16, 16), {"region_labels": (2, 3, 1), "activation": "sigmoid", "threshold": 0.6}),
    ((6, 1, 2), (6, 1, 2), {"tile_step_size": 0.3}),  # positions repeat
]


def answer(batch):
    """Three classes that depend on content and place."""
    xp = torch if isinstance(batch, torch.Tensor) else np
    place = xp.sin(xp.arange(batch.shape[-1]) * 1.0)
    rows = xp.cos(xp.arange(batch.shape[-2]) * 1.0)
    scores = [batch[:, 0] * (index + 1) + place * index + rows[:, None] for index in range(3)]
    stacked = xp.stack(scores, 1)
    return stacked.to(torch.float32) if xp is torch else stacked.astype(np.float32)


class OnTorch:
    name, simulated, fixed_batches = "torch", False, False
    torch_network = TorchNetwork(answer, "cpu")
    max_in_flight = 1

    def submit(self, batch):
        raise AssertionError("batches of the host are not used")

    def recovered_errors(self):
        return []


@pytest.mark.parametrize(("shape", "window", "options"), CASES)
@pytest.mark.parametrize("target", [None, (11, 31, 29)])
def test_labels_and_scores_equal_those_of_the_host(shape, window, options, target):
    volume = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
    plan = WindowPlan(window, 3, target_shape=target, **options)
    wanted = np.concatenate([slab.scores for slab in infer_scores(volume, as_predictor(answer), plan)], axis=1)
    found = np.concatenate([slab.scores for slab in infer_scores(volume, OnTorch(), plan)], axis=1)
    assert np.abs(found - wanted).max() <= 1e-5 * np.ptp(wanted)
    ordered = np.sort(wanted, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5 * np.ptp(wanted)
    labels = infer_job(volume, OnTorch(), plan)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels[clear], infer_job(volume, as_predictor(answer), plan)[clear])


def test_one_class_is_cut_at_a_half():
    volume = np.random.default_rng(0).standard_normal((1, 9, 20, 20), dtype=np.float32)
    plan = WindowPlan((4, 8, 8), 1, activation="sigmoid")
    found = TorchWindows(volume, TorchNetwork(lambda batch: batch, "cpu"), plan).label()
    assert np.array_equal(found, label_volume(volume, as_predictor(lambda batch: batch), plan))
    assert 0.3 < found.mean() < 0.7


def test_other_shapes_and_nan_are_refused():
    volume = np.zeros((1, 8, 8, 8), np.float32)
    with pytest.raises(DeviceError, match="another shape"):
        TorchWindows(volume, TorchNetwork(lambda batch: batch, "cpu"), WindowPlan((4, 4, 4), 2)).label()
    with pytest.raises(DeviceError, match="not finite"):
        TorchWindows(volume, TorchNetwork(lambda batch: batch * torch.nan, "cpu"), WindowPlan((4, 4, 4), 1)).label()


def test_autocast_reaches_the_network():
    seen = []

    def network(batch):
        seen.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return batch

    on_torch = TorchNetwork(network, "cpu", torch.bfloat16)
    TorchWindows(np.zeros((1, 4, 4, 4), np.float32), on_torch, WindowPlan((4, 4, 4), 1)).label()
    assert seen == [torch.bfloat16]


def test_a_device_predictor_passes_the_network_on():
    from helpers.inference.predictor import DevicePredictor

    spec = SimpleNamespace(name="a", dtype="float32")
    device = SimpleNamespace(name="d", inputs=[spec], outputs=[spec], max_in_flight=1, simulated=False)
    device.torch_network = (answer, "cpu", None)
    assert DevicePredictor(device, "a", "a").torch_network == TorchNetwork(answer, "cpu")
    device.torch_network = None
    assert DevicePredictor(device, "a", "a").torch_network is None
