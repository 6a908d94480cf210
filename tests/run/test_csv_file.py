"""No cell of a CSV file is a formula, numbers stay numbers, and reading restores every text."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.run.csv_file import encode_text, mark_text, read_csv, unmark_text, write_csv

FORMULAS = [
    "=1+1",
    "=cmd|'/c calc'!A0",
    "+1+1",
    "-2+3+cmd|' /C notepad'!A0",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "  =1+1",
    "\u00a0=1+1",
    "\uff1d1+1",
    "\uff20SUM(1)",
    '=HYPERLINK("http://example.org?"&A1)',
    "--1",
    "+",
    "-",
    "=",
    "-case",
    "1-",
    "+1e5x",
]
NUMBERS = ["-1", "+1", "-1.5", "+.5", "-1e-05", "3", "0012", "-0"]


def _cells(path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_starts_as_a_formula(tmp_path, text):
    path = write_csv(tmp_path / "x.csv", ("case", text), [(text, 1), (f"before {text}", 2)])
    for row in _cells(path):
        for cell in row:
            assert cell.lstrip(" \u00a0")[:1] not in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
    assert read_csv(path) == [["case", text], [text, "1"], [f"before {text}", "2"]]


@pytest.mark.parametrize("number", [*NUMBERS, -1, -1.5, 2, float("-inf")])
def test_a_number_stays_a_number(tmp_path, number):
    path = write_csv(tmp_path / "x.csv", ["score"], [[number]])
    assert _cells(path)[1] == [str(number)]
    assert float(read_csv(path)[1][0]) == float(number)


@pytest.mark.parametrize("text", ["", "'", "''", "'=1", "o'clock", "a,b", 'say "no"', "two\nlines", "two\r\nlines"])
def test_other_text_is_restored(tmp_path, text):
    assert read_csv(write_csv(tmp_path / "x.csv", ["note"], [[text]]))[1] == [text]


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_restored(text):
    assert unmark_text(str(mark_text(text))) == text


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_two_texts_stay_two(first, second):
    assert (mark_text(first) == mark_text(second)) == (first == second)


def test_the_bytes_of_a_file_name_survive_and_a_lone_surrogate_is_replaced(tmp_path):
    path = write_csv(tmp_path / "x.csv", ["case"], [["caf\udce9"], ["\ud800"]])
    assert b"caf\xe9" in path.read_bytes()
    assert read_csv(path) == [["case"], ["caf\udce9"], ["\ufffd"]]
    assert encode_text("\ud83d") == "\ufffd".encode()
