"""Small tables: HTML that reads well in JupyterLab and in a saved notebook, and text for a terminal."""

from __future__ import annotations

import html
from collections.abc import Sequence


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table with a header; columns that hold only numbers are aligned to the right."""
    numeric = [all(_is_number(row[index]) for row in rows) if rows else False for index in range(len(header))]
    head = "".join(_cell("th", name, right) for name, right in zip(header, numeric, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell("td", value, right) for value, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table style='border-collapse:collapse'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose columns are as wide as their widest cell; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(tag: str, value: object, right: bool) -> str:
    align = "right" if right else "left"
    style = f"text-align:{align};padding:2px 14px 2px 0;vertical-align:top"
    return f"<{tag} style='{style}'>{html.escape(str(value))}</{tag}>"


def _is_number(value: object) -> bool:
    try:
        float(str(value).replace(",", "").rstrip("%"))
    except ValueError:
        return str(value) in {"–", ""}
    return True
