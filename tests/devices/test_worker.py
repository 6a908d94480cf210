"""A device in another interpreter answers as one here does, and its death is an error, never a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from helpers.devices import open_device
from helpers.devices.worker import WorkerDevice, shared_file
from helpers.errors import CookbookError, DeviceError, ResourceError
from helpers.params.targets import load_target

# A runtime in numpy: 2 x + 1 and the sum over channels; the first value of a sample says how to misbehave.
SESSION = """
import os, sys, time
import numpy as np

class Session:
    inputs = [("x", "float32", [None, 2, 4, 5])]
    outputs = [("y", "float32", [None, 2, 4, 5]), ("total", "float64", [None, None, None])]
    batches = None

    def __init__(self, path, max_in_flight=2, batches=None, noise=False, device="CPU"):
        print("opening", path)
        self.max_in_flight, self.batches, self.noise = max_in_flight, batches, noise
        if path.endswith("refuse"):
            raise ValueError("not a\\nmodel")
        if path.endswith("die"):
            os._exit(7)

    def run(self, feeds):
        x = feeds["x"]
        order = x.flat[0]
        if self.noise:
            print("{\\"done\\": 0}", flush=True)
            os.write(1, b"from the depths\\n")
        if order == -1:
            sys.stderr.write("last words\\n")
            sys.stderr.flush()
            os._exit(3)
        if order == -2:
            raise RuntimeError("no such kernel")
        if order == -3:
            time.sleep(60)
        time.sleep(0.005 * (int(order) % 4))
        return {"y": 2 * x + 1, "total": x.astype(np.float64).sum(axis=1)}

    def close(self):
        print("closing")

def open_session(path, **options):
    return Session(path, **options)
