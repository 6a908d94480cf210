"""Opens a compiled model on a target: in this process, in a worker of another interpreter, or on several chips."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.devices.base import Device, TensorSpec, device_error
from helpers.devices.pool import DevicePool
from helpers.devices.worker import WorkerDevice, count_devices
from helpers.errors import DeviceError

if TYPE_CHECKING:
    from helpers.params.targets import Target


class LocalDevice(Device):
    """Wraps a session of `helpers.devices.sessions`.

    Attributes:
        torch_network: (module, torch's device, autocast dtype) of a network on a GPU, else None.
    """

    def __init__(self, session, output_batch_axis: int = 0, name: str = "the device"):
        super().__init__(output_batch_axis)
        self.name = name
        self._session = session
        self.inputs = tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in session.inputs)
        self.outputs = tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in session.outputs)
        self.batches = None if session.batches is None else tuple(sorted(session.batches))
        self.max_in_flight = session.max_in_flight
        self.simulated = bool(getattr(session, "simulated", False))
        self.torch_network = getattr(session, "torch_network", None)
        for note in getattr(session, "notes", ()):
            self._note(note)

    def _run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return self._session.run(feeds)
        except Exception as error:  # ONNX Runtime's errors derive from Exception alone
            text = str(error) or type(error).__name__
            raise device_error("the device failed", text, getattr(error, "kind", None)) from error

    def _close(self) -> None:
        self._session.close()


VENDOR_MODULES = {"ascend": "acl", "magicmind": "magicmind"}


def vendor_environment(runtime: str) -> dict[str, str]:
    """PYTHONPATH with the folders of this process's own that hold the runtime's module, and no others.

    CANN's set_env.sh puts `acl` on PYTHONPATH; whatever else is there belongs to this interpreter.
    """
    module = VENDOR_MODULES.get(runtime)
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    found = [folder for folder in folders if module and _holds(Path(folder), module)]
    return {"PYTHONPATH": os.pathsep.join(found)} if found else {}


def _holds(folder: Path, module: str) -> bool:
    if (folder / module).is_dir() or (folder / f"{module}.py").is_file():
        return True
    return any(folder.glob(f"{module}*.so"))


def open_device(
    path: str | Path,
    target: Target | str,
    *,
    output_batch_axis: int = 0,
    devices: str | list[int] | None = None,
    **options,
) -> Device:
    """Opens a compiled model.

    Args:
        path: what the target's compile stage made.
        target: a target or its name; `python:` in it moves the runtime into a worker of that interpreter.
        output_batch_axis: axis of the outputs that counts samples.
        devices: chips by number, "all", or None for the first; several become a pool with a worker for each.
        options: passed to the runtime: `precision`, `threads`, `max_in_flight`, ...

    Raises:
        DeviceError: the runtime is not installed, or refuses the model.
    """
    if isinstance(target, str):
        # A target that is handed over needs none of the packages that its file is read with.
        from helpers.params.targets import load_target

        target = load_target(target)
    path = Path(path).resolve()
    if not path.exists():
        raise DeviceError(f"no compiled model at {path}", remedy="Run the compile stage first.")
    options.setdefault("device", target.device)
    chips = _choose_chips(target, devices)
    if len(chips) > 1:
        open_chip = partial(_open_worker, target, path, options, output_batch_axis)
        return DevicePool(open_chip, chips, output_batch_axis)
    if chips:
        options["device_id"] = chips[0]
    if target.python:
        return _open_worker(target, path, options, output_batch_axis)
    session = _open_here(target, path, options)
    return LocalDevice(session, output_batch_axis, target.name)


def session_file(runtime: str) -> Path:
    """The session module of a runtime, as a file that another interpreter can load."""
    path = Path(__file__).parent / "sessions" / f"{runtime}_session.py"
    if not runtime.isidentifier() or not path.is_file():  # a bundle's text may be a path
        raise DeviceError(f"no device runs {runtime} yet", remedy="Choose a target with another runtime.")
    return path


def _choose_chips(target: Target, devices: str | list[int] | None) -> list[int]:
    if devices is None:
        return []
    if target.runtime not in VENDOR_MODULES:
        raise DeviceError(
            f"target {target.name} has no numbered devices",
            received=f"devices: {devices}",
            remedy="Leave `devices` out.",
        )
    if devices != "all":
        return list(devices)
    count = count_devices(_python(target), session_file(target.runtime), vendor_environment(target.runtime))
    if not count:
        raise DeviceError(f"target {target.name} finds no device", received="devices: all", remedy=target.needs)
    return list(range(count))


def _open_worker(
    target: Target, path: Path, options: dict, output_batch_axis: int, device_id: int | None = None
) -> WorkerDevice:
    chip = {} if device_id is None else {"device_id": device_id}
    return WorkerDevice(
        _python(target),
        session_file(target.runtime),
        path,
        {**options, **chip},
        output_batch_axis,
        vendor_environment(target.runtime),
    )


def _python(target: Target) -> str:
    return target.python or sys.executable


def _open_here(target: Target, path: Path, options: dict):
    session_file(target.runtime)
    module = importlib.import_module(f"helpers.devices.sessions.{target.runtime}_session")
    try:
        return module.open_session(path, **options)
    except ImportError as error:
        raise DeviceError(
            f"target {target.name} needs a module that is not installed",
            received=str(error),
            remedy=target.needs,
        ) from None
    except Exception as error:  # ONNX Runtime's errors derive from Exception alone
        lines = [line for line in str(error).splitlines() if line.strip()]
        text = lines[-1] if lines else type(error).__name__
        kind = getattr(error, "kind", None)
        remedy = None if kind else target.needs or None  # the runtime is there: what it said is the cause
        raise device_error(f"target {target.name} cannot open {path.name}", text, kind, remedy) from error
