"""Opens web addresses and nothing else, and says in one line why one could not be had."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from helpers.errors import DataError

_AGENT = "segmentation-cookbook"
_WORTH_RETRYING = {408, 425, 429, 500, 502, 503, 504}


class RetryableError(Exception):
    """A fault that may be gone in a moment: a dropped line, a time-out, a busy server."""


class StaleRangeError(RetryableError):
    """The server does not have the range that was asked for: only a new start can help."""


def refuse_other_schemes(url: str) -> None:
    """Raises a DataError for anything but http and https (no file, ftp or data address)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise DataError(f"cannot download {url}", expected="an http or https address")


def open_url(url: str, headers: dict[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """Sends a GET and returns the response; proxies of the environment are used.

    Raises:
        RetryableError: the line or the server failed in a way that may pass.
        DataError: the server refused, or leads to another kind of address.
    """
    refuse_other_schemes(url)
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT, **headers})  # noqa: S310 - checked
    try:
        return _opener().open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _WORTH_RETRYING:
                raise RetryableError(f"the server answered {error.code} {error.reason}") from None
            if error.code == 416:
                raise StaleRangeError("the server no longer has the rest of the file") from None
            raise _refusal(url, error) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"{url} cannot be trusted",
                received=error.reason.verify_message,
                remedy="Check this machine's clock and certificates, or the proxy in between.",
            ) from None
        raise RetryableError(f"no connection ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise RetryableError(f"no connection ({error or type(error).__name__})") from None


def refuse_web_page(response: http.client.HTTPResponse, url: str) -> None:
    """Raises a DataError when a page came in place of a file: a login, a notice, a virus warning."""
    if response.headers.get_content_type() == "text/html":
        raise DataError(
            f"{url} answers with a web page instead of the file",
            remedy="Open it in a browser, download the file there and put it in its place.",
        )


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, stream, code, message, headers, new_url):
        refuse_other_schemes(new_url)
        if urlsplit(request.full_url).scheme == "https" and urlsplit(new_url).scheme == "http":
            raise DataError(f"{request.full_url} leads to an unprotected address", received=new_url, expected="https")
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
        401: "It asks for a login: download it in a browser and put it in its place.",
        403: "It asks for a login or no longer serves everyone: download it in a browser.",
        404: "The file was moved: look for it at the project's page and correct the catalogue.",
        410: "The file was removed: look for it at the project's page and correct the catalogue.",
    }
    return DataError(
        f"cannot download {url}",
        received=f"{error.code} {error.reason}",
        remedy=remedies.get(error.code, "Check the address in the catalogue."),
    )
