"""The Ascend device in a worker on another Python with numpy 1 gives the same masks as here."""

from __future__ import annotations

import pytest

from tests.devices.ascend_models import SIDE
from tests.devices.other_python import other_python

PROGRAM = """
import hashlib
from helpers.devices.worker import WorkerDevice
from helpers.inference import sliding_window
from helpers.inference.predictor import DevicePredictor
from helpers.params.targets import load_target

target = load_target("ascend310p3").model_copy(update={{"python": {python!r}}})
volume = feed(1, side={side} * 2)[0]
with open_device(sys.argv[1], target, devices={devices}) as device:
    print("runs in", device.worker.interpreter if isinstance(device, WorkerDevice) else "this process")
    call = DevicePredictor(device, "image", "scores")
    labels = sliding_window(volume, call, ({side},) * 3, classes=2, batch_size=3)
assert np.array_equal(labels, np.argmax(volume, axis=0)), "wrong mask"
print("mask", hashlib.sha256(labels.tobytes()).hexdigest())
"""


def masks(on_double, model, python, devices="None") -> list[str]:
    ran = on_double(PROGRAM.format(python=python, side=SIDE, devices=devices), model)
    assert ran.code == 0, ran.output
    assert ran.reports and all(report["ok"] for report in ran.reports), ran.reports
    return ran.output.splitlines()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_numpy_1_on_another_python_gives_the_same_masks(gears_om, on_double):
    python, reason = other_python()
    if python is None:
        pytest.skip(reason)
    here = masks(on_double, gears_om, None)
    there = masks(on_double, gears_om, python)
    pool = masks(on_double, gears_om, python, "[0, 1]")
    assert "numpy 1." in there[0] and here[0] == "runs in this process"
    assert here[1] == there[1] == pool[1]
