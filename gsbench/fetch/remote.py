"""An archive on a server: whether parts of it can be had, and the parts that some scenes need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from gsbench.errors import FetchError
from gsbench.fetch.download import Patience, Progress, RangesRefusedError, download_part
from gsbench.fetch.http import RangeError, TransientError, Validators, request
from gsbench.fetch.zipindex import Piece

T = TypeVar("T")

_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Fields:
        url: its address.
        total: its length; None if the server does not say.
        ranges: whether the server sends parts of it.
        validators: what tells its versions apart.
    """

    url: str
    total: int | None
    ranges: bool
    validators: Validators


def probe(url: str, patience: Patience, progress: Progress) -> Remote:
    """Ask a server for the first byte of a file, to learn its length and whether parts of it can be had.

    Raises:
        FetchError: if the file cannot be had.
    """

    def ask() -> Remote:
        try:
            with request(url, 0, 1, timeout=patience.timeout) as reply:
                return Remote(url, reply.total, reply.partial and reply.total is not None, reply.validators)
        except RangeError as error:
            raise FetchError(f"{url} is empty") from error

    return _patiently(ask, url, patience, progress)


def read_range(remote: Remote, start: int, end: int, patience: Patience, progress: Progress) -> bytes:
    """Bytes [start, end) of a file, in memory.

    Raises:
        RangesRefusedError: if the server sends something else.
        FetchError: if they cannot be had.
    """

    def ask() -> bytes:
        try:
            with request(remote.url, start, end, remote.validators.condition, patience.timeout) as reply:
                if not reply.partial or remote.validators.contradicts(reply.validators) or reply.total != remote.total:
                    raise RangesRefusedError(f"{remote.url}: the server does not send parts, or the file has changed")
                content = bytearray()
                while len(content) < end - start and (chunk := reply.read_some(_CHUNK)):
                    content += chunk
        except RangeError as error:
            raise RangesRefusedError(f"{remote.url} has no bytes {start} to {end}") from error
        if len(content) != end - start:
            raise TransientError(f"the connection broke off after {len(content):,} of {end - start:,} bytes")
        return bytes(content)

    return _patiently(ask, remote.url, patience, progress)


def fetch_pieces(
    remote: Remote,
    ranges: Sequence[tuple[int, int]],
    folder: Path,
    prefix: str,
    patience: Patience,
    progress: Progress,
) -> list[Piece]:
    """Fetch parts of a file into files ``<prefix><start>-<end>`` of `folder`; those that are there are used.

    The version of the remote file is part of the names, so that parts of different versions never meet.

    Raises:
        RangesRefusedError, FetchError, StoreError: as `gsbench.fetch.download.download_part`.
    """
    total, done = sum(end - start for start, end in ranges), 0
    pieces = []
    for start, end in ranges:
        path = folder / f"{prefix}{start}-{end}"
        if not (path.is_file() and path.stat().st_size == end - start):
            shown = _Offset(progress, done, total)
            download_part(remote.url, path, start, end, remote.validators, patience, shown)
        done += end - start
        progress.step(done, total)
        pieces.append(Piece(start, end - start, path))
    return pieces


class _Offset:
    """Shows the progress of one part as that of all."""

    def __init__(self, progress: Progress, before: int, total: int) -> None:
        self._progress, self._before, self._total = progress, before, total

    def stage(self, name: str) -> None:
        """See `Progress`."""
        self._progress.stage(name)

    def step(self, done: int, total: int | None) -> None:
        """See `Progress`."""
        self._progress.step(self._before + done, self._total)

    def note(self, text: str) -> None:
        """See `Progress`."""
        self._progress.note(text)


def _patiently(attempt: Callable[[], T], url: str, patience: Patience, progress: Progress) -> T:
    """Attempt again after failures that may pass."""
    failures = 0
    while True:
        try:
            return attempt()
        except TransientError as error:
            failures += 1
            if failures >= patience.attempts:
                raise FetchError(f"{url}: {error} ({failures} attempts in a row)") from error
            wait = max(patience.before(failures), error.retry_after or 0.0)
            progress.note(f"{error}; trying again in {wait:g} s")
            patience.sleep(wait)
