"""Opens a compiled model on a target, in this process or in a worker of another interpreter."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.devices.base import Device
from helpers.devices.local import LocalDevice
from helpers.devices.worker import WorkerDevice
from helpers.errors import DeviceError

if TYPE_CHECKING:
    from helpers.params.targets import Target


def open_device(path: str | Path, target: Target | str, *, output_batch_axis: int = 0, **options) -> Device:
    """Opens a compiled model.

    Args:
        path: what the target's compile stage made.
        target: a target or its name; `python:` in it moves the runtime into a worker of that interpreter.
        output_batch_axis: axis of the outputs that counts samples.
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
    if target.python:
        return WorkerDevice(target.python, session_file(target.runtime), path, options, output_batch_axis)
    session = _open_here(target, path, options)
    return LocalDevice(session, output_batch_axis)


def session_file(runtime: str) -> Path:
    """The session module of a runtime, as a file that another interpreter can load."""
    path = Path(__file__).parent / "sessions" / f"{runtime}_session.py"
    if not path.is_file():
        raise DeviceError(f"no device runs {runtime} yet", remedy="Choose a target with another runtime.")
    return path


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
        raise DeviceError(
            f"target {target.name} cannot open {path.name}",
            received=lines[-1] if lines else type(error).__name__,
            remedy=target.needs or None,
        ) from error
