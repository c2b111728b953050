"""Downloads that go on where they were broken off.

While a file is fetched, its bytes are in ``NAME.part`` and what the server said of it in ``NAME.part.json``. A broken
download goes on with a Range request, under the condition (If-Range) that the file is still the same one; where that
cannot be known or the server does not send parts, it begins anew. The file gets its name when its length is right, and
its SHA-256 where that is known.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from gsbench._files import replace
from gsbench.errors import FetchError, StoreError
from gsbench.fetch.http import TIMEOUT, RangeError, Reply, TransientError, Validators, request

_CHUNK: Final = 1 << 18


class Progress(Protocol):
    """Told how far a download or an unpacking is."""

    def stage(self, name: str) -> None:
        """Something begins: "download", "unpack"."""

    def step(self, done: int, total: int | None) -> None:
        """So many bytes are done, of so many; None if that is not known."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """No progress."""

    def stage(self, name: str) -> None:
        """See `Progress`."""

    def step(self, done: int, total: int | None) -> None:
        """See `Progress`."""

    def note(self, text: str) -> None:
        """See `Progress`."""


@dataclass(frozen=True)
class Patience:
    """How failures that may pass are met.

    Fields:
        attempts: how often in a row something may fail without a byte gained.
        delay: seconds before the second attempt; each further one waits twice as long, up to `longest`.
        timeout: seconds of silence after which a connection is given up.
        sleep: waits that many seconds.
    """

    attempts: int = 6
    delay: float = 1.0
    longest: float = 30.0
    timeout: float = TIMEOUT
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)

    def before(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return float(min(self.delay * 2.0 ** (failures - 1), self.longest))


class RangesRefusedError(Exception):
    """The server does not send the parts that are asked for, or the file is not the one that it was."""


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it is fetched: its length in bytes, its SHA-256; None where not known."""

    length: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class _State:
    """What is in ``NAME.part``: bytes [start, start + size) of this file, as the server described it."""

    url: str
    start: int
    end: int | None
    total: int | None
    validators: Validators


def download(
    url: str,
    path: Path,
    expected: Expected = Expected(),
    patience: Patience = Patience(),
    progress: Progress | None = None,
) -> Validators:
    """Fetch a file into `path`, whose folder exists; a download that was broken off before goes on.

    Returns:
        what the server says to tell versions of the file apart.

    Raises:
        FetchError: if it cannot be had, or is not as expected. What came so far is kept if it may be of use.
        StoreError: if it cannot be written.
    """
    return _Download(url, path, expected, 0, None, Validators(), patience, progress or Silent()).run()


def download_part(
    url: str,
    path: Path,
    start: int,
    end: int,
    validators: Validators,
    patience: Patience = Patience(),
    progress: Progress | None = None,
) -> None:
    """Fetch bytes [start, end) of the version of a file that `validators` describe into `path`.

    Raises:
        RangesRefusedError: if the server sends something else than this part of this version.
        FetchError, StoreError: as `download`.
    """
    _Download(url, path, Expected(end - start), start, end, validators, patience, progress or Silent()).run()


