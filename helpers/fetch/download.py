"""Downloads one file: resumed where it stopped, checked while it streams, whole or not there."""

from __future__ import annotations

import http.client
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import DataError
from helpers.fetch.disk import explain_full_disk, refuse_small_disk
from helpers.fetch.http import RetryableError, StaleRangeError, open_url, refuse_other_schemes, refuse_web_page
from helpers.fetch.partial import Hashes, Partial, ServerFile, hash_file

_LOG = logging.getLogger("cookbook")
_BLOCK = 1 << 18
_SECONDS_BETWEEN_LINES = 5.0
_NOT_KEPT = "It was not kept. Fetch it again; if that repeats, the file at the address has changed."


@dataclass(frozen=True)
class Wanted:
    """What a download has to be: digests by name (`md5`, `sha256`) and size, as far as they are known."""

    digests: Mapping[str, str]
    size_bytes: int | None = None


@dataclass(frozen=True)
class Download:
    """A finished download: how many bytes came over the line this time, from where it went on, its digests."""

    path: Path
    transferred_bytes: int
    resumed_from_bytes: int
    digests: Mapping[str, str]


@dataclass(frozen=True)
class Patience:
    """How long to wait for an answer, and how often to try again without a single byte gained."""

    timeout_s: float = 30.0
    attempts: int = 5
    pause_s: float = 1.0


def download(url: str, target: Path, wanted: Wanted, patience: Patience | None = None) -> Download:
    """Downloads to `target`, by way of `<target>.part`, which a later call goes on with.

    Raises:
        DataError: the address cannot be had, or what came is not what was wanted; then nothing is kept.
        ResourceError: the disk is too small; what came so far is kept.
    """
    refuse_other_schemes(url)
    patience = patience or Patience()
    target.parent.mkdir(parents=True, exist_ok=True)
    session = _Session(url, target, wanted, patience)
    failures, furthest = 0, session.partial.size()
    while True:
        try:
            session.continue_download()
            return session.finish()
        except RetryableError as error:
            failures = 0 if session.partial.size() > furthest else failures + 1
            furthest = max(furthest, session.partial.size())
            if failures >= patience.attempts:
                raise DataError(
                    f"cannot download {url}",
                    received=f"{error}, without a byte gained in {patience.attempts} attempts",
                    remedy=f"Fetch again later: {session.partial.size()} bytes are kept and not fetched twice.",
                ) from None
            _LOG.warning("%s: %s; trying again", target.name, error)
            time.sleep(patience.pause_s * 2 ** max(failures - 1, 0))


def check_file(path: Path, wanted: Wanted) -> dict[str, str]:
    """Compares a file with what it has to be, and returns its digests; the file stays as it is.

    Raises:
        DataError: size or digest differ.
    """
    found = hash_file(path)
    _refuse_wrong(path, path.stat().st_size, found, wanted, "Move it away and fetch it again.")
    return found


