"""The estimate follows the measured peak, impossible requests are refused at once, smaller batches are chosen."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.errors import ResourceError
from helpers.inference.budget import InferenceRequest, calibrate, estimate, fit

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

REQUESTS = [
    ((1, 128, 128, 128), (64, 64, 64), 3, 1),
    ((1, 96, 256, 256), (96, 96, 96), 3, 1),
    ((4, 155, 240, 240), (64, 64, 64), 4, 1),
    ((1, 100, 320, 320), (64, 128, 128), 2, 4),
    ((1, 300, 256, 256), (48, 96, 96), 8, 1),
    ((1, 40, 512, 512), (32, 128, 128), 14, 2),
]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc (Linux)")
@pytest.mark.parametrize(("shape", "window", "classes", "batch"), REQUESTS)
def test_the_estimate_is_within_15_percent_of_the_measured_peak(shape, window, classes, batch):
    arguments = json.dumps([shape, window, classes, batch])
    done = subprocess.run([sys.executable, "-c", MEASURE, arguments], capture_output=True, text=True, check=True)
    measured = int(done.stdout)
    estimated = estimate(InferenceRequest(shape, window, classes, batch_size=batch)).ram_bytes
    assert 0.85 <= estimated / measured <= 1.15, f"estimated {estimated / 1e6:.0f} MB, measured {measured / 1e6:.0f}"


def test_64_classes_at_1024_cubed_are_refused_at_once_with_the_numbers():
    start = time.perf_counter()
    with pytest.raises(ResourceError) as refusal:
        fit(InferenceRequest((1, 1024, 1024, 1024), (128, 128, 128), 64), limit_bytes=24 << 30)
    assert time.perf_counter() - start < 1
    line = str(refusal.value)
    assert "sums 18,432 MiB" in line and "image 4,096 MiB" in line and "labels 1,024 MiB" in line
    assert "at most 24,576 MiB" in line and "less deep" in line and "\n" not in line


def test_a_smaller_batch_is_chosen_when_that_is_enough():
    request = InferenceRequest((1, 200, 200, 200), (64, 64, 64), 3, batch_size=16)
    limit = estimate(InferenceRequest((1, 200, 200, 200), (64, 64, 64), 3, batch_size=4)).ram_bytes
    assert fit(request, limit).batch_size == 4
    assert fit(request, 64 << 30) is request
    with pytest.raises(ResourceError, match="more memory than there is"):
        fit(request, 1 << 20)


def test_more_classes_windows_mirrors_and_targets_never_need_less():
    base = InferenceRequest((1, 100, 100, 100), (64, 64, 64), 2)
    least = estimate(base).ram_bytes
    for change in (
        {"classes": 3},
        {"batch_size": 2},
        {"mirrors": 8},
        {"max_in_flight": 2},
        {"target_shape": (200, 200, 200)},
        {"network_bytes": 1 << 20},
    ):
        assert estimate(InferenceRequest(**(base.__dict__ | change))).ram_bytes > least, change


def test_windows_time_and_disk_are_counted():
    found = estimate(InferenceRequest((1, 482, 512, 512), (128, 128, 128), 3, mirrors=8, seconds_per_window=0.5))
    assert found.windows == 343
    assert found.seconds == 343 * 8 * 0.5
    assert found.disk_bytes == 482 * 512 * 512
    assert "343 windows" in str(found) and "1,372 s" in str(found)
    assert estimate(InferenceRequest((1, 10, 512, 512), (320, 256), 2)).windows == 10 * 3 * 3
    assert estimate(InferenceRequest((1, 10, 5, 5), (8, 8, 8), 2)).seconds is None


def test_a_full_disk_is_refused(tmp_path, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(ResourceError, match="may not fit on the disk"):
        fit(InferenceRequest((1, 20, 20, 20), (8, 8, 8), 2), 1 << 30, tmp_path)


def test_calibration_measures_a_call():
    calls = []

    def infer(batch):
        calls.append(batch.shape)
        time.sleep(0.02)
        return batch

    kept, seconds = calibrate(infer, 2, (4, 4, 4), batch_size=2)
    assert calls == [(2, 2, 4, 4, 4)] * 2
    assert kept >= 0 and 0.009 < seconds < 0.2