def file_sha256(file: BinaryIO, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of the rest of an open file, in hex."""
    digest, done = hashlib.sha256(), 0
    while chunk := file.read(1 << 20):
        digest.update(chunk)
        done += len(chunk)
        if progress is not None:
            progress(done)
    return digest.hexdigest()


class _Download:
    """One download: the state that its attempts share."""

    def __init__(
        self,
        url: str,
        path: Path,
        expected: Expected,
        start: int,
        end: int | None,
        validators: Validators,
        patience: Patience,
        progress: Progress,
    ) -> None:
        self.url, self.path, self.expected = url, path, expected
        self.start, self.end, self.validators = start, end, validators
        self.patience, self.progress = patience, progress
        self.part = path.with_name(path.name + ".part")
        self.described = path.with_name(path.name + ".part.json")
        #: Whether what is in the part came in this call from the first byte on.
        self.fresh = False
        self.restarts = 0

    def run(self) -> Validators:
        """Attempt until it is done or no longer worth it."""
        failures, best = 0, self._size()
        while True:
            try:
                state = self._attempt()
                break
            except TransientError as error:
                size = self._size()
                failures = 1 if size > best else failures + 1
                best = max(best, size)
                if failures >= self.patience.attempts:
                    kept = "; what came is kept, the same command goes on from there" if size else ""
                    raise FetchError(f"{self.url}: {error} ({failures} attempts in a row){kept}") from error
                wait = self.patience.before(failures)
                wait = wait if error.retry_after is None else max(wait, error.retry_after)
                self.progress.note(f"{error}; trying again in {wait:g} s")
                self.patience.sleep(wait)
            except OSError as error:
                raise StoreError(f"cannot write {self.part}: {error.strerror or error}") from error
        return self._finish(state)

    def _size(self) -> int:
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def _resumable(self) -> _State | None:
        """What the files of an earlier attempt hold, if it can be gone on with."""
        try:
            state = _read_state(self.described)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if (state.url, state.start, state.end) != (self.url, self.start, self.end):
            return None
        if state.validators.contradicts(self.validators):
            return None
        # Without a condition, whether the rest fits is only known if the whole is checked in the end.
        if not state.validators.condition and self.expected.sha256 is None:
            return None
        wanted = self._wanted(state.total)
        return state if wanted is None or self._size() <= wanted else None

    def _wanted(self, total: int | None) -> int | None:
        """Bytes that the part has when it is complete."""
        return total if self.end is None else self.end - self.start

    def _attempt(self) -> _State:
        """One request; returns when the part is complete."""
        state = self._resumable()
        have = self._size() if state is not None else 0
        if have == 0:
            state, self.fresh = None, True
        if state is not None and have == self._wanted(state.total):
            return state
        condition = (state.validators if state else self.validators).condition
        try:
            with request(self.url, self.start + have, self.end, condition, self.patience.timeout) as reply:
                return self._receive(reply, state, have)
        except RangeError as error:
            if self.end is not None:
                raise RangesRefusedError(f"{self.url} has no bytes {self.start} to {self.end}") from error
            if state is not None and have == error.total and state.total in (None, have):
                return state  # it had ended there, and the server had not said where it would
            self._discard()
            raise TransientError("the file is not the one that it was; beginning anew") from error

    def _receive(self, reply: Reply, state: _State | None, have: int) -> _State:
        """Append the body of an answer to the part, after checking that it fits."""
        if self.end is not None and (not reply.partial or self.validators.contradicts(reply.validators)):
            raise RangesRefusedError(f"{self.url}: the server does not send parts, or the file has changed")
        if not reply.partial:
            if have:
                self.progress.note("the server does not go on where it stopped; beginning anew")
            have = 0
        elif state is not None and _differs(state, reply):
            self._discard()
            raise TransientError("the file is not the one that it was; beginning anew")
        total = reply.total
        if self.end is None and None not in (total, self.expected.length) and total != self.expected.length:
            raise FetchError(f"{self.url}: expected {self.expected.length:,} bytes, the server has {total:,}")
        if have == 0:
            self.fresh = True
            self.part.write_bytes(b"")
            state = _State(self.url, self.start, self.end, total, reply.validators)
            self.described.write_text(json.dumps(asdict(state)), encoding="utf-8")
        assert state is not None
        wanted = self._wanted(total) if self._wanted(total) is not None else self.expected.length
        with self.part.open("r+b") as file:
            file.seek(have)
            file.truncate()
            have = self._copy(reply, file, have, wanted)
        if wanted is not None and have < wanted:
            raise TransientError(f"the connection broke off after {have:,} of {wanted:,} bytes")
        return state

    def _copy(self, reply: Reply, file: BinaryIO, have: int, wanted: int | None) -> int:
        """Write the body; returns the length of the part."""
        while chunk := reply.read_some(_CHUNK):
            if wanted is not None and have + len(chunk) > wanted:
                self._discard()
                raise FetchError(f"{self.url}: expected {wanted:,} bytes, the server sends more")
            file.write(chunk)
            have += len(chunk)
            self.progress.step(have, wanted)
        return have

    def _finish(self, state: _State) -> Validators:
        """Check the complete part and give it its name."""
        try:
            problem = self._problem()
            if problem is None:
                replace(self.part, self.path)
                self.described.unlink(missing_ok=True)
                return state.validators
            self._discard()
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}") from error
        if not self.fresh and self.restarts == 0:
            # Parts of two versions, or bytes that were lost with the machine's power.
            self.restarts += 1
            self.progress.note(f"{problem}; beginning anew, as a part of it came earlier")
            return self.run()
        raise FetchError(f"{self.url}: {problem}; the file was removed")

    def _problem(self) -> str | None:
        size = self._size()
        if self.expected.length is not None and size != self.expected.length:
            return f"expected {self.expected.length:,} bytes, got {size:,}"
        if self.expected.sha256 is not None:
            with self.part.open("rb") as file:
                digest = file_sha256(file)
            if digest != self.expected.sha256:
                return f"wrong checksum: expected SHA-256 {self.expected.sha256}, got {digest}"
        return None

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.described.unlink(missing_ok=True)


def _read_state(path: Path) -> _State:
    """What an earlier call has written, with every type checked: the file is anybody's to change."""
    value = json.loads(path.read_text(encoding="utf-8"))
    validators = Validators(str(value["validators"]["etag"]), str(value["validators"]["last_modified"]))
    end, total = (None if value[name] is None else int(value[name]) for name in ("end", "total"))
    return _State(str(value["url"]), int(value["start"]), end, total, validators)


def _differs(state: _State, reply: Reply) -> bool:
    """Whether an answer is about another version of the file."""
    lengths = (state.total, reply.total)
    return state.validators.contradicts(reply.validators) or (None not in lengths and lengths[0] != lengths[1])


def partial_bytes(path: Path) -> int:
    """Bytes of `path` that an earlier download has left, complete or not."""
    for candidate in (path, path.with_name(path.name + ".part")):
        try:
            return candidate.stat().st_size
        except OSError:
            continue
    return 0
