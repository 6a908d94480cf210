"""`fetch` downloads, checks, unpacks and reports item by item, and a second call does only what is left."""

from __future__ import annotations

import collections
import hashlib
import io
import random
import zipfile
from pathlib import Path

import pytest
import yaml

from helpers.errors import ParameterError
from helpers.fetch import download as disk
from helpers.fetch import fetch
from helpers.fetch.download import RetryPolicy

QUICK = RetryPolicy(timeout_s=5, attempts=2, pause_s=0.01)
WEIGHTS = random.Random(1).randbytes(200_000)
PHOTOGRAPH = random.Random(2).randbytes(100_000)


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return stream.getvalue()


ARCHIVE = zip_of({"train/a.jpg": PHOTOGRAPH})


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def write_catalogue(tmp_path):
    def write(*items: dict) -> Path:
        common = {"title": "t", "digest_note": "not published", "licence": "l", "layout": "l"}
        disk_use = {"download_gb": 1.5, "unpacked_gb": 2.0, "our_run_gb": 0.5, "basis": "b"}
        sources = {"disk": disk_use | {"source_pipeline": "400 GB"}, "items": [common | item for item in items]}
        path = tmp_path / "sources.yaml"
        path.write_text(yaml.safe_dump({"version": 1, "recipes": {"cars": sources}}), encoding="utf-8")
        return path

    return write


def weights_item(server, **change) -> dict:
    url = server.serve("UNet.pth", WEIGHTS)
    return {"name": "net", "kind": "weights", "file": "UNet.pth", "url": url, "md5": md5(WEIGHTS)} | change


def data_item(server, content: bytes = ARCHIVE, **change) -> dict:
    url = server.serve("train.zip", content)
    item = {"name": "photographs", "kind": "data", "file": "train.zip", "url": url, "folder": "cars/train"}
    return item | {"size_bytes": len(content), "md5": md5(content)} | change


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_all_items_are_fetched_and_a_second_call_transfers_nothing(server, write_catalogue, tmp_path):
    catalogue = write_catalogue(weights_item(server), data_item(server))
    report = fetch("cars", destination=tmp_path / "data", catalogue=catalogue, retry=QUICK)
    assert report.ok and [item.state for item in report.items] == ["downloaded", "downloaded"]
    assert names_in(tmp_path / "data") == ["UNet.pth", "cars/train/a.jpg"]
    assert (tmp_path / "data/cars/train/a.jpg").read_bytes() == PHOTOGRAPH
    assert [item.transferred_bytes for item in report.items] == [len(WEIGHTS), len(ARCHIVE)]
    sent = server.sent_bytes()
    again = fetch("cars", destination=tmp_path / "data", catalogue=catalogue, retry=QUICK)
    assert again.ok and [item.state for item in again.items] == ["already present", "already present"]
    assert server.sent_bytes() == sent


def test_the_report_has_a_mark_a_digest_and_the_disk_for_every_item(server, write_catalogue, tmp_path):
    catalogue = write_catalogue(
        weights_item(server), weights_item(server, name="gone", file="b", url=server.url("no"))
    )
    text = str(fetch("cars", destination=tmp_path / "data", catalogue=catalogue, retry=QUICK))
    head, disk_line, first, second = text.splitlines()
    assert head.endswith("1 of 2 present") and "source's own pipeline: 400 GB" in disk_line
    assert first.strip().startswith("✓ net: downloaded") and hashlib.sha256(WEIGHTS).hexdigest() in first
    assert second.strip().startswith("✗ gone: failed") and "404" in second


def test_a_failed_item_does_not_stop_the_others_and_leaves_nothing(server, write_catalogue, tmp_path):
    catalogue = write_catalogue(weights_item(server, md5="0" * 32), data_item(server))
    report = fetch("cars", destination=tmp_path / "data", catalogue=catalogue, retry=QUICK)
    assert not report.ok and [item.state for item in report.items] == ["failed", "downloaded"]
    assert f"received md5 {md5(WEIGHTS)}, expected {'0' * 32}" in report.items[0].figure
    assert names_in(tmp_path / "data") == ["cars/train/a.jpg"]


def test_an_archive_with_a_path_outside_leaves_nothing_unpacked(server, write_catalogue, tmp_path):
    evil = zip_of({"train/a.jpg": b"1", "../../evil": b"2"})
    catalogue = write_catalogue(data_item(server, evil))
    report = fetch("cars", destination=tmp_path / "data", catalogue=catalogue, retry=QUICK)
    assert not report.ok and "leads outside the folder" in report.items[0].figure
    assert names_in(tmp_path / "data") == ["train.zip"] and not (tmp_path / "evil").exists()


def test_an_interrupted_download_is_resumed_by_the_next_call(server, write_catalogue, tmp_path):
    catalogue = write_catalogue(weights_item(server))
    server.files["/UNet.pth"].breaks_after += [150_000, 0, 0]
    first = fetch("cars", destination=tmp_path / "data", catalogue=catalogue, retry=QUICK)
    assert not first.ok and "150000 bytes are kept" in first.items[0].figure
    second = fetch("cars", destination=tmp_path / "data", catalogue=catalogue, retry=QUICK)
    assert second.ok and second.items[0].transferred_bytes == 50_000
    assert server.sent_bytes() == len(WEIGHTS)


def manual_item(content: bytes = ARCHIVE) -> dict:
    item = {"name": "photographs", "kind": "data", "file": "train.zip", "folder": "cars/train", "url": None}
    return item | {"manual": ["Accept the rules.", "Download train.zip."], "md5": md5(content)}


def test_a_file_behind_a_login_has_steps_and_is_used_once_present(write_catalogue, tmp_path):
    catalogue, place = write_catalogue(manual_item()), tmp_path / "data" / "train.zip"
    report = fetch("cars", destination=tmp_path / "data", catalogue=catalogue)
    assert not report.ok and report.items[0].state == "manual download"
    assert f"(1) Accept the rules. (2) Download train.zip. (3) Save it as {place}" in str(report)
    place.write_bytes(b"something else")
    report = fetch("cars", destination=tmp_path / "data", catalogue=catalogue)
    assert report.items[0].state == "failed" and place.read_bytes() == b"something else"
    place.write_bytes(ARCHIVE)
    report = fetch("cars", destination=tmp_path / "data", catalogue=catalogue)
    assert report.ok and names_in(tmp_path / "data") == ["cars/train/a.jpg", "train.zip"]


def test_only_some_items_and_archives_kept(server, write_catalogue, tmp_path):
    catalogue = write_catalogue(weights_item(server), data_item(server))
    kept = {"destination": tmp_path / "data", "catalogue": catalogue, "keep_archives": True}
    report = fetch("cars", only=["data"], **kept)
    assert [item.name for item in report.items] == ["photographs"]
    assert names_in(tmp_path / "data") == ["cars/train/a.jpg", "train.zip"]
    with pytest.raises(ParameterError, match="unknown item"):
        fetch("cars", only=["everything"], **kept)
    with pytest.raises(ParameterError, match="unknown recipe 'car'"):
        fetch("car", **kept)


def test_a_disk_too_small_for_archive_and_content_is_refused_at_once(server, write_catalogue, tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")(1, 1, (64 << 20) + len(ARCHIVE) * 3 // 2)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage)
    catalogue = write_catalogue(data_item(server))
    report = fetch("cars", destination=tmp_path / "data", catalogue=catalogue, retry=QUICK)
    assert not report.ok and "too small for train.zip and its contents" in report.items[0].figure
    assert server.requests == []
