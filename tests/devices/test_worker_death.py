"""A worker's fault or death is a prompt one-line error, never a hang, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from helpers.devices.worker import WorkerDevice
from helpers.devices.worker import process as worker_process
from helpers.errors import DeviceError, ResourceError
from tests.devices.fake_worker import batch, check


def within(seconds: float, call):
    """The exception of a call, which must be raised in time."""
    caught = []

    def guarded():
        try:
            call()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"still waiting after {seconds} s"
    assert caught, "no exception"
    return caught[0]


def test_an_error_of_the_runtime_is_quoted_and_the_worker_stays_usable(open_worker):
    device = open_worker()
    with pytest.raises(DeviceError, match="RuntimeError: no such kernel"):
        device.infer({"x": batch(1, -2)})
    check(device, batch(2))


def test_a_worker_that_exits_is_an_error_with_its_last_line(open_worker):
    device = open_worker()
    check(device, batch(1))
    error = within(20, lambda: device.infer({"x": batch(1, -1)}))
    assert isinstance(error, DeviceError)
    assert "exit code 3" in str(error) and "last words" in str(error)


@pytest.mark.parametrize("count", [1, 50], ids=["same memory", "memory has to grow"])
def test_a_killed_worker_fails_every_waiting_and_every_later_call(open_worker, count):
    device = open_worker()
    check(device, batch(1))
    futures = [device.submit({"x": batch(1, -3)}) for _ in range(4)]
    time.sleep(0.3)
    os.kill(device.worker.process.pid, signal.SIGKILL)
    for future in futures:
        error = within(20, future.result)
        assert isinstance(error, DeviceError), error
    assert "signal 9" in str(within(20, futures[0].result))
    for _ in range(3):  # more than there are slots
        error = within(20, lambda: device.infer({"x": batch(count)}))
        assert isinstance(error, DeviceError) and "worker died" in str(error)
    device.close()
    device.close()


def test_a_worker_killed_while_memory_grows_is_an_error(open_worker):
    device = open_worker()
    check(device, batch(1))
    os.kill(device.worker.process.pid, signal.SIGSTOP)
    timer = threading.Timer(0.5, lambda: os.kill(device.worker.process.pid, signal.SIGKILL))
    timer.start()
    assert isinstance(within(20, lambda: device.infer({"x": batch(200)})), DeviceError)
    for count in (1, 200, 1):
        assert isinstance(within(20, lambda count=count: device.infer({"x": batch(count)})), DeviceError)


def test_an_interrupt_of_the_whole_process_group_leaves_the_worker_alive(open_worker):
    device = open_worker()
    check(device, batch(1))
    os.kill(device.worker.process.pid, signal.SIGINT)
    time.sleep(0.2)
    check(device, batch(2))


def test_the_worker_ends_when_its_parent_is_killed(fake_session_file, tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from helpers.devices.worker import WorkerDevice\n"
        f"d = WorkerDevice(sys.executable, Path({str(fake_session_file)!r}), Path('model'), {{}})\n"
        "print(d.worker.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while (
        Path(f"/proc/{worker}").exists()
        and "Z" not in Path(f"/proc/{worker}/stat").read_text(encoding="utf-8").split(") ")[1][:1]
    ):
        assert time.monotonic() < deadline, "the worker outlives its parent"
        time.sleep(0.05)


def test_a_missing_interpreter_is_named(fake_session_file):
    with pytest.raises(DeviceError, match=r"/no/such/python \(No such file or directory\)"):
        WorkerDevice("/no/such/python", fake_session_file, Path("model"), {})


@pytest.mark.parametrize(
    ("model", "said"), [("refuse", "ValueError: not a model"), ("die", "exit code 7")], ids=["refuses", "dies"]
)
def test_a_model_that_cannot_be_opened_is_one_line_and_leaves_no_process(fake_session_file, model, said):
    files_before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(DeviceError) as refusal:
        WorkerDevice(sys.executable, fake_session_file, Path(model), {})
    assert said in str(refusal.value)
    assert len(set(os.listdir("/proc/self/fd")) - files_before) == 0


def test_an_interpreter_without_the_runtime_names_the_module(tmp_path):
    (tmp_path / "s.py").write_text("import no_such_vendor_module\n", encoding="utf-8")
    with pytest.raises(DeviceError, match=r"ModuleNotFoundError.*no_such_vendor_module"):
        WorkerDevice(sys.executable, tmp_path / "s.py", Path("model"), {})


def test_full_shared_memory_moves_to_disk_and_a_full_disk_is_one_line(open_worker, monkeypatch, tmp_path):
    device, real = open_worker(), os.posix_fallocate
    full = ["/dev/shm"]

    def fallocate(handle, start, size):
        where = os.readlink(f"/proc/self/fd/{handle}")
        if any(where.startswith(folder) for folder in full):
            raise OSError(28, "No space left on device")
        real(handle, start, size)

    monkeypatch.setattr(worker_process.os, "posix_fallocate", fallocate)
    monkeypatch.setattr(worker_process.tempfile, "gettempdir", lambda: str(tmp_path))
    check(device, batch(2))
    full.append(str(tmp_path))
    with pytest.raises(ResourceError, match="No space left"):
        device.infer({"x": batch(50)})
    check(device, batch(2))
    assert not list(tmp_path.glob("cookbook-*"))
