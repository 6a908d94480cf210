"""Chromium through Playwright: software WebGL, no network beyond loopback, every request recorded."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    # Offline: only loopback resolves, so any other request fails as it would without a network.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
_LOCAL = {"data", "blob", "about", "chrome", "chrome-extension", "devtools"}


def find_chromium() -> str | None:
    """Finds the browser: COOKBOOK_CHROMIUM, or the first of the usual names."""
    chosen = os.environ.get("COOKBOOK_CHROMIUM")
    return chosen or next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)


@dataclass
class Watched:
    """A page with its requests and errors."""

    page: object
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def outbound(self, allowed_origin: str | None) -> list[str]:
        """Requested addresses that are neither in the page itself nor at the allowed origin."""
        away = []
        for url in self.requests:
            parts = urlsplit(url)
            origin = f"{parts.scheme.replace('ws', 'http')}://{parts.netloc}"
            if parts.scheme not in _LOCAL and origin != allowed_origin:
                away.append(url)
        return away


@contextlib.contextmanager
def open_chromium(executable: str, profile: Path, size: tuple[int, int] = (1400, 1250)) -> Iterator[Watched]:
    """Opens a browser with an empty profile; every request of every page and frame is recorded."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=executable,
            headless=True,
            args=list(FLAGS),
            viewport={"width": size[0], "height": size[1]},
        )
        watched = Watched(context.pages[0] if context.pages else context.new_page())
        context.on("request", lambda request: watched.requests.append(request.url))
        watched.page.on("websocket", lambda socket: watched.requests.append(socket.url))
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        try:
            yield watched
        finally:
            context.close()
