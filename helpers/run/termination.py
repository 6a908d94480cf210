"""A process that gets SIGTERM or SIGHUP says so, ends its children and leaves nothing half-written."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from helpers.run.atomic import remove_own_temporaries

# SIGHUP comes when a terminal closes; `nohup` ignores it, and it then stays ignored.
SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_HANDLERS: list[Callable[[int, FrameType | None], None]] = []  # of this module, in use or not


class Terminated(KeyboardInterrupt):
    """A signal ends the process; whatever cleans up after Ctrl-C cleans up after it too."""

    def __init__(self, number: int):
        self.number = number
        super().__init__(f"ended by {signal.Signals(number).name}")

    @property
    def exit_code(self) -> int:
        """As a shell reports the signal: 128 + its number."""
        return 128 + self.number


@contextlib.contextmanager
def termination_raises() -> Iterator[None]:
    """Lets a signal that ends the process raise `Terminated` in its main thread; for a program of ours."""

    def handle(number: int, _: FrameType | None) -> NoReturn:
        raise Terminated(number)

    _HANDLERS.append(handle)
    before = {number: signal.signal(number, handle) for number in _free_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _HANDLERS.remove(handle)


def call_before_termination(record_end: Callable[[Terminated], None]) -> None:
    """Lets a signal that ends the process call a function first; for a kernel, whose program is not ours.

    The process then removes its temporary files, kills its children, and ends by the signal.

    Args:
        record_end: called once, in the main thread, between any two instructions of its code.
    """

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        try:
            record_end(Terminated(number))
        finally:
            _kill_children()
            remove_own_temporaries()
            os.kill(os.getpid(), number)

    _HANDLERS.append(handle)
    for number in _free_signals():
        signal.signal(number, handle)


class _Fork:
    """Lets a forked child, such as a worker of a pool, end by a signal at once: it has no record to close.

    The signals wait while the process forks; one that reached the child before its handler is gone would be lost.
    """

    def __init__(self) -> None:
        self._mask = threading.local()

    def hold_signals(self) -> None:
        self._mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def release_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask.before)

    def leave_signals_to_parent(self) -> None:
        for number in SIGNALS:
            if signal.getsignal(number) in _HANDLERS:
                signal.signal(number, signal.SIG_DFL)
        self.release_signals()


if hasattr(os, "register_at_fork"):  # where processes can fork
    _FORK = _Fork()
    os.register_at_fork(
        before=_FORK.hold_signals,
        after_in_parent=_FORK.release_signals,
        after_in_child=_FORK.leave_signals_to_parent,
    )


def _free_signals() -> list[signal.Signals]:
    """The signals that nothing handles or ignores yet; none in another thread than the main one."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]


def _kill_children() -> None:
    import psutil  # only here: the command that needs NumPy alone handles signals too

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
