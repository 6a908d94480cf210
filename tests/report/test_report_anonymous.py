"""An anonymous report names no person, neither in its text nor in its pictures."""

from __future__ import annotations

import base64
import getpass
import io
import re
import socket

import numpy as np
import pytest
from PIL import Image

from helpers.report import write_report
from helpers.report.anonymous import Anonymiser
from helpers.view.figures.canvas import read_name_boxes


def pictures(text: str) -> list[Image.Image]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    return [Image.open(io.BytesIO(base64.b64decode(part))) for part in found]


def words(text: str) -> str:
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def test_removes_every_secret_that_the_plain_report_shows(finished):
    finished.change(reason=f"{finished.cases[0]}: cannot read /data/tumour board/x.nii.gz")
    plain = words(write_report(finished.folder).read_text(encoding="utf-8"))
    hidden = words(write_report(finished.folder, anonymise=True).read_text(encoding="utf-8"))
    for secret in finished.secrets:
        assert secret not in hidden, secret
    assert {secret for secret in finished.secrets if secret not in plain} == {"radiology-ws-17"}  # never shown
    year = re.compile(r"(?:19|20)\d\d-\d\d")
    assert year.search(plain) and not year.search(hidden)
    for word in (socket.gethostname(), getpass.getuser()):
        assert not re.search(rf"\b{re.escape(word)}\b", hidden)


def test_keeps_scores_and_parameters(finished):
    hidden = write_report(finished.folder, anonymise=True).read_text(encoding="utf-8")
    for kept in ("case 1", "case 2", "case 3", "0.8, at least 0.7", "0.800", "tumour 1,234", "f32", "2.4.6", "0.5"):
        assert kept in hidden, kept


def test_paints_over_names_in_pictures(finished):
    source = Image.open(finished.folder / f"figures/1_{finished.cases[0]}_slices.png")
    (box,) = read_name_boxes(source.text)
    assert np.asarray(source.convert("L").crop(box)).min() < 100  # the name is there
    shown = pictures(write_report(finished.folder, anonymise=True).read_text(encoding="utf-8"))
    assert not any(getattr(picture, "text", {}) for picture in shown)
    worst = shown[0].convert("L")
    assert worst.size == source.size
    assert np.asarray(worst.crop(box)).min() == 255


def test_omits_a_picture_that_does_not_record_where_its_names_are(finished):
    assert len(pictures(write_report(finished.folder, anonymise=True).read_text(encoding="utf-8"))) == 4
    Image.new("RGB", (40, 40)).save(finished.folder / "figures/scores.png")
    assert len(pictures(write_report(finished.folder, anonymise=True).read_text(encoding="utf-8"))) == 3


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("read /home/a/b c", "read [removed] c"),
        (r"C:\Users\anna\scan.dcm", "[removed]"),
        ("~/scans/x.nii.gz", "[removed]"),
        ("masks/1234.nii.gz", "[removed]"),
        ("born 4.3.1961, seen 2024/05/31 12:30", "born [removed], seen [removed]"),
        ("DOE^JANE^^Dr", "[removed]"),
        ("1.2.840.10008.5.1.4.1.1.2", "[removed]"),
        ("case 17 of 17", "case case 1 of case 1"),
        # Similar text with another meaning stays.
        ("17.5 and 0.17, 17,000", "17.5 and 0.17, 17,000"),
        ("made/reused, 1e-3/s, 3.11.7, 0.17 at 117", "made/reused, 1e-3/s, 3.11.7, 0.17 at 117"),
        ("786,432 labels; 20240 voxels", "786,432 labels; 20240 voxels"),
    ],
)
def test_texts(text, clean):
    assert Anonymiser(["17"]).text(text) == clean
