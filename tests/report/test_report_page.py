"""A report is one complete, escaped file without references to others."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from helpers import cli
from helpers.errors import DataError
from helpers.report import write_report

# Attributes through which a page can request a file.
REQUESTING = {"src", "href", "srcset", "action", "data", "poster", "background"}


class Page(HTMLParser):
    """The tags of a page, what they request, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.requested, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.requested += [value for name, value in attributes if name in REQUESTING]

    def handle_data(self, data):
        self.texts.append(data.strip())


def read(path) -> tuple[str, Page]:
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_requests_nothing_from_outside(finished):
    text, page = read(write_report(finished.folder))
    assert page.requested and all(requested.startswith("data:image/png;base64,") for requested in page.requested)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text


def test_shows_scores_gates_times_parameters_and_versions(finished):
    _, page = read(write_report(finished.folder))
    assert {"A model", "passed", "0.800", "1 ✓", "cpu, f32", "2.25", "tumour 1,234"} <= set(page.texts)
    assert {"Scores", "made", "1.5", "✓", "0.8, at least 0.7"} <= set(page.texts)
    assert {"minimum_scores", "WT: 0.7", "batch_size", "1", "cache", "yes", "numpy", "2.4.6"} <= set(page.texts)
    assert [text for text in page.texts if text in ("WT", "ET")] == ["WT", "ET"]


def test_shows_what_an_old_record_lacks_as_not_recorded(finished):
    for case in finished.cases:
        del finished.record["stages"][f"infer/{case}"]["values"]
    finished.change()
    assert read(write_report(finished.folder))[1].texts.count("not recorded") == 3


def test_lists_the_worst_cases_first_with_their_pictures(finished):
    _, page = read(write_report(finished.folder))
    start = page.texts.index("Cases, worst first")
    names = [text for text in page.texts[start:] if text in finished.cases]
    # Means 0.7 (of 0.9 and 0.5), 0.7 and 0.8, in the table and above the pictures.
    assert names == ["Meier^Anna_1961-03-04", "3", "BraTS-0007"] * 2
    assert len(page.requested) == 4


def test_content_of_a_run_is_escaped(finished):
    attack = "<script>alert(1)</script><img src=http://x/y>\"'"
    finished.record["stages"]["compile"]["facts"] = {attack: attack}
    finished.record["params"]["checkpoint"] = attack
    finished.change(title=attack, reason=attack)
    text, page = read(write_report(finished.folder))
    assert "script" not in page.tags and not any("http://x" in requested for requested in page.requested)
    assert text.count("&lt;script&gt;") >= 4


def test_times_of_a_double_are_marked_as_simulated(finished):
    assert "simulated" not in write_report(finished.folder).read_text(encoding="utf-8")
    finished.record["stages"]["infer/BraTS-0007"]["simulated"] = True
    finished.change()
    shown = read(write_report(finished.folder))[1].texts
    assert shown.count("2.25 simulated") == 1 and shown.count("1.5 simulated") == 1  # the case's and the step's
    assert any(text.endswith(" s simulated") for text in shown)  # the sum


def test_shows_the_failed_gate_of_a_failed_run(finished):
    finished.record["stages"]["score"] = {
        "stage": "score", "title": "Scores", "status": "failed", "reason": "1 of 2 checks failed: WT 0.3",
        "seconds": 0.1, "ended": 9.0,
    }  # fmt: skip
    finished.change(status="failed", reason="score: 1 of 2 checks failed: WT 0.3")
    text, page = read(write_report(finished.folder))
    assert "badge failed" in text and {"✗", "1 of 2 checks failed: WT 0.3"} <= set(page.texts)
    assert "0.800" not in page.texts  # no score of an attempt before
    assert any(value.endswith("1 ✗") for value in page.texts)


def test_stays_below_a_megabyte_per_case(finished):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (420, 420, 3)).astype(np.uint8))
    for index in range(8):
        name = f"figures/{index}_BraTS-0007_{index}.png"
        noise.save(finished.folder / name)
        finished.record["stages"]["draw_results"]["files"].append(name)
    finished.change()
    path = write_report(finished.folder)
    assert path.stat().st_size <= 3 * 1_000_000
    uris = read(path)[1].requested
    assert len(uris) == 12
    for uri in uris:
        assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size[0] >= 200


def test_the_command_line_writes_to_the_given_file(finished, tmp_path, capsys):
    assert cli.main(["report", str(finished.folder), "--to", str(tmp_path / "x" / "mine.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "x" / "mine.html")
    assert cli.main(["report", str(finished.folder), "--anonymise"]) == 0
    assert "without names" in (finished.folder / "report.html").read_text(encoding="utf-8")


def test_follows_the_parameter_anonymise(finished):
    finished.record["params"]["anonymise"] = True
    finished.change()
    assert "without names" in write_report(finished.folder).read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"params": {}}'])
def test_refuses_a_folder_without_a_run(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
