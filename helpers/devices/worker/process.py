"""The worker's process: starts in a clean environment, exchanges lines of JSON, shuts down in order."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from helpers.devices.base import DeviceFault, device_error
from helpers.errors import DeviceError, ResourceError

_CHILD = Path(__file__).with_name("child.py")
# Variables of this environment that would make another interpreter import our packages.
_SCRUBBED = ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONPATH")
_END_S = 30.0


class WorkerProcess:
    """A child that runs `child.py`.

    Args:
        python: the interpreter.
        environment: variables added to the child's.

    Raises:
        DeviceError: the interpreter cannot be started.
    """

    def __init__(self, python: str, environment: Mapping[str, str]):
        clean = {name: value for name, value in os.environ.items() if name not in _SCRUBBED}
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._write = threading.Lock()
        try:
            self._process = subprocess.Popen(
                [python, str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                encoding="utf-8",
                env={**clean, **environment},
            )
            self._requests = cast("IO[str]", self._process.stdin)
            self._answers = cast("IO[str]", self._process.stdout)
        except OSError as error:
            self._stderr.close()
            raise DeviceError(
                "the worker's interpreter cannot be started",
                received=f"{python} ({error.strerror})",
                remedy="Correct `python` in the target's file.",
            ) from None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, request: dict) -> Any:
        """Sends the first request and returns the value of its answer.

        Raises:
            DeviceError: the worker refuses, or dies.
        """
        self.send(request)
        line = "start"
        while line and not line.startswith("{"):  # an interpreter's start-up files may print before the worker runs
            line = self._answers.readline()
        if not line:
            raise self.explain_death()
        answer = json.loads(line)
        if "error" in answer:
            remedy = None if answer["kind"] else "Check the target's `python`."
            raise device_error("the worker cannot open the model", answer["error"], answer["kind"], remedy)
        return answer["opened"]

    def send(self, request: dict) -> None:
        """Sends one request.

        Raises:
            DeviceFault: the worker is dead.
        """
        with self._write:
            try:
                self._requests.write(json.dumps(request) + "\n")
                self._requests.flush()
            except (BrokenPipeError, ValueError):
                raise self.explain_death() from None

    def answers(self) -> Iterator[dict]:
        """Answers as they come, until the worker reports its end, closes the pipe or sends invalid JSON."""
        with contextlib.suppress(ValueError, OSError):
            for line in self._answers:
                answer = json.loads(line)
                if "closed" in answer:
                    return
                yield answer

    def explain_death(self) -> DeviceFault:
        """The error of a worker that closed the pipe: its exit code and its last line of standard error."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it closed the pipe but is still running
            self._process.kill()
            code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        last = [line for line in self._stderr.read().splitlines() if line.strip()][-1:]
        received = "; ".join([how, *last])
        return DeviceFault("the worker died", "lost", received=received, remedy="Open the device again.")

    def kill(self) -> None:
        """Kills the worker immediately."""
        self._process.kill()

    def end(self) -> None:
        """Asks the worker to free its device and end; kills it if that takes too long."""
        with contextlib.suppress(DeviceError):
            self.send({"close": True})
        try:
            self._process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def free(self) -> None:
        """Closes the pipes of a worker that ended."""
        with contextlib.suppress(BrokenPipeError):  # a request that a dead worker never read
            self._requests.close()
        self._answers.close()
        self._stderr.close()


def reserve_shared_file(size: int) -> IO[bytes]:
    """A named temporary file of `size` bytes: in shared memory, or on disk if that is too small.

    Raises:
        ResourceError: neither has enough room. Containers often limit shared memory to 64 MB.
    """
    problem: OSError | None = None
    for folder in filter(os.path.isdir, ("/dev/shm", tempfile.gettempdir())):  # noqa: S108
        stream = tempfile.NamedTemporaryFile(prefix="cookbook-", dir=folder)  # noqa: SIM115
        try:
            # Reserved now: a write into a sparse file on a full disk ends in SIGBUS, not in an exception.
            os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            stream.close()
            problem = error
        else:
            return stream
    raise ResourceError(
        "no room to pass arrays to the worker",
        received=problem.strerror if problem else "no folder for temporary files",
        expected=f"{size >> 20} MB in /dev/shm or {tempfile.gettempdir()}",
        remedy="Lower batch_size, or give the container more shared memory.",
    )
