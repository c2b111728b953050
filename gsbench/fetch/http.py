"""One HTTP request for a file or a part of it: what was asked for, what came, and which failures are worth a retry.

The standard library does it: redirects, proxies and certificates are urllib's, and lengths and resumption have to be
checked here whatever the client is.
"""

from __future__ import annotations

import contextlib
import email.message
import http.client
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from gsbench.errors import FetchError

#: Seconds that a connection may be silent.
TIMEOUT: Final = 60.0

#: Answers that may be better next time.
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
#: What is waited for at most where a server says how long (Retry-After), in seconds.
_PATIENCE: Final = 120.0
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UNSATISFIED: Final = re.compile(r"bytes \*/(\d{1,18})")
#: What an interrupted or impossible conversation raises.
_NETWORK_ERRORS: Final = (OSError, http.client.HTTPException)


class TransientError(Exception):
    """Something that another attempt may cure; `retry_after` is the number of seconds that the server asked for."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RangeError(Exception):
    """The server has no such part (416). `total` is the length that it states, if it does."""

    def __init__(self, total: int | None) -> None:
        super().__init__(f"no such part of {total} bytes")
        self.total = total


@dataclass(frozen=True)
class Validators:
    """What a server says to tell versions of a file apart; "" where it says nothing."""

    etag: str = ""
    last_modified: str = ""

    @property
    def condition(self) -> str:
        """The value of If-Range: a strong ETag, else the date; "" if there is neither."""
        return self.etag if self.etag.startswith('"') else self.last_modified

    def contradicts(self, other: Validators) -> bool:
        """Whether they belong to different versions, as far as both say something."""
        pairs = ((self.etag, other.etag), (self.last_modified, other.last_modified))
        return any(mine and theirs and mine != theirs for mine, theirs in pairs)


@dataclass
class Reply:
    """An answer with content.

    Fields:
        partial: whether it is the part that was asked for (206), or the whole file (200).
        total: length of the whole file, None if not stated.
        length: bytes of this answer's body, None if not stated.
        validators: of the file.
        body: to be read with `read_some`.
        received: bytes of the body so far.
    """

    partial: bool
    total: int | None
    length: int | None
    validators: Validators
    body: http.client.HTTPResponse
    received: int = 0

    def read_some(self, size: int) -> bytes:
        """What has come, up to `size` bytes; none at the body's end, which may be too early: compare with `length`.

        Raises:
            TransientError: if the connection breaks or is silent for too long.
        """
        if self.length is not None:
            size = min(size, self.length - self.received)
        try:
            # read() would wait until all `size` bytes are there, and lose them if the connection breaks meanwhile.
            content = self.body.read1(size) if size else b""
        except _NETWORK_ERRORS as error:
            raise TransientError(describe(error)) from error
        self.received += len(content)
        return content


@contextlib.contextmanager
def request(
    url: str,
    start: int = 0,
    end: int | None = None,
    condition: str = "",
    timeout: float = TIMEOUT,
) -> Iterator[Reply]:
    """Ask for a file, or with `start` or `end` for its bytes [start, end).

    Args:
        url: http or https.
        start: first byte.
        end: after the last byte; None for the end of the file.
        condition: value of If-Range: a changed file is then answered with all of it.
        timeout: seconds of silence after which the connection is given up.

    Raises:
        TransientError: for failures that may pass.
        RangeError: if the file has no such part.
        FetchError: for failures that will not (no such file, no permission, a bad certificate, a bad address).
    """
    check_url(url)
    headers = {"User-Agent": "gsbench", "Accept": "*/*", "Accept-Encoding": "identity"}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if condition:
            headers["If-Range"] = condition
    opener = urllib.request.build_opener(_Redirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(url, error) from error
    except _NETWORK_ERRORS as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise FetchError(f"{url}: the server's certificate is not valid: {cause.verify_message}") from error
        raise TransientError(describe(error)) from error
    except ValueError as error:  # a redirection to something that is no address
        raise FetchError(f"{url}: {error}") from error
    with response:
        yield _reply(url, response, start, end)


def check_url(url: str) -> None:
    """Check that an address is one that `request` takes.

    Raises:
        FetchError: if not.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(c <= " " or c == "\x7f" for c in url) or not url.isascii():
        raise FetchError(f"{url!r} is not an address; expected http://... or https://...")


def describe(error: BaseException) -> str:
    """A failure of the network in words."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "the server is silent"
    if isinstance(cause, http.client.IncompleteRead | http.client.RemoteDisconnected):
        return "the connection broke off"
    if isinstance(cause, OSError) and cause.strerror:
        return str(cause.strerror)
    return str(cause) or type(cause).__name__


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never from https to http, nor to other schemes."""

    max_redirections = 10

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request that follows; headers such as Range are kept."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise FetchError(f"{req.full_url}: redirected to {newurl}, which is not followed (from {req.type})")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    """What an answer without content means."""
    if error.code == 416:
        match = _UNSATISFIED.fullmatch(error.headers.get("Content-Range", ""))
        return RangeError(int(match[1]) if match else None)
    text = f"HTTP status {error.code} {error.reason or ''}".rstrip()
    if error.code in _TRANSIENT:
        return TransientError(text, _retry_after(error.headers))
    return FetchError(f"{url}: {text}")


def _retry_after(headers: email.message.Message) -> float | None:
    text = headers.get("Retry-After", "")
    return min(float(text), _PATIENCE) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _reply(url: str, response: Any, start: int, end: int | None) -> Reply:
    """Check the headers of an answer that has content."""
    headers = response.headers
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise FetchError(f"{url}: the server encodes the file ({encoding}), though it was not asked to")
    validators = Validators(headers.get("ETag", "").strip(), headers.get("Last-Modified", "").strip())
    length: int | None = response.length
    if response.status == 200:
        return Reply(False, length, length, validators, response)
    if response.status != 206 or not (start or end is not None):
        raise FetchError(f"{url}: unexpected HTTP status {response.status} {response.reason}")
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != start or int(match[2]) < start:
        raise FetchError(f"{url}: asked for the bytes from {start}, got {headers.get('Content-Range', 'no range')!r}")
    total = None if match[3] == "*" else int(match[3])
    stated = int(match[2]) + 1 - start
    if (total is not None and start + stated > total) or (end is not None and start + stated > end):
        raise FetchError(f"{url}: asked for bytes {start} to {end or 'the end'}, got {match[0]!r}")
    if length is not None and length != stated:
        raise TransientError(f"the server states {length} bytes and sends {match[0]!r}")
    return Reply(True, total, stated, validators, response)
