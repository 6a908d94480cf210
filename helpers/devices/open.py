"""Opens a compiled model on a target: in this process, in a worker of another interpreter, or on several devices."""

from __future__ import annotations

import importlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.devices.base import Device, Session, SessionDevice, device_error, fault_kind
from helpers.devices.pool import DevicePool
from helpers.devices.worker import WorkerDevice, count_devices
from helpers.errors import DeviceError

if TYPE_CHECKING:
    from helpers.params.targets import Target

VENDOR_MODULES = {"ascend": "acl", "magicmind": "magicmind"}
_VISIBLE_DEVICES = {"ascend": "ASCEND_RT_VISIBLE_DEVICES", "magicmind": "MLU_VISIBLE_DEVICES"}
# How the runtimes say that they cannot read a file: ONNX Runtime, OpenVINO, torch.
_DAMAGED = re.compile(
    r"protobuf|parsing failed|unable to read|empty weights|incorrect weights|at offset \d|zip archive|corrupt", re.I
)


@dataclass(frozen=True)
class RuntimeTarget:
    """The fields of a target that are needed to open a device; a bundle carries them without the target's file.

    Args:
        name, runtime, device, needs: as in the target's file.
        python: the interpreter that has the vendor's module; None for this one.
    """

    name: str
    runtime: str
    device: str
    needs: str = ""
    python: str | None = None


def open_device(
    path: str | Path,
    target: Target | RuntimeTarget | str,
    *,
    output_batch_axis: int = 0,
    devices: str | list[int] | None = None,
    **options: Any,
) -> Device:
    """Opens a compiled model.

    Args:
        path: the output of the target's compile stage.
        target: a target or its name; `python:` in it moves the runtime into a worker of that interpreter.
        output_batch_axis: axis of the outputs that counts samples.
        devices: device numbers, "all", or None for the first; several become a pool with a worker for each.
        options: passed to the runtime: `precision`, `threads`, `max_in_flight`, ...

    Raises:
        DeviceError: the runtime is not installed, or refuses the model.
    """
    target = _runtime_target(target)
    path = Path(path).resolve()
    if not path.exists():
        raise DeviceError(f"no compiled model at {path}", remedy="Run the compile stage first.")
    options.setdefault("device", target.device)
    numbers = _choose_devices(target, devices)
    if len(numbers) > 1:

        def open_one(device_id: int) -> Device:
            return _open_worker(target, path, {**options, "device_id": device_id}, output_batch_axis)

        return DevicePool(open_one, numbers, output_batch_axis, name=target.name)
    if numbers:
        options["device_id"] = numbers[0]
    if target.python:
        return _open_worker(target, path, options, output_batch_axis)
    return SessionDevice(_open_session(target, path, options), output_batch_axis, target.name)


def session_file(runtime: str) -> Path:
    """The session module of a runtime, as a file that another interpreter can load.

    Raises:
        DeviceError: there is no session for this runtime.
    """
    path = Path(__file__).parent / "sessions" / f"{runtime}_session.py"
    if not runtime.isidentifier() or not path.is_file():  # a bundle's text may be a path
        raise DeviceError(f"unsupported runtime {runtime}", remedy="Choose a target with another runtime.")
    return path


def vendor_environment(runtime: str) -> dict[str, str]:
    """The entries of this process's PYTHONPATH that hold the runtime's module, as PYTHONPATH.

    CANN's set_env.sh puts `acl` on PYTHONPATH; other entries are meant for this interpreter only.
    """
    module = VENDOR_MODULES.get(runtime)
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    found = [folder for folder in folders if module and _holds(Path(folder), module)]
    return {"PYTHONPATH": os.pathsep.join(found)} if found else {}


def _holds(folder: Path, module: str) -> bool:
    if (folder / module).is_dir() or (folder / f"{module}.py").is_file():
        return True
    return any(folder.glob(f"{module}*.so"))


def _runtime_target(target: Target | RuntimeTarget | str) -> RuntimeTarget:
    if isinstance(target, str):
        # Handed-over targets need none of the packages that read a target's file.
        from helpers.params.targets import load_target

        target = load_target(target)
    if isinstance(target, RuntimeTarget):
        return target
    return RuntimeTarget(target.name, target.runtime, target.device, target.needs, target.python)


def _choose_devices(target: RuntimeTarget, devices: str | list[int] | None) -> list[int]:
    if devices is None:
        return []
    if target.runtime not in VENDOR_MODULES:
        raise DeviceError(
            f"target {target.name} has no numbered devices",
            received=f"devices: {devices}",
            remedy="Leave `devices` out.",
        )
    if not isinstance(devices, str):
        return list(devices)
    count = count_devices(_interpreter_of(target), session_file(target.runtime), vendor_environment(target.runtime))
    if not count:
        variable = _VISIBLE_DEVICES[target.runtime]
        shown = f", {variable}={os.environ[variable]}" if variable in os.environ else ""
        needed = f" {_needed(target)}" if target.needs else ""
        raise DeviceError(
            f"target {target.name} finds no device",
            received=f"devices: all{shown}",
            remedy=f"Check {variable}: it hides every device that it does not list.{needed}",
        )
    return list(range(count))


def _open_worker(target: RuntimeTarget, path: Path, options: dict[str, Any], output_batch_axis: int) -> WorkerDevice:
    environment = vendor_environment(target.runtime)
    session = session_file(target.runtime)
    return WorkerDevice(_interpreter_of(target), session, path, options, output_batch_axis, environment, target.name)


def _needed(target: RuntimeTarget) -> str | None:
    return f"Needed: {target.needs}" if target.needs else None


def _interpreter_of(target: RuntimeTarget) -> str:
    return target.python or sys.executable


def _open_session(target: RuntimeTarget, path: Path, options: dict[str, Any]) -> Session:
    session_file(target.runtime)
    module = importlib.import_module(f"helpers.devices.sessions.{target.runtime}_session")
    try:
        return module.open_session(path, **options)
    except ImportError as error:
        raise DeviceError(
            f"target {target.name} needs a module that is not installed",
            received=str(error),
            remedy=_needed(target),
        ) from None
    except Exception as error:  # ONNX Runtime's errors derive from Exception alone
        lines = [line for line in str(error).splitlines() if line.strip()]
        text = lines[-1] if lines else type(error).__name__
        kind = fault_kind(error)
        remedy = None if kind else _needed(target)  # the runtime is installed: its message names the cause
        if _DAMAGED.search(text):
            remedy = "The file is damaged: compile the graph again, or copy the file again."
        raise device_error(f"target {target.name} cannot open {path.name}", text, kind, remedy) from error
