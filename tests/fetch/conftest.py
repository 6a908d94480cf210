"""A loopback server that can resume, drop the connection, change its files, refuse and mislead."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Served:
    """One file of the server, and how it behaves."""

    content: bytes
    etag: str | None = None
    last_modified: str | None = None
    ranges: bool = True
    honours_if_range: bool = True
    breaks_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirect_to: str | None = None
    content_type: str = "application/octet-stream"
    sends_length: bool = True

    def __post_init__(self):
        if self.etag is None:
            self.etag = f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


@dataclass(frozen=True)
class Request:
    """What was asked, and how many bytes went over the line."""

    path: str
    range: str | None
    status: int
    sent_bytes: int


class FileServer:
    """Files by path, and the requests so far."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"

    def serve(self, path: str, content: bytes, **behaviour) -> str:
        self.files[f"/{path}"] = Served(content, **behaviour)
        return self.url(path)

    def sent_bytes(self) -> int:
        return sum(request.sent_bytes for request in self.requests)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers as its owner's files are to behave, and notes the request there."""

    protocol_version = "HTTP/1.1"

    def __init__(self, owner: FileServer, *arguments):
        self._owner = owner
        super().__init__(*arguments)

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.close_connection = True
        served = self._owner.files.get(self.path)
        if served is None:
            return self._answer(404)
        if served.statuses:
            return self._answer(served.statuses.pop(0))
        if served.redirect_to:
            return self._answer(302, Location=served.redirect_to)
        start = self._start(served)
        if start is not None and start >= len(served.content):
            return self._answer(416, **{"Content-Range": f"bytes */{len(served.content)}"})
        return self._send(served, start)

    def _start(self, served: Served) -> int | None:
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if not asked or not served.ranges:
            return None
        known = (served.etag, served.last_modified)
        if served.honours_if_range and condition is not None and condition not in known:
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _answer(self, status: int, **headers: str) -> None:
        self._owner.requests.append(Request(self.path, self.headers.get("Range"), status, 0))
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, served: Served, start: int | None) -> None:
        body = served.content[start or 0 :]
        status = 200 if start is None else 206
        sent = body[: served.breaks_after.pop(0)] if served.breaks_after else body
        # Noted first: the client may look at the requests as soon as it has its answer.
        self._owner.requests.append(Request(self.path, self.headers.get("Range"), status, len(sent)))
        self.send_response(status)
        self.send_header("Content-Type", served.content_type)
        if served.sends_length:
            self.send_header("Content-Length", str(len(body)))
        if start is not None:
            last = len(served.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.last_modified:
            self.send_header("Last-Modified", served.last_modified)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client that refuses hangs up
            self.wfile.write(sent)


@pytest.fixture
def server():
    server = FileServer()
    yield server
    server.close()
