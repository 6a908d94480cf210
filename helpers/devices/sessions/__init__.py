"""One module a runtime. Each uses only the standard library, numpy and its runtime, and runs on Python 3.8.

A session module offers `open_session(path, **options)`, whose result has `inputs` and `outputs` (lists of
(name, dtype name, shape) with None for an open axis), `batches` (list of allowed batch sizes, or None for any),
`max_in_flight`, `run(feeds) -> dict` (safe to call from `max_in_flight` threads at once) and `close()`.
A module whose runtime numbers its chips offers `count_devices()` too, and its `open_session` takes `device_id`.

Where a session has more to tell:

* `notes`: sentences on what it had to do otherwise than asked (less memory, so fewer calls in flight);
* `seconds` of the dict that `run` returns: seconds of the steps `h2d`, `execute` and `d2h`;
* `kind` of an exception: "failed" (this call; the same one may succeed next time), "memory" (the chip's is too
  small) or "lost" (the chip cannot be used any more);
* `simulated`: whether its runtime is a double (a module with `__double__ = True`), whose times mean nothing;
* `fills_memory = True`: `run` takes `allocate(shape, dtype)`, the memory to write an output into.

The same module serves this process and a worker in another interpreter, so none imports `helpers`; a runtime that
needs several files keeps them in a folder of its name and imports them relatively.
"""
