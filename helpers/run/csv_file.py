"""CSV files for spreadsheets, which take some text for a formula; read back, every cell is what it was."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from helpers.run.atomic import atomic_path

# Spreadsheets compute a cell that starts with one of these, full-width forms included; what follows may start a
# program (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_MARK = "'"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# Half of a pair of UTF-16, which no encoding can hold; U+DC80 to U+DCFF stand for bytes of a file's name.
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Writes a CSV file, atomically.

    Text that a spreadsheet would compute gets an apostrophe in front, which `read_csv` removes; numbers stay numbers.
    The byte-order mark at the start tells spreadsheets that the file is UTF-8.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(map(mark_text, header))
    writer.writerows([mark_text(cell) for cell in row] for row in rows)
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_text("\ufeff" + stream.getvalue()))
    return path


def read_csv(path: Path) -> list[list[str]]:
    """The rows of a file that `write_csv` wrote, its header first, with every text as it was."""
    text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return [[unmark_text(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]


def mark_text(cell: object) -> object:
    """A cell that no spreadsheet computes.

    >>> mark_text("=1+1"), mark_text("-1.5"), mark_text(-1.5), mark_text("'quoted'")
    ("'=1+1", '-1.5', -1.5, "''quoted'")
    """
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell):
        return cell
    return _MARK + cell if cell.lstrip(" \u00a0").startswith((*_FORMULA, _MARK)) else cell


def unmark_text(cell: str) -> str:
    """The cell that `mark_text` was given, as text."""
    return cell.removeprefix(_MARK)


def encode_text(text: str) -> bytes:
    """Text as UTF-8. The bytes of a file's name stay as they are; what has no encoding becomes U+FFFD.

    >>> encode_text("a\\udcff\\ud800")
    b'a\\xff\\xef\\xbf\\xbd'
    """
    return _LONE.sub("\ufffd", text).encode("utf-8", "surrogateescape")
