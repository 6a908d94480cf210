"""Models for the tests of the Ascend device, and workers that run a session in numpy."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from helpers.devices.worker import WorkerDevice
from tests.devices.ascend_models import convert_gears, convert_static, run_on_double
from tests.devices.fake_worker import SESSION, shared_files


@pytest.fixture(scope="session")
def static_om(tmp_path_factory) -> Path:
    """Batches of two."""
    return convert_static(tmp_path_factory.mktemp("static"), 2)


@pytest.fixture(scope="session")
def gears_om(tmp_path_factory) -> Path:
    """Batches of one, two or four."""
    return convert_gears(tmp_path_factory.mktemp("gears"), 1, 2, 4)


@pytest.fixture
def on_double(tmp_path):
    """Runs a program on the double of acl and returns its output, with the reports."""
    return partial(run_on_double, folder=tmp_path)


@pytest.fixture
def fake_session_file(tmp_path) -> Path:
    path = tmp_path / "fake_session.py"
    path.write_text(SESSION, encoding="utf-8")
    return path


@pytest.fixture
def open_worker(fake_session_file):
    """Opens workers, closes them at the end, and checks that they leave nothing behind."""
    before, devices = shared_files(), []

    def open_one(model="model", environment=None, **options):
        device = WorkerDevice(sys.executable, fake_session_file, Path(model), options, environment=environment)
        devices.append(device)
        return device

    yield open_one
    for device in devices:
        device.close()
        assert device.worker.process.ended
    assert shared_files() <= before
