"""The estimate follows the measured peak; impossible requests are refused immediately; smaller batches are chosen."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.errors import ResourceError
from helpers.inference import WindowPlan, as_predictor, budget, infer_job
from helpers.inference.budget import estimate_memory, fit_to_memory

MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from helpers.inference import sliding_window
shape, window, classes, batch = json.loads(sys.argv[1])
def field(name):
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
def infer(windows):
    return np.full((windows.shape[0], classes, *windows.shape[2:]), 0.5, np.float32)
sliding_window(np.zeros((1, 8, 8, 8), np.float32), infer, (4, 4, 4), classes=classes)
Path("/proc/self/clear_refs").write_text("5")
start = field("VmRSS")
volume = np.full(shape, 0.5, np.float32)
sliding_window(volume, infer, window, classes=classes, batch_size=batch)
sys.stdout.write(str(field("VmHWM") - start))
"""

RESAMPLE = """
import sys
from pathlib import Path
import numpy as np
from helpers.data.nnunet.resample import resample_image
def field(name):
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
image = np.ones((2, 16, 64, 64), np.float32)
resample_image(image, (16, 64, 70), None)
Path("/proc/self/clear_refs").write_text("5")
start = field("VmRSS")
resample_image(image, (64, 400, 400), None)
sys.stdout.write(str(field("VmHWM") - start))
"""

VOLUMES = [
    ((1, 128, 128, 128), (64, 64, 64), 3, 1),
    ((1, 96, 256, 256), (96, 96, 96), 3, 1),
    ((4, 155, 240, 240), (64, 64, 64), 4, 1),
    ((1, 100, 320, 320), (64, 128, 128), 2, 4),
    ((1, 300, 256, 256), (48, 96, 96), 8, 1),
    ((1, 40, 512, 512), (32, 128, 128), 14, 2),
]


