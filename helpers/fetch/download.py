"""Downloads a file and checks its digests; an interrupted download is resumed, and the target is complete or absent.

The bytes are written to `<target>.part`. `<target>.part.json` records which version of the server's file they belong
to, so that a resumed download never joins two different files.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import logging
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from helpers.errors import DataError, ResourceError
from helpers.run import atomic

_RESERVE_BYTES = 64 << 20
_NETWORK_BLOCK = 1 << 18
_DISK_BLOCK = 1 << 20
_SECONDS_BETWEEN_LINES = 5.0
_AGENT = "segmentation-cookbook"
_RETRYABLE_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_FULL_DISK = "Free space or choose a destination on another disk, then fetch again."
_NOT_KEPT = "It was not kept. Fetch it again; if that repeats, the file at the address has changed."
_LOG = logging.getLogger("cookbook")


@dataclass(frozen=True)
class ExpectedFile:
    """The digests by name (`md5`, `sha256`) and the size that a file must have, as far as they are known."""

    digests: Mapping[str, str]
    size_bytes: int | None = None


@dataclass(frozen=True)
class Download:
    """A finished download: the bytes that this call transferred, the offset that it resumed from, and the digests."""

    path: Path
    transferred_bytes: int
    resumed_from_bytes: int
    digests: Mapping[str, str]


@dataclass(frozen=True)
class RetryPolicy:
    """The time-out of a response, the number of attempts without progress, and the initial pause between them."""

    timeout_s: float = 30.0
    attempts: int = 5
    pause_s: float = 1.0


class RetryableError(Exception):
    """An error that may be temporary: a dropped connection, a time-out, a busy server."""


class StaleRangeError(RetryableError):
    """The server does not have the requested range, so the download must start over."""


def download(url: str, target: Path, expected: ExpectedFile, retry: RetryPolicy | None = None) -> Download:
    """Downloads a file to `target`, resuming an earlier download.

    Raises:
        DataError: the address cannot be downloaded, or the file is not the expected one and was not kept.
        ResourceError: the disk is too small; the bytes so far are kept.
    """
    check_web_address(url)
    retry = retry or RetryPolicy()
    target.parent.mkdir(parents=True, exist_ok=True)
    session = _Session(url, target, expected, retry)
    failures, furthest = 0, session.partial.size()
    while True:
        try:
            session.continue_download()
            return session.finish()
        except RetryableError as error:
            failures = 0 if session.partial.size() > furthest else failures + 1
            furthest = max(furthest, session.partial.size())
            if failures >= retry.attempts:
                raise DataError(
                    f"cannot download {url}",
                    received=f"{error}, without progress in {retry.attempts} attempts",
                    remedy=f"Fetch again later: {session.partial.size()} bytes are kept and will be resumed.",
                ) from None
            _LOG.warning("%s: %s; trying again", target.name, error)
            time.sleep(retry.pause_s * 2 ** max(failures - 1, 0))


def check_file(path: Path, expected: ExpectedFile) -> dict[str, str]:
    """Compares a file with the expected digests and size, and returns its digests.

    Raises:
        DataError: size or digest differ.
    """
    found = hash_file(path)
    _check_expected(path, path.stat().st_size, found, expected, "Move it away and fetch it again.")
    return found


def hash_file(path: Path) -> dict[str, str]:
    """MD5 and SHA-256 of a file, read once."""
    return Hashes.of_file(path).values()


def check_disk_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raises a ResourceError if the disk of a folder is too small for the bytes to be written."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + _RESERVE_BYTES:
        raise ResourceError(
            f"the disk of {folder} is too small for {what}",
            received=f"{free / 1e9:.2f} GB free",
            expected=f"{(needed_bytes + _RESERVE_BYTES) / 1e9:.2f} GB",
            remedy=_FULL_DISK,
        )


def explain_full_disk(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turns "no space left" into a ResourceError that names the path."""
    return atomic.explain_full_disk(path, _FULL_DISK)


