"""Removes what may identify a person from a report: case names, paths, dates, DICOM names, user and host."""

from __future__ import annotations

import getpass
import io
import os
import re
import socket
from collections.abc import Sequence
from typing import Protocol

from helpers.view.figures.canvas import read_name_boxes

# Parameters that name a place or cases.
DROPPED_PARAMETERS = frozenset({"checkpoint", "data_root", "outputs", "cases", "python"})
_REMOVED = "[removed]"
_PATH = re.compile(r"(?<![\w<])(?:[A-Za-z]:)?(?:~|\.{1,2})?[/\\](?:[^\s'\",;:()<>]+[/\\]?)+")
_RELATIVE_PATH = re.compile(
    r"(?<![\w/])(?:[\w.^-]+(?:/[\w.^-]+)+\.\w+|[\w.^-]+\.(?:nii|gz|dcm|mha|nrrd|jpg|png|pth|pkl)\b)", re.IGNORECASE
)
_DATES = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])"  # 2024-05-31
    r"|(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|1[0-2])[-/.](?:19|20)\d\d"  # 31.05.2024
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?(?!\d)"
)
_DICOM_NAME = re.compile(r"[^\s^'\"<>,;:]+(?:\^[^\s^'\"<>,;:]*)+")
_DICOM_UID = re.compile(r"\b[0-2](?:\.\d+){5,}\b")


class Redaction(Protocol):
    """How a report shows names, texts and pictures."""

    def case(self, case: str) -> str:
        """The name of a case."""

    def text(self, value: object) -> str:
        """A value as text."""

    def picture(self, content: bytes) -> bytes | None:
        """A PNG, or None to leave it out."""


class Anonymiser:
    """Numbers the cases and removes what identifies a person.

    Args:
        cases: case ids in the order of the report.
        known: words and paths to remove wherever they occur, such as the host of the run and its data folder.

    >>> Anonymiser(["ANNA_01"]).text("ANNA_01 was read from /data/anna on 2024-05-31")
    'case 1 was read from [removed] on [removed]'
    """

    def __init__(self, cases: Sequence[str], known: Sequence[str] = ()):
        self._numbers = {case: f"case {index}" for index, case in enumerate(cases, start=1)}
        longest_first = sorted(self._numbers, key=len, reverse=True)
        names = "|".join(re.escape(case) for case in longest_first)
        self._cases = re.compile(rf"(?<![\w.,])(?:{names})(?!\w|[.,]\d)") if names else None
        removed = {*known, socket.gethostname(), _user_name(), os.path.expanduser("~")}
        words = "|".join(re.escape(word) for word in sorted(removed, key=len, reverse=True) if len(word) > 1)
        self._words = re.compile(rf"(?<!\w)(?:{words})(?!\w)") if words else None

    def case(self, case: str) -> str:
        """The number of a case instead of its name."""
        return self._numbers.get(case, _REMOVED)

    def text(self, value: object) -> str:
        """A value as text, without case names, paths, dates, DICOM identifiers, user and host."""
        text = str(value)
        if self._cases:
            text = self._cases.sub(lambda match: self._numbers[match[0]], text)
        for pattern in (self._words, _DICOM_NAME, _PATH, _RELATIVE_PATH, _DICOM_UID, _DATES):
            if pattern is not None:
                text = pattern.sub(_REMOVED, text)
        return text

    def picture(self, content: bytes) -> bytes | None:
        """A PNG with its names painted over and without text chunks; None if it does not record where they are."""
        from PIL import Image, ImageDraw

        picture = Image.open(io.BytesIO(content))
        boxes = read_name_boxes(getattr(picture, "text", {}))
        if boxes is None:
            return None
        bare = picture.convert("RGB")
        for box in boxes:
            ImageDraw.Draw(bare).rectangle(box, fill="white")
        stream = io.BytesIO()
        bare.save(stream, format="PNG", optimize=True)
        return stream.getvalue()


class AsRecorded:
    """Shows everything unchanged."""

    def case(self, case: str) -> str:
        """The name of the case."""
        return case

    def text(self, value: object) -> str:
        """The value as text."""
        return str(value)

    def picture(self, content: bytes) -> bytes:
        """The picture, unchanged."""
        return content


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container the user may have a number but no name
        return ""
