"""The worker's program: standard library and numpy only, Python 3.8 or newer; never imports `helpers`.

Started as `python child.py`. Reads one JSON request per line from standard input and writes one JSON answer per line
to the original standard output; anything the runtime prints goes to standard error. Arrays are in a file that both
processes map.

Requests: {"open": {...}} once, then {"run": slot, "feeds": [...]} and {"close": true}; or {"count": file} alone.
"""

import importlib
import json
import mmap
import os
import signal
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


def main():
    """Serves requests until the pipe closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Stopping a notebook cell interrupts the whole process group; the worker ends with its parent or on request.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = threading.Lock()

    def answer(content):
        with lock:
            answers.write(json.dumps(content) + "\n")
            answers.flush()

    server: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        if "open" in request:
            try:
                server = Server(**request["open"])
            except BaseException as error:
                answer(describe(error))
                return 1
            answer({"opened": server.description()})
        elif "count" in request:
            try:
                answer({"opened": load_session_module(request["count"]).count_devices()})
            except BaseException as error:
                answer(describe(error))
            return 0
        elif "run" in request:
            server.start(request, answer)
        elif "map" in request:
            server.map(request["map"])
            answer({"mapped": True})
        else:
            break
    if server is not None:
        server.close()
    answer({"closed": True})
    return 0


class Server:
    """A session and the shared memory of its feeds and outputs."""

    def __init__(self, session_file, model, options):
        self.session = load_session_module(session_file).open_session(model, **options)
        self.pool = ThreadPoolExecutor(self.session.max_in_flight)
        self.memory: Any = None

    def description(self):
        """The session's description for the parent."""
        return {
            "inputs": self.session.inputs,
            "outputs": self.session.outputs,
            "batches": self.session.batches,
            "max_in_flight": self.session.max_in_flight,
            "notes": list(self.session.notes),
            "simulated": self.session.simulated,
            "python": sys.version.split()[0],
            "numpy": np.__version__,
        }

    def map(self, path):
        """Maps the shared file."""
        with open(path, "r+b") as stream:
            self.memory = mmap.mmap(stream.fileno(), 0)

    def start(self, request, answer):
        """Runs one slot in the background and answers when it is done."""
        self.pool.submit(self.run, request, answer)

    def run(self, request, answer):
        """Runs one slot: feeds are read in place, outputs are written behind them."""
        slot = request["run"]
        try:
            feeds = {name: self.view(dtype, shape, at) for name, dtype, shape, at in request["feeds"]}
            room = OutputRoom(self.view, request["outputs_at"], request["outputs_room"])
            outputs, seconds = self.session.run(feeds, room.allocate)
            placed = [room.place(name, array) for name, array in outputs.items()]
            answer({"done": slot, "outputs": placed, "seconds": seconds})
        except BaseException as error:
            answer(dict(describe(error), failed=slot))

    def view(self, dtype, shape, at):
        """An array in the shared memory."""
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self.memory, dtype=dtype, count=count, offset=at).reshape(shape)

    def close(self):
        """Ends the calls in flight and the session."""
        self.pool.shutdown(wait=True)
        self.session.close()


class OutputRoom:
    """The shared memory for the outputs of one call."""

    def __init__(self, view, at, room):
        self._view, self._at, self._room = view, at, room
        self._given = {}

    def allocate(self, shape, dtype):
        """An array in shared memory, for an output to be written into."""
        dtype = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if count > self._room:
            raise ValueError(f"outputs need {count} bytes, {self._room} are left")
        array = self._view(dtype.str, shape, self._at)
        self._given[id(array)] = array, self._at
        step = (count + 63) // 64 * 64
        self._at, self._room = self._at + step, self._room - step
        return array

    def place(self, name, array):
        """[name, dtype, shape, offset] of an output, copied into shared memory unless it was allocated there."""
        if id(array) not in self._given:
            source, array = array, self.allocate(array.shape, array.dtype)
            array[...] = source
        return [name, array.dtype.str, list(array.shape), self._given[id(array)][1]]


def load_session_module(session_file):
    """A session module by its path, as part of a package, so that it can import the files next to it."""
    folder, name = os.path.split(os.path.abspath(session_file))
    package = types.ModuleType("worker_sessions")
    package.__path__ = [folder]
    sys.modules[package.__name__] = package
    return importlib.import_module(package.__name__ + "." + os.path.splitext(name)[0])


def describe(error):
    """An error as one line, with the kind that a session's own errors carry; others have none."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return {"error": f"{name}: {text}" if text else name, "kind": getattr(error, "kind", None)}


if __name__ == "__main__":
    sys.exit(main())
