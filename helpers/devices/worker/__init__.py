"""A session in another interpreter: requests over pipes, arrays over shared memory."""

from helpers.devices.worker.parent import WorkerDevice, count_devices

__all__ = ["WorkerDevice", "count_devices"]
