"""A device in another interpreter: requests over pipes, arrays over shared memory."""

from helpers.devices.worker.parent import WorkerDevice

__all__ = ["WorkerDevice"]
