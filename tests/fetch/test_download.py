"""A download is resumed, checked and complete, or absent with a clear reason."""

from __future__ import annotations

import collections
import errno
import hashlib
import logging
import random
from pathlib import Path

import pytest

from helpers.errors import DataError, ResourceError
from helpers.fetch import download as disk
from helpers.fetch.download import ExpectedFile, RetryPolicy, check_file, download

CONTENT = random.Random(1).randbytes(3_000_000)
OTHER = random.Random(2).randbytes(3_000_000)
QUICK = RetryPolicy(timeout_s=5, attempts=3, pause_s=0.01)
NO_RETRY = RetryPolicy(timeout_s=5, attempts=0, pause_s=0)


def expected(content: bytes = CONTENT) -> ExpectedFile:
    digests = {name: hashlib.new(name, content).hexdigest() for name in ("md5", "sha256")}
    return ExpectedFile(digests, len(content))


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_complete_file_leaves_nothing_else_behind(server, tmp_path):
    url = server.serve("weights.pth", CONTENT)
    done = download(url, tmp_path / "new" / "weights.pth", expected(), QUICK)
    assert done.path.read_bytes() == CONTENT
    assert (done.transferred_bytes, done.resumed_from_bytes) == (len(CONTENT), 0)
    assert done.digests == expected().digests
    assert leftovers(done.path.parent) == ["weights.pth"]


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path):
    url = server.serve("weights.pth", CONTENT, breaks_after=[1_000_000, 700_000])
    done = download(url, tmp_path / "weights.pth", expected(), QUICK)
    assert done.path.read_bytes() == CONTENT
    assert server.sent_bytes() == done.transferred_bytes == len(CONTENT)
    assert [request.range for request in server.requests] == [None, "bytes=1000000-", "bytes=1700000-"]


def test_a_later_call_fetches_only_the_rest(server, tmp_path):
    url = server.serve("weights.pth", CONTENT, breaks_after=[1_200_000, 0, 0, 0])
    target = tmp_path / "weights.pth"
    with pytest.raises(DataError, match=r"broke at 1200000 of 3000000.*1200000 bytes are kept"):
        download(url, target, expected(), QUICK)
    assert leftovers(tmp_path) == ["weights.pth.part", "weights.pth.part.json"]
    done = download(url, target, expected(), QUICK)
    assert target.read_bytes() == CONTENT
    assert (done.resumed_from_bytes, done.transferred_bytes) == (1_200_000, 1_800_000)
    assert leftovers(tmp_path) == ["weights.pth"]


def interrupted(server, tmp_path, **behaviour) -> tuple[str, Path]:
    """A target of which 1.2 MB of 3 MB came before the call gave up."""
    url = server.serve("weights.pth", CONTENT, breaks_after=[1_200_000], **behaviour)
    target = tmp_path / "weights.pth"
    with pytest.raises(DataError):
        download(url, target, ExpectedFile({}), NO_RETRY)
    assert (tmp_path / "weights.pth.part").stat().st_size == 1_200_000
    server.requests.clear()
    return url, target


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, tmp_path):
    url, target = interrupted(server, tmp_path, ranges=False)
    done = download(url, target, expected(), QUICK)
    assert target.read_bytes() == CONTENT
    assert (done.resumed_from_bytes, server.sent_bytes()) == (0, len(CONTENT))


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changed_at_the_server_is_read_from_the_start(server, tmp_path, honours_if_range):
    url, target = interrupted(server, tmp_path)
    server.serve("weights.pth", OTHER, honours_if_range=honours_if_range)
    download(url, target, ExpectedFile({}), QUICK)
    assert target.read_bytes() == OTHER
    statuses = [request.status for request in server.requests]
    assert server.requests[0].range == "bytes=1200000-"
    assert statuses == ([200] if honours_if_range else [206, 200])


def test_without_validator_or_digest_nothing_is_resumed(server, tmp_path):
    url, target = interrupted(server, tmp_path, etag="")
    server.serve("weights.pth", OTHER, etag="")
    download(url, target, ExpectedFile({}), QUICK)
    assert target.read_bytes() == OTHER and server.requests[0].range is None


def test_a_date_alone_is_enough_to_resume(server, tmp_path):
    date = "Fri, 14 Aug 2020 10:00:00 GMT"
    url, target = interrupted(server, tmp_path, etag='W/"weak"', last_modified=date)
    done = download(url, target, ExpectedFile({}), QUICK)
    assert target.read_bytes() == CONTENT and done.transferred_bytes == 1_800_000


def test_a_file_shortened_at_the_server_is_read_from_the_start(server, tmp_path):
    url, target = interrupted(server, tmp_path)
    server.serve("weights.pth", CONTENT[:1000], honours_if_range=False)
    download(url, target, ExpectedFile({}), QUICK)
    assert target.read_bytes() == CONTENT[:1000]
    assert [request.status for request in server.requests] == [416, 200]


def test_damaged_bytes_on_the_disk_are_found_by_the_digest(server, tmp_path):
    url, target = interrupted(server, tmp_path)
    part = tmp_path / "weights.pth.part"
    part.write_bytes(b"x" + part.read_bytes()[1:])
    with pytest.raises(DataError, match="is not the expected file"):
        download(url, target, expected(), QUICK)
    assert leftovers(tmp_path) == []
    assert download(url, target, expected(), QUICK).path.read_bytes() == CONTENT


