"""acl once per process: initialised when the first device is opened, finalised when the process ends."""

import atexit
import os
import threading

from .calls import Calls

REPEATED_INIT = 100002  # documented as ignorable: other code in this process initialised acl, and finalises it

_lock = threading.Lock()
_calls = None


def start_acl():
    """The process's `Calls`, with acl initialised.

    Raises:
        ImportError: this interpreter has no `acl`.
        AclError: acl cannot be initialised.
    """
    global _calls
    with _lock:
        if _calls is None:
            import acl

            calls = Calls(acl)
            code = acl.init()
            if code != REPEATED_INIT:
                calls.check("init", code)
                atexit.register(_finalise, calls, os.getpid())
            _calls = calls
        return _calls


def _finalise(calls, process):
    if os.getpid() == process:  # a forked child shares the memory, not the device
        calls("finalize")


class AclDevice:
    """One device, with a context of its own that any thread may enter.

    Args:
        calls: of `start_acl`.
        number: of the device, from 0 among those that ASCEND_RT_VISIBLE_DEVICES shows.
        stack: a contextlib.ExitStack that destroys the context and releases the device.
    """

    def __init__(self, calls, number, stack):
        self._calls = calls
        calls("rt.set_device", number)
        stack.callback(calls, "rt.reset_device", number)
        self._context = calls("rt.create_context", number)
        stack.callback(calls, "rt.destroy_context", self._context)
        # If host and device are one machine (200I, RC mode), a "host" copy is one within device memory.
        self.shares_memory = calls("rt.get_run_mode") == 0

    def enter(self):
        """Binds the context to this thread; a thread without one cannot call acl."""
        self._calls("rt.set_context", self._context)