"""


def shared_files() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("cookbook-")}


@pytest.fixture
def session_file(tmp_path) -> Path:
    path = tmp_path / "fake_session.py"
    path.write_text(SESSION, encoding="utf-8")
    return path


@pytest.fixture
def opened(session_file):
    """Opens workers, closes them at the end, and looks for what they leave behind."""
    before, devices = shared_files(), []

    def open_worker(model="model", environment=None, **options):
        device = WorkerDevice(sys.executable, session_file, Path(model), options, environment=environment)
        devices.append(device)
        return device

    yield open_worker
    for device in devices:
        device.close()
        assert device._process.ended
    assert shared_files() <= before


def batch(count: int, first: float = 0.0) -> np.ndarray:
    x = np.random.default_rng(count).standard_normal((count, 2, 4, 5), dtype=np.float32)
    x.flat[0] = first
    return x


def check(device, x: np.ndarray) -> None:
    answer = device.infer({"x": x})
    assert np.array_equal(answer["y"], 2 * x + 1)
    assert np.array_equal(answer["total"], x.astype(np.float64).sum(axis=1))


def within(seconds: float, call):
    """The exception of a call, which must come in time."""
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


def test_answers_are_right_while_the_batch_grows_and_shrinks(opened):
    device = opened()
    assert [(t.name, t.shape) for t in device.inputs] == [("x", (None, 2, 4, 5))]
    assert device.interpreter.startswith(f"Python {sys.version.split()[0]}, numpy")
    for count in (1, 7, 2, 64, 3, 300, 1):
        check(device, batch(count))


def test_answers_outlive_the_next_call_and_the_device(opened):
    device = opened()
    first = device.infer({"x": batch(2, 5)})["y"]
    copy = first.copy()
    device.infer({"x": batch(2, 9)})
    device.close()
    assert np.array_equal(first, copy)


def test_calls_in_flight_keep_their_answers_apart_also_while_memory_grows(opened):
    device = opened(max_in_flight=4)
    inputs = [batch(1 + (index * 7) % 23, index) for index in range(60)]
    futures = [device.submit({"x": x}) for x in inputs]
    for x, future in zip(inputs, futures, strict=True):
        assert np.array_equal(future.result(timeout=60)["y"], 2 * x + 1)


def test_a_partial_batch_is_padded_and_cut(opened):
    device = opened(batches=[4])
    assert device.batches == (4,)
    check(device, batch(3))


def test_what_the_runtime_prints_does_not_break_the_protocol(opened):
    device = opened(noise=True)
    for count in (1, 2, 3):
        check(device, batch(count))


def test_what_the_interpreter_prints_at_its_start_does_not_either(opened, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("print('welcome to this cluster', flush=True)\n")
    check(opened(environment={"PYTHONPATH": str(site)}), batch(2))


def test_our_own_environment_does_not_reach_the_worker(opened, monkeypatch, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('the wrong numpy')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    check(opened(), batch(1))


def test_an_error_of_the_runtime_is_quoted_and_the_worker_lives_on(opened):
    device = opened()
    with pytest.raises(DeviceError, match="RuntimeError: no such kernel"):
        device.infer({"x": batch(1, -2)})
    check(device, batch(2))


def test_a_worker_that_exits_is_an_error_with_its_last_line(opened):
    device = opened()
    check(device, batch(1))
    error = within(20, lambda: device.infer({"x": batch(1, -1)}))
    assert isinstance(error, DeviceError)
    assert "exit code 3" in str(error) and "last words" in str(error)


@pytest.mark.parametrize("count", [1, 50], ids=["same memory", "memory has to grow"])
def test_a_killed_worker_fails_every_call_that_waits_and_every_later_one(opened, count):
    device = opened()
    check(device, batch(1))
    futures = [device.submit({"x": batch(1, -3)}) for _ in range(4)]
    time.sleep(0.3)
    os.kill(device._process.pid, signal.SIGKILL)
    for future in futures:
        error = within(20, future.result)
        assert isinstance(error, DeviceError), error
    assert "signal 9" in str(within(20, futures[0].result))
    for _ in range(3):  # more than there are slots
        error = within(20, lambda: device.infer({"x": batch(count)}))
        assert isinstance(error, DeviceError) and "worker died" in str(error)
    device.close()
    device.close()


def test_a_worker_killed_while_memory_grows_is_an_error(opened):
    device = opened()
    check(device, batch(1))
    os.kill(device._process.pid, signal.SIGSTOP)
    timer = threading.Timer(0.5, lambda: os.kill(device._process.pid, signal.SIGKILL))
    timer.start()
    assert isinstance(within(20, lambda: device.infer({"x": batch(200)})), DeviceError)
    for count in (1, 200, 1):
        assert isinstance(within(20, lambda count=count: device.infer({"x": batch(count)})), DeviceError)


def test_an_interrupt_of_the_whole_process_group_leaves_the_worker_alive(opened):
    device = opened()
    check(device, batch(1))
    os.kill(device._process.pid, signal.SIGINT)
    time.sleep(0.2)
    check(device, batch(2))


def test_the_worker_ends_when_its_parent_is_killed(session_file, tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from helpers.devices.worker import WorkerDevice\n"
        f"d = WorkerDevice(sys.executable, Path({str(session_file)!r}), Path('model'), {{}})\n"
        "print(d._process.pid, flush=True); time.sleep(60)"
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


def test_an_interpreter_that_is_not_there_is_named(session_file):
    with pytest.raises(DeviceError, match=r"/no/such/python \(No such file or directory\)"):
        WorkerDevice("/no/such/python", session_file, Path("model"), {})


@pytest.mark.parametrize(
    ("model", "said"), [("refuse", "ValueError: not a model"), ("die", "exit code 7")], ids=["refuses", "dies"]
)
def test_a_model_that_cannot_be_opened_is_one_line_and_leaves_no_process(session_file, model, said):
    files_before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(DeviceError) as refusal:
        WorkerDevice(sys.executable, session_file, Path(model), {})
    assert said in str(refusal.value)
    assert len(set(os.listdir("/proc/self/fd")) - files_before) == 0


def test_an_interpreter_without_the_runtime_says_which_module(tmp_path):
    (tmp_path / "s.py").write_text("import no_such_vendor_module\n")
    with pytest.raises(DeviceError, match=r"ModuleNotFoundError.*no_such_vendor_module"):
        WorkerDevice(sys.executable, tmp_path / "s.py", Path("model"), {})


def test_full_shared_memory_moves_to_disk_and_a_full_disk_is_one_line(opened, monkeypatch, tmp_path):
    device, real = opened(), os.posix_fallocate
    full = ["/dev/shm"]

    def fallocate(handle, start, size):
        where = os.readlink(f"/proc/self/fd/{handle}")
        if any(where.startswith(folder) for folder in full):
            raise OSError(28, "No space left on device")
        real(handle, start, size)

    monkeypatch.setattr(shared_file.os, "posix_fallocate", fallocate)
    monkeypatch.setattr(shared_file.tempfile, "gettempdir", lambda: str(tmp_path))
    check(device, batch(2))
    full.append(str(tmp_path))
    with pytest.raises(ResourceError, match="No space left"):
        device.infer({"x": batch(50)})
    check(device, batch(2))
    assert not list(tmp_path.glob("cookbook-*"))


def test_a_feed_that_does_not_fit_never_reaches_the_worker(opened):
    with pytest.raises(CookbookError, match="wrong input names"):
        opened().infer({"z": batch(1)})


def relu_model(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, 4, 5]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("LeakyRelu", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path)
    return path


def same_as_here(python: str, path: Path) -> WorkerDevice:
    target = load_target("onnxruntime")
    elsewhere = target.model_copy(update={"python": python})
    with open_device(path, target) as here, open_device(path, elsewhere) as there:
        assert isinstance(there, WorkerDevice)
        for count in (1, 4, 40):
            feeds = {"x": batch(count)}
            assert np.array_equal(here.infer(feeds)["y"], there.infer(feeds)["y"])
    return there


def test_onnxruntime_in_a_worker_answers_as_here(tmp_path):
    same_as_here(sys.executable, relu_model(tmp_path / "model.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.8", "3.12"])
def test_onnxruntime_in_another_python_answers_as_here(tmp_path, version):
    variable = f"COOKBOOK_PYTHON_{version.replace('.', '_')}"
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no interpreter with numpy and onnxruntime")
    device = same_as_here(python, relu_model(tmp_path / "model.onnx"))
    assert device.interpreter.startswith(f"Python {version}.")