def test_a_wrong_digest_is_refused_and_nothing_is_kept(server, tmp_path):
    url = server.serve("weights.pth", OTHER)
    digest = hashlib.md5(CONTENT).hexdigest()
    with pytest.raises(DataError, match=f"received md5 {hashlib.md5(OTHER).hexdigest()}, expected {digest}"):
        download(url, tmp_path / "weights.pth", ExpectedFile({"md5": digest}), QUICK)
    assert leftovers(tmp_path) == []


def test_a_wrong_size_is_refused_before_the_transfer(server, tmp_path):
    url = server.serve("weights.pth", CONTENT)
    with pytest.raises(DataError, match="received 3000000 bytes, expected 5 bytes"):
        download(url, tmp_path / "weights.pth", ExpectedFile({}, 5), QUICK)
    assert leftovers(tmp_path) == []


def test_a_server_without_lengths_is_read_to_its_end(server, tmp_path):
    url = server.serve("weights.pth", CONTENT, sends_length=False)
    assert download(url, tmp_path / "weights.pth", expected(), QUICK).path.read_bytes() == CONTENT
    with pytest.raises(DataError, match="expected 2999999 bytes"):
        download(url, tmp_path / "other.pth", ExpectedFile({}, len(CONTENT) - 1), QUICK)


def test_a_busy_server_is_asked_again_and_an_absent_file_is_not(server, tmp_path):
    url = server.serve("weights.pth", CONTENT, statuses=[503, 429])
    download(url, tmp_path / "weights.pth", expected(), QUICK)
    assert [request.status for request in server.requests] == [503, 429, 200]
    server.requests.clear()
    with pytest.raises(DataError, match=r"404 Not Found.*was moved"):
        download(server.url("nothing"), tmp_path / "nothing", ExpectedFile({}), QUICK)
    assert len(server.requests) == 1


def test_attempts_without_progress_are_bounded(server, tmp_path):
    url = server.serve("weights.pth", CONTENT, breaks_after=[1000] * 50, ranges=False)
    with pytest.raises(DataError, match="without progress in 3 attempts"):
        download(url, tmp_path / "weights.pth", expected(), QUICK)
    assert len(server.requests) == 4


def test_no_server_at_all_is_one_clear_line(tmp_path):
    with pytest.raises(DataError, match="no connection") as caught:
        download("http://127.0.0.1:9/weights.pth", tmp_path / "weights.pth", ExpectedFile({}), NO_RETRY)
    assert "\n" not in str(caught.value)


def test_a_login_page_is_not_mistaken_for_a_file(server, tmp_path):
    url = server.serve("train.zip", b"<html>Please log in</html>", content_type="text/html; charset=utf-8")
    with pytest.raises(DataError, match="web page instead of the file"):
        download(url, tmp_path / "train.zip", ExpectedFile({}), QUICK)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,a", "weights.pth"])
def test_only_web_addresses_are_opened_after_redirects_too(url, server, tmp_path):
    with pytest.raises(DataError, match="an http or https address"):
        download(url, tmp_path / "a", ExpectedFile({}), QUICK)
    if "://" in url:
        moved = server.serve("moved", b"", redirect_to=url)
        with pytest.raises(DataError, match=r"not allowed|an http or https address"):
            download(moved, tmp_path / "a", ExpectedFile({}), QUICK)
    assert leftovers(tmp_path) == []


def test_a_redirect_is_followed(server, tmp_path):
    server.serve("there", CONTENT, breaks_after=[1_000_000])
    url = server.serve("here", b"", redirect_to="/there")
    assert download(url, tmp_path / "a", expected(), QUICK).path.read_bytes() == CONTENT
    assert server.sent_bytes() == len(CONTENT)


def test_a_small_disk_is_refused_before_the_transfer(server, tmp_path, monkeypatch):
    url = server.serve("weights.pth", CONTENT)
    usage = collections.namedtuple("usage", "total used free")(1, 1, 2_000_000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ResourceError, match=r"too small for weights\.pth: received 0\.00 GB free"):
        download(url, tmp_path / "weights.pth", expected(), QUICK)
    assert (tmp_path / "weights.pth.part").stat().st_size == 0


def test_a_disk_that_fills_up_keeps_the_bytes_so_far(server, tmp_path, monkeypatch):
    url = server.serve("weights.pth", CONTENT)
    real_open = open

    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *problem):
            self.stream.close()

        def write(self, block):
            if self.stream.tell() > 1_000_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.stream.write(block)

    monkeypatch.setattr("helpers.fetch.download.open", lambda path, mode: Full(real_open(path, mode)), raising=False)
    with pytest.raises(ResourceError, match="no disk space left while writing"):
        download(url, tmp_path / "weights.pth", expected(), QUICK)
    monkeypatch.undo()
    kept = (tmp_path / "weights.pth.part").stat().st_size
    assert 1_000_000 < kept < len(CONTENT)
    done = download(url, tmp_path / "weights.pth", expected(), QUICK)
    assert done.path.read_bytes() == CONTENT and done.transferred_bytes == len(CONTENT) - kept


def test_progress_goes_to_the_log(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("helpers.fetch.download._SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, "cookbook"):
        download(server.serve("weights.pth", CONTENT), tmp_path / "weights.pth", expected(), QUICK)
    lines = [record.getMessage() for record in caplog.records]
    assert any("of 3.0 MB (" in line and "MB/s" in line for line in lines)
    assert lines[-1] == f"weights.pth: complete, sha256 {hashlib.sha256(CONTENT).hexdigest()}"


def test_a_present_file_is_checked_and_never_removed(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(CONTENT)
    assert check_file(path, expected()) == expected().digests
    with pytest.raises(DataError, match="Move it away"):
        check_file(path, expected(OTHER))
    assert path.read_bytes() == CONTENT