class _Session:
    """One call of `download`: its partial file, and the digests of the bytes that it has seen."""

    def __init__(self, url: str, target: Path, expected: ExpectedFile, retry: RetryPolicy):
        self.url, self.target, self.expected, self.retry = url, target, expected, retry
        self.partial = Partial(target)
        self.transferred = 0
        self._resumed_from = 0
        self._hashes: Hashes | None = None  # None: not read yet

    def continue_download(self) -> None:
        known = self.partial.server_file()
        start = self.partial.size()
        if known and known.url == self.url and start == known.size_bytes:
            return
        headers = {"Accept-Encoding": "identity"}
        if known and self._may_resume(known):
            headers["Range"] = f"bytes={start}-"
            if validator := known.validator():
                headers["If-Range"] = validator
        try:
            with open_url(self.url, headers, self.retry.timeout_s) as response:
                offered, hashes = self._position(response, known, start)
                self._receive(response, offered, hashes)
        except StaleRangeError:
            self.partial.remove()
            raise

    def _position(
        self, response: http.client.HTTPResponse, known: ServerFile | None, start: int
    ) -> tuple[ServerFile, Hashes]:
        """The server's file that a response belongs to, and the hashes of the bytes before the response."""
        offered = _describe(self.url, response)
        if response.status == 200:
            if start:
                _LOG.warning("%s: starting over: the file has changed, or the server cannot resume", self.target.name)
            reject_web_page(response, self.url)
            self.partial.begin(offered)
            self._resumed_from, hashes = 0, Hashes()
        elif _continues(response, start) and offered == known:
            self._resumed_from = self._resumed_from or start
            hashes = self._hashes or self.partial.hashes()
        else:
            raise StaleRangeError(f"the server no longer offers bytes from {start}")
        self._hashes = hashes
        return offered, hashes

    def _may_resume(self, known: ServerFile) -> bool:
        # Without a validator, only a digest can detect that two versions of a file were joined.
        return known.url == self.url and bool(known.validator() or self.expected.digests)

    def _receive(self, response: http.client.HTTPResponse, offered: ServerFile, hashes: Hashes) -> None:
        total = offered.size_bytes
        if total and self.expected.size_bytes and total != self.expected.size_bytes:
            self.partial.remove()
            raise _wrong(self.target, f"{total} bytes", f"{self.expected.size_bytes} bytes", _NOT_KEPT)
        have = self.partial.size()
        most = total or self.expected.size_bytes
        if most:
            check_disk_space(self.target.parent, most - have, self.target.name)
        progress = _Progress(self.target.name, have, most)
        with explain_full_disk(self.partial.path), open(self.partial.path, "ab") as stream:
            while block := _read(response):
                stream.write(block)
                hashes.update(block)
                self.transferred += len(block)
                have += len(block)
                progress.show(have)
                if most and have > most:
                    break
        if most and have < most:
            raise RetryableError(f"the connection broke at {have} of {most} bytes")

    def finish(self) -> Download:
        found = (self._hashes or self.partial.hashes()).values()
        try:
            _check_expected(self.target, self.partial.size(), found, self.expected, _NOT_KEPT)
        except DataError:
            self.partial.remove()
            raise
        self.partial.become(self.target)
        _LOG.info("%s: complete, sha256 %s", self.target.name, found["sha256"])
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


@dataclass(frozen=True)
class ServerFile:
    """A server's description of its file; if a later description differs, the file has changed."""

    url: str
    size_bytes: int | None
    etag: str | None
    last_modified: str | None

    def validator(self) -> str | None:
        """The value for an If-Range header: a strong ETag, else the date, else None."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


class Partial:
    """The bytes so far in `<target>.part`, and the server's file that they belong to in `<target>.part.json`."""

    def __init__(self, target: Path):
        self.path = target.with_name(target.name + ".part")
        self._record = target.with_name(target.name + ".part.json")

    def server_file(self) -> ServerFile | None:
        """The file that the bytes belong to; None if it is unknown or there are no bytes."""
        try:
            return ServerFile(**json.loads(self._record.read_text(encoding="utf-8"))) if self.size() else None
        except (OSError, ValueError, TypeError):
            return None

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, server_file: ServerFile) -> None:
        """Drops all bytes and records the file that the next ones belong to."""
        self._record.write_text(json.dumps(asdict(server_file)), encoding="utf-8")
        self.path.write_bytes(b"")

    def hashes(self) -> Hashes:
        """MD5 and SHA-256 of the bytes so far, ready for more."""
        return Hashes.of_file(self.path) if self.path.exists() else Hashes()

    def remove(self) -> None:
        """Removes the bytes and the record."""
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        """Renames the partial file to the target and removes the record."""
        self.path.replace(target)
        self._record.unlink(missing_ok=True)


