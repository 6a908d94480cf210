"""The worker's program: standard library and numpy only, Python 3.8 or newer; never imports `helpers`.

Started as `python child.py`. Reads one JSON request a line from standard input and writes one JSON
answer a line to what was standard output; the runtime's own prints go to standard error. Arrays lie in a file
that both processes map.

Requests: {"open": {...}} once, then {"run": slot, "feeds": [...]} and {"close": true}.
"""

import importlib.util
import json
import mmap
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def main():
    """Serves requests until the pipe closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Stopping a cell interrupts the whole process group; the worker ends when its parent says so or goes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = threading.Lock()

    def answer(content):
        with lock:
            answers.write(json.dumps(content) + "\n")
            answers.flush()

    server = None
    for line in sys.stdin:
        request = json.loads(line)
        if "open" in request:
            try:
                server = Server(**request["open"])
            except BaseException as error:
                answer({"error": describe(error)})
                return 1
            answer({"opened": server.description()})
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
    """A session and the memory it is fed from."""

    def __init__(self, session_file, model, options):
        spec = importlib.util.spec_from_file_location("worker_session", session_file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.session = module.open_session(model, **options)
        self.pool = ThreadPoolExecutor(self.session.max_in_flight)
        self.memory = None

    def description(self):
        """What the parent needs to know of the session."""
        return {
            "inputs": self.session.inputs,
            "outputs": self.session.outputs,
            "batches": self.session.batches,
            "max_in_flight": self.session.max_in_flight,
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
        """Runs one slot: feeds are read where they lie, outputs are written behind them."""
        slot = request["run"]
        try:
            feeds = {name: self.view(dtype, shape, at) for name, dtype, shape, at in request["feeds"]}
            outputs = self.session.run(feeds)
            at, room = request["outputs_at"], request["outputs_room"]
            placed = []
            for name, array in outputs.items():
                array = np.ascontiguousarray(array)
                if array.nbytes > room:
                    raise ValueError(f"output {name} needs {array.nbytes} bytes, {room} are left")
                self.view(array.dtype.str, array.shape, at)[...] = array
                placed.append([name, array.dtype.str, list(array.shape), at])
                step = (array.nbytes + 63) // 64 * 64
                at, room = at + step, room - step
            answer({"done": slot, "outputs": placed})
        except BaseException as error:
            answer({"failed": slot, "error": describe(error)})

    def view(self, dtype, shape, at):
        """An array in the shared memory."""
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self.memory, dtype=dtype, count=count, offset=at).reshape(shape)

    def close(self):
        """Ends the calls in flight and the session."""
        self.pool.shutdown(wait=True)
        self.session.close()


def describe(error):
    """An error as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