def image_of(*shape: int) -> np.ndarray:
    """An image that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc (Linux)")
@pytest.mark.parametrize(("shape", "window", "classes", "batch"), VOLUMES)
def test_the_estimate_is_within_15_percent_of_the_measured_peak(shape, window, classes, batch):
    arguments = json.dumps([shape, window, classes, batch])
    done = subprocess.run([sys.executable, "-c", MEASURE, arguments], capture_output=True, text=True, check=True)
    measured = int(done.stdout)
    estimated = estimate_memory(shape, WindowPlan(window, classes, batch_size=batch)).ram_bytes
    assert 0.85 <= estimated / measured <= 1.15, f"estimated {estimated / 1e6:.0f} MB, measured {measured / 1e6:.0f}"


def test_64_classes_at_1024_cubed_are_refused_at_once_with_the_numbers():
    image = image_of(1, 1024, 1024, 1024)
    start = time.perf_counter()
    with pytest.raises(ResourceError) as refusal:
        fit_to_memory(image, WindowPlan((128, 128, 128), 64), limit_bytes=20 << 30)
    assert time.perf_counter() - start < 1
    line = str(refusal.value)
    assert "sums 18,432 MiB" in line and "image 4,096 MiB" in line and "labels 1,024 MiB" in line
    assert "at most 24,576 MiB" in line and "shallower window" in line and "\n" not in line


def test_a_smaller_batch_is_chosen_when_that_is_enough():
    image, plan = image_of(1, 200, 200, 200), WindowPlan((64, 64, 64), 3, batch_size=16)
    limit = estimate_memory(image.shape, replace(plan, batch_size=4)).ram_bytes - image.nbytes
    with pytest.warns(UserWarning, match="using 4"):
        assert fit_to_memory(image, plan, limit_bytes=limit).batch_size == 4
    assert fit_to_memory(image, plan, limit_bytes=64 << 30) is plan
    with pytest.raises(ResourceError, match="not enough memory"):
        fit_to_memory(image, plan, limit_bytes=1 << 20)


def test_the_estimate_and_a_reduced_batch_reach_the_projects_log(caplog):
    image, plan = image_of(1, 200, 200, 200), WindowPlan((64, 64, 64), 3, batch_size=16)
    limit = estimate_memory(image.shape, replace(plan, batch_size=4)).ram_bytes - image.nbytes
    with caplog.at_level(logging.INFO, "cookbook"), pytest.warns(UserWarning, match="using 4"):
        fit_to_memory(image, plan, limit_bytes=limit)
    levels = {record.message: record.levelname for record in caplog.records if record.name == "cookbook"}
    need = estimate_memory(image.shape, replace(plan, batch_size=4))
    assert levels == {
        f"estimated inference: {need}": "INFO",
        "batch size 16 does not fit in memory; using 4": "WARNING",
    }


def test_too_little_memory_is_refused_before_the_network_runs(monkeypatch):
    monkeypatch.setattr(budget, "available_ram_bytes", lambda: 1000)
    batches: list[np.ndarray] = []

    def network(batch: np.ndarray) -> np.ndarray:
        batches.append(batch)
        return np.zeros((len(batch), 2, *batch.shape[2:]), np.float32)

    with pytest.raises(ResourceError, match="not enough memory"):
        infer_job(np.zeros((1, 16, 16, 16), np.float32), as_predictor(network), WindowPlan((8, 8, 8), 2))
    assert batches == []


def test_more_classes_batches_mirrors_calls_and_targets_never_need_less():
    shape, plan = (1, 100, 100, 100), WindowPlan((64, 64, 64), 2)
    least = estimate_memory(shape, plan).ram_bytes
    for change in (
        {"classes": 3},
        {"batch_size": 2},
        {"mirror_axes": (0, 1, 2)},
        {"target_shape": (200, 200, 200)},
    ):
        assert estimate_memory(shape, replace(plan, **change)).ram_bytes > least, change
    assert estimate_memory(shape, plan, max_in_flight=2).ram_bytes > least


def test_windows_are_counted():
    found = estimate_memory((1, 482, 512, 512), WindowPlan((128, 128, 128), 3, mirror_axes=(0, 1, 2)))
    assert found.windows == 343
    assert "343 windows" in str(found)
    assert estimate_memory((1, 10, 512, 512), WindowPlan((320, 256), 2)).windows == 10 * 3 * 3
    assert estimate_memory((1, 10, 5, 5), WindowPlan((8, 8, 8), 2)).windows == 2


def test_a_resampling_that_does_not_fit_is_refused_with_both_sizes():
    shape, spacing, resampled = (1, 24, 80, 80), (50.0, 50.0, 50.0), (1, 876, 3200, 3200)
    with pytest.raises(ResourceError) as caught:
        budget.check_memory_of_resampling(shape, spacing, resampled, limit_bytes=16 << 30)
    line = caught.value.line()
    assert "24 x 80 x 80 voxels of 50 x 50 x 50 mm become 876 x 3200 x 3200, 34,240 MiB" in line
    assert "at most 16,384 MiB" in line and "it is in mm" in line
    budget.check_memory_of_resampling(shape, (1.5, 1.0, 1.0), (1, 26, 64, 64), limit_bytes=16 << 20)


def test_the_bytes_of_a_resampling_are_not_overestimated():
    """The refusal must not hit a volume that would have fitted: the measured peak is at least the estimate."""
    done = subprocess.run([sys.executable, "-c", RESAMPLE], capture_output=True, text=True, check=True, timeout=120)
    estimate = 4 * (2 * 64 * 400 * 400 + 64 * 64 * 64)  # both channels, and one resampled along its depth
    assert estimate <= int(done.stdout) * 1.05 and int(done.stdout) <= 1.3 * estimate


def test_the_largest_layer_is_found_from_shapes_alone():
    import torch

    from helpers.inference.on_torch import largest_layer_bytes

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 1))
    assert largest_layer_bytes(network, (1, 3, 100_000, 100_000)) == 4 * (8 + 8) * 100_000**2
    assert next(network.parameters()).device.type == "cpu"
    assert largest_layer_bytes(network, (1, 5, 8, 8)) == 0  # the network itself says that it wants 3 channels


def test_a_network_that_does_not_fit_is_refused_with_both_sizes():
    with pytest.raises(ResourceError, match=r"input of 1 x 3 x 9 x 9.*2 MiB for its largest layer.*at most 1 MiB"):
        budget.check_memory_of_network(2 << 20, (1, 3, 9, 9), limit_bytes=1 << 20)
    budget.check_memory_of_network(1 << 20, (1, 3, 9, 9), limit_bytes=1 << 20)