class _Session:
    def __init__(self, url: str, target: Path, wanted: Wanted, patience: Patience):
        self.url, self.target, self.wanted, self.patience = url, target, wanted, patience
        self.partial = Partial(target)
        self.transferred = 0
        self._resumed_from = 0
        self._hashes: Hashes | None = None

    def continue_download(self) -> None:
        known = self.partial.server_file()
        start = self.partial.size()
        if known and known.url == self.url and start == known.size_bytes:
            return
        headers = {"Accept-Encoding": "identity"}
        if known and self._may_go_on(known):
            headers["Range"] = f"bytes={start}-"
            if known.validator():
                headers["If-Range"] = known.validator()
        try:
            with open_url(self.url, headers, self.patience.timeout_s) as response:
                self._receive(response, self._place(response, known, start))
        except StaleRangeError:
            self.partial.remove()
            raise

    def _place(self, response: http.client.HTTPResponse, known: ServerFile | None, start: int) -> ServerFile:
        offered = _describe(self.url, response)
        if response.status == 200:
            if start:
                _LOG.warning("%s: from the start: another file, or it cannot be resumed", self.target.name)
            refuse_web_page(response, self.url)
            self.partial.begin(offered)
            self._resumed_from, self._hashes = 0, Hashes()
        elif _goes_on(response, start) and offered == known:
            self._resumed_from = self._resumed_from or start
            self._hashes = self._hashes or self.partial.hashes()
        else:
            raise StaleRangeError(f"the server no longer offers the bytes from {start} on")
        return offered

    def _may_go_on(self, known: ServerFile) -> bool:
        # Without a validator only a digest could tell a mixture of two files from one.
        return known.url == self.url and bool(known.validator() or self.wanted.digests)

    def _receive(self, response: http.client.HTTPResponse, offered: ServerFile) -> None:
        total = offered.size_bytes
        if total and self.wanted.size_bytes and total != self.wanted.size_bytes:
            self.partial.remove()
            raise _wrong(self.target, f"{total} bytes", f"{self.wanted.size_bytes} bytes", _NOT_KEPT)
        have = self.partial.size()
        most = total or self.wanted.size_bytes
        if most:
            refuse_small_disk(self.target.parent, most - have, self.target.name)
        progress = _Progress(self.target.name, have, most)
        with explain_full_disk(self.partial.path), open(self.partial.path, "ab") as stream:
            while block := _read(response):
                stream.write(block)
                self._hashes.update(block)
                self.transferred += len(block)
                have += len(block)
                progress.show(have)
                if most and have > most:
                    break
        if most and have < most:
            raise RetryableError(f"the line broke at {have} of {most} bytes")

    def finish(self) -> Download:
        found = (self._hashes or self.partial.hashes()).values()
        try:
            _refuse_wrong(self.target, self.partial.size(), found, self.wanted, _NOT_KEPT)
        except DataError:
            self.partial.remove()
            raise
        self.partial.become(self.target)
        _LOG.info("%s: whole, sha256 %s", self.target.name, found["sha256"])
        return Download(self.target, self.transferred, self._resumed_from, found)


class _Progress:
    def __init__(self, name: str, have: int, total: int | None):
        self._name, self._start, self._total = name, have, total
        self._began = self._shown = time.monotonic()

    def show(self, have: int) -> None:
        now = time.monotonic()
        if now - self._shown < _SECONDS_BETWEEN_LINES:
            return
        self._shown = now
        speed = (have - self._start) / (now - self._began) / 1e6
        share = f" of {self._total / 1e6:.1f} MB ({have / self._total:.0%})" if self._total else " MB"
        _LOG.info("%s: %.1f%s, %.1f MB/s", self._name, have / 1e6, share, speed)


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise RetryableError(f"the line broke ({error or type(error).__name__})") from None


def _describe(url: str, response: http.client.HTTPResponse) -> ServerFile:
    length = response.headers.get("Content-Length")
    ranged = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    size = int(ranged.group(1)) if ranged else int(length) if length and length.isdigit() else None
    return ServerFile(url, size, response.headers.get("ETag"), response.headers.get("Last-Modified"))


def _goes_on(response: http.client.HTTPResponse, start: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status == 206 and start > 0 and content_range.startswith(f"bytes {start}-")


def _refuse_wrong(path: Path, size: int, found: Mapping[str, str], wanted: Wanted, remedy: str) -> None:
    if wanted.size_bytes and size != wanted.size_bytes:
        raise _wrong(path, f"{size} bytes", f"{wanted.size_bytes} bytes", remedy)
    for name, value in wanted.digests.items():
        if found[name] != value:
            raise _wrong(path, f"{name} {found[name]}", value, remedy)


def _wrong(path: Path, received: str, expected: str, remedy: str) -> DataError:
    return DataError(f"{path.name} is not the file it should be", received=received, expected=expected, remedy=remedy)
