"""What a failing device means for the next call."""

from __future__ import annotations

from typing import Literal, get_args

from helpers.errors import DeviceError

FaultKind = Literal["failed", "memory", "lost"]


class DeviceFault(DeviceError):
    """A device refused to open or to run, and said how bad it is.

    Attributes:
        kind: "failed" (this call; the same one may succeed next time), "memory" (the chip's is too small) or "lost"
            (the device cannot be used any more).
    """

    def __init__(self, problem: str, kind: FaultKind, **facts):
        super().__init__(problem, **facts)
        self.kind = kind


def device_error(problem: str, text: str, kind: str | None, remedy: str | None = None) -> DeviceError:
    """The error for what a runtime said; a DeviceFault where the runtime said how bad it is."""
    if explanation := _explain(text):
        remedy = " ".join(filter(None, [explanation, remedy]))
    if kind in get_args(FaultKind):
        return DeviceFault(problem, kind, received=text, remedy=remedy)
    return DeviceError(problem, received=text, remedy=remedy)


def _explain(text: str) -> str:
    """The sentence, cause and remedy of a return code of pyACL in the text; nothing where there is none."""
    try:
        from helpers.params.ascend_errors import explain_acl_message
    except ImportError:  # a device that was handed over runs with numpy alone; the code itself is in the text
        return ""
    return str(explain_acl_message(text) or "")
