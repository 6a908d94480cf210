"""One module per runtime. Each uses only the standard library, numpy and its runtime, and runs on Python 3.8.

A session module offers `open_session(path, **options)`. The session it returns has

* `inputs`, `outputs`: lists of (name, dtype name, shape), with None for an open axis;
* `batches`: list of allowed batch sizes, or None for any;
* `max_in_flight`: calls of `run` that may be made concurrently, from different threads;
* `simulated`: whether its runtime is a double (a module with `__double__ = True`), whose times mean nothing;
* `notes`: sentences about departures from the options (too little memory, so fewer calls in flight);
* `torch_network`: (module, torch's device, autocast dtype) of a network on a GPU, so that windows are summed there;
  else None;
* `run(feeds, allocate=numpy.empty)`: arrays by name in; (arrays by name, seconds of the steps "h2d", "execute" and
  "d2h") out, the seconds empty if the runtime does not report them. `allocate(shape, dtype)` gives memory for an
  output: a session that copies its outputs anyway copies them there, and the parent of a worker finds them without
  another copy. Others ignore it;
* `close()`.

An error may carry a `kind`: "failed" (this call; the same one may succeed next time), "memory" (the device has too
little) or "lost" (the device can no longer be used).

If the runtime numbers its devices, the module also offers `count_devices()`, and `open_session` takes `device_id`.

The same module serves this process and a worker in another interpreter, so none imports `helpers`; a runtime that
needs several files keeps them in a folder of its name and imports them relatively.
"""