class Hashes:
    """MD5 and SHA-256 of one stream."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    @classmethod
    def of_file(cls, path: Path) -> Hashes:
        """The hashes of a file's bytes, ready for more."""
        hashes = cls()
        with open(path, "rb") as stream:
            while block := stream.read(_DISK_BLOCK):
                hashes.update(block)
        return hashes

    def update(self, block: bytes) -> None:
        """Adds the next bytes."""
        self._md5.update(block)
        self._sha256.update(block)

    def values(self) -> dict[str, str]:
        """Both digests in hexadecimal digits, by name."""
        return {"md5": self._md5.hexdigest(), "sha256": self._sha256.hexdigest()}


def check_web_address(url: str) -> None:
    """Raises a DataError unless an address is http or https."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise DataError(f"cannot download {url}", expected="an http or https address")


def open_url(url: str, headers: dict[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """Sends a GET request and returns the response, through the proxies of the environment.

    Raises:
        RetryableError: the connection or the server failed in a way that may be temporary.
        DataError: the server rejects the request, or redirects to an address that is not allowed.
    """
    check_web_address(url)
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT, **headers})  # noqa: S310 - checked
    try:
        return _opener().open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _RETRYABLE_STATUSES:
                raise RetryableError(f"the server answered {error.code} {error.reason}") from None
            if error.code == 416:
                raise StaleRangeError("the server no longer has the rest of the file") from None
            raise _refusal(url, error) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"{url} cannot be trusted",
                received=error.reason.verify_message,
                remedy="Check the clock and the certificates of this machine, or the proxy.",
            ) from None
        raise RetryableError(f"no connection ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise RetryableError(f"no connection ({error or type(error).__name__})") from None


def reject_web_page(response: http.client.HTTPResponse, url: str) -> None:
    """Raises a DataError if the response is a web page (a login, a notice, a virus warning) instead of a file."""
    if response.headers.get_content_type() == "text/html":
        raise DataError(
            f"{url} returned a web page instead of the file",
            remedy="Download the file in a browser and put it in place.",
        )


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web addresses, but not from https to http."""

    def redirect_request(
        self,
        request: urllib.request.Request,
        stream: IO[bytes],
        code: int,
        message: str,
        headers: http.client.HTTPMessage,
        new_url: str,
    ) -> urllib.request.Request | None:
        check_web_address(new_url)
        if urlsplit(request.full_url).scheme == "https" and urlsplit(new_url).scheme == "http":
            raise DataError(
                f"{request.full_url} redirects to an unencrypted address", received=new_url, expected="https"
            )
        return super().redirect_request(request, stream, code, message, headers, new_url)


def _opener() -> urllib.request.OpenerDirector:
    # build_opener would add handlers for file, ftp and data addresses.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _WebRedirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _refusal(url: str, error: urllib.error.HTTPError) -> DataError:
    remedies = {
        401: "A login is required: download it in a browser and put it in place.",
        403: "A login is required, or access was restricted: download it in a browser.",
        404: "The file was moved: find it on the project's page and correct the catalogue.",
        410: "The file was removed: find it on the project's page and correct the catalogue.",
    }
    return DataError(
        f"cannot download {url}",
        received=f"{error.code} {error.reason}",
        remedy=remedies.get(error.code, "Check the address in the catalogue."),
    )


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_NETWORK_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise RetryableError(f"the connection broke ({error or type(error).__name__})") from None


def _describe(url: str, response: http.client.HTTPResponse) -> ServerFile:
    length = response.headers.get("Content-Length")
    ranged = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    size = int(ranged.group(1)) if ranged else int(length) if length and length.isdigit() else None
    return ServerFile(url, size, response.headers.get("ETag"), response.headers.get("Last-Modified"))


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status == 206 and start > 0 and content_range.startswith(f"bytes {start}-")


def _check_expected(path: Path, size: int, found: Mapping[str, str], expected: ExpectedFile, remedy: str) -> None:
    if expected.size_bytes and size != expected.size_bytes:
        raise _wrong(path, f"{size} bytes", f"{expected.size_bytes} bytes", remedy)
    for name, value in expected.digests.items():
        if found[name] != value:
            raise _wrong(path, f"{name} {found[name]}", value, remedy)


def _wrong(path: Path, received: str, expected: str, remedy: str) -> DataError:
    return DataError(f"{path.name} is not the expected file", received=received, expected=expected, remedy=remedy)
