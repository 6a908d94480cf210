"""One module a runtime. Each uses only the standard library, numpy and its runtime, and runs on Python 3.8.

A session module offers `open_session(path, **options)`, whose result has `inputs` and `outputs` (lists of
(name, dtype name, shape) with None for an open axis), `batches` (list of allowed batch sizes, or None for any),
`max_in_flight`, `run(feeds) -> dict` (safe to call from `max_in_flight` threads at once) and `close()`.
The same module serves this process and a worker in another interpreter, so none imports `helpers`.
"""
