"""A double is marked as one by every kind of device and in the precision study's speeds."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.study.speed_program import time_in_own_process
from tests.devices.ascend_models import DOUBLE, ROOT, SIDE

OPENED = """
with open_device(sys.argv[1], "ascend310p3", devices={devices}) as device:
    print(type(device).__name__, device.simulated)
"""


@pytest.mark.parametrize(("devices", "kind"), [("None", "SessionDevice"), ("[0, 1]", "DevicePool")])
def test_a_device_on_the_double_of_acl_is_marked_simulated(static_om, on_double, devices, kind):
    ran = on_double(OPENED.format(devices=devices), static_om)
    assert ran.code == 0, ran.output
    assert f"{kind} True" in ran.output


def test_speeds_of_the_precision_study_are_marked_simulated(static_om, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{DOUBLE / 'python'}")
    np.save(tmp_path / "sample.npy", np.zeros((1, 2, SIDE, SIDE, SIDE), np.float32))
    (speed,) = time_in_own_process(static_om, "ascend310p3", {}, tmp_path / "sample.npy", "image", [2], 0.001)
    assert speed["simulated"] is True and speed["batch"] == 2
