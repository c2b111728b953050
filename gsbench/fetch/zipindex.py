"""ZIP archives of which only parts are at hand: where the directory is, which bytes a member takes.

A ZIP file ends in a directory of its members. With that, and the byte ranges of the members that are wanted,
`PiecewiseFile` gives `zipfile` the archive as if all of it were there.
"""

from __future__ import annotations

import bisect
import contextlib
import io
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final

from gsbench.errors import FetchError

_END: Final = struct.Struct("<4s4H2LH")  # end of the central directory
_END_MAGIC: Final = b"PK\5\6"
_LOCATOR: Final = struct.Struct("<4sLQL")  # of the zip64 record
_LOCATOR_MAGIC: Final = b"PK\6\7"
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_END64_MAGIC: Final = b"PK\6\6"

#: Bytes at the end of a file in which the end records must lie: the longest comment, and the records.
TAIL: Final = 65_535 + _END.size + _LOCATOR.size + _END64.size

#: A data set has some ten thousand files, of about a hundred bytes each in the directory.
MAX_DIRECTORY: Final = 256 << 20
MAX_MEMBERS: Final = 1_000_000

#: The fixed part of a member's local header, and at most what follows it before the data.
_LOCAL_HEADER: Final = 30
_LOCAL_EXTRA: Final = 65_535
_DATA_DESCRIPTOR: Final = 24
#: Bytes between two wanted members that are fetched along instead of beginning another request.
_GAP: Final = 1 << 20


@dataclass(frozen=True)
class Directory:
    """Where the central directory lies in the file: bytes [start, end), and how many members it has."""

    start: int
    end: int
    members: int


def find_directory(tail: bytes, total: int, name: str) -> Directory:
    """Find the central directory of a ZIP archive.

    Args:
        tail: its last bytes, `TAIL` of them or all there are.
        total: the archive's length in bytes.
        name: of the archive, for messages.

    Raises:
        FetchError: if it is not a ZIP archive, or its directory is larger than any honest one.
    """
    base = total - len(tail)
    at = tail.rfind(_END_MAGIC)
    while at >= 0 and (at + _END.size > len(tail) or at + _END.size + _comment(tail, at) != len(tail)):
        at = tail.rfind(_END_MAGIC, 0, at)
    if at < 0:
        raise FetchError(f"{name} is not a complete ZIP archive: no directory at its end")
    _, disk, first_disk, here, members, size, offset, _ = _END.unpack_from(tail, at)
    end = at
    locator = at - _LOCATOR.size
    if locator >= 0 and tail[locator : locator + 4] == _LOCATOR_MAGIC:
        end = locator - _END64.size
        if end < 0 or tail[end : end + 4] != _END64_MAGIC:
            raise FetchError(f"{name} is damaged: its zip64 record is not where it should be")
        _, _, _, _, disk, first_disk, here, members, size, offset = _END64.unpack_from(tail, end)
    if disk or first_disk or here != members:
        raise FetchError(f"{name} is one of several parts of a ZIP archive; expected a whole one")
    if size > MAX_DIRECTORY or members > MAX_MEMBERS or members * 46 > size:
        raise FetchError(f"{name}: its directory claims {members:,} members in {size:,} bytes, which is refused")
    if size > base + end or offset > base + end - size:
        raise FetchError(f"{name} is damaged: its directory would begin before the file")
    return Directory(base + end - size, base + end, members)


def _comment(tail: bytes, at: int) -> int:
    return int.from_bytes(tail[at + _END.size - 2 : at + _END.size], "little")


@contextlib.contextmanager
def open_archive(file: IO[bytes], name: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive, after a look at how large its directory claims to be.

    Raises:
        FetchError: if it is not a ZIP archive, or a damaged one.
    """
    total = file.seek(0, io.SEEK_END)
    file.seek(max(0, total - TAIL))
    find_directory(file.read(TAIL), total, name)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
        raise FetchError(f"{name} is not a ZIP archive that can be read: {error}") from error
    with archive:
        yield archive


def wanted_ranges(
    archive: zipfile.ZipFile, members: Iterable[zipfile.ZipInfo], gap: int = _GAP
) -> list[tuple[int, int]]:
    """The byte ranges [start, end) that hold the local headers and data of some members, in order.

    Ranges less than `gap` bytes apart are one.

    Raises:
        FetchError: if the directory says that a member lies behind the directory.
    """
    starts = sorted({info.header_offset for info in archive.infolist()} | {archive.start_dir})
    ranges: list[tuple[int, int]] = []
    for info in sorted(members, key=lambda m: m.header_offset):
        start = info.header_offset
        name = len(info.orig_filename.encode("utf-8", "surrogateescape"))
        longest = start + _LOCAL_HEADER + 3 * name + _LOCAL_EXTRA + info.compress_size + _DATA_DESCRIPTOR
        if not 0 <= start < archive.start_dir:
            raise FetchError(f"the archive is damaged: its directory puts {info.filename!r} outside of the file")
        end = min(longest, starts[bisect.bisect_right(starts, start)], archive.start_dir)
        if ranges and start <= ranges[-1][1] + gap:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], end))
        else:
            ranges.append((start, end))
    return ranges


@dataclass(frozen=True)
class Piece:
    """Bytes of a file from `start` on: in memory, or the content of another file."""

    start: int
    length: int
    content: bytes | Path


class PiecewiseFile(io.RawIOBase):
    """A file to read, of which only some pieces are at hand. Reading anything else is an error.

    Args:
        total: length of the file.
        pieces: what is at hand; where they overlap, the earlier in the list is read.
        name: of the file, for messages.
    """

    def __init__(self, total: int, pieces: Sequence[Piece], name: str) -> None:
        super().__init__()
        self._total, self._pieces, self._name = total, list(pieces), name
        self._position = 0
        self._open: dict[Path, BinaryIO] = {}

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file.

        Raises:
            ValueError: if the position would be negative.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._total}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """As of any file.

        Raises:
            FetchError: if none of these bytes is at hand, which an archive with wrong offsets asks for.
        """
        view = memoryview(buffer)
        want = min(len(view), self._total - self._position)
        if want <= 0:
            return 0
        for piece in self._pieces:
            inside = self._position - piece.start
            if 0 <= inside < piece.length:
                count = self._copy(piece, inside, view[: min(want, piece.length - inside)])
                self._position += count
                return count
        raise FetchError(f"{self._name} is damaged: its directory points to bytes that belong to no member")

    def _copy(self, piece: Piece, inside: int, view: memoryview) -> int:
        if isinstance(piece.content, bytes):
            view[:] = piece.content[inside : inside + len(view)]
            return len(view)
        file = self._open.get(piece.content)
        if file is None:
            file = self._open[piece.content] = piece.content.open("rb")
        file.seek(inside)
        return file.readinto(view)  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        """Close the pieces' files."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        super().close()


def piecewise(total: int, pieces: Sequence[Piece], name: str) -> io.BufferedReader:
    """A `PiecewiseFile` that reads across the borders of pieces, as `zipfile` needs it."""
    return io.BufferedReader(PiecewiseFile(total, pieces, name))


def directory_pieces(read: Callable[[int, int], bytes], total: int, name: str) -> list[Piece]:
    """The end of an archive of `total` bytes, with its whole directory.

    Args:
        read: fetches bytes [start, end).
        total: the archive's length.
        name: of the archive, for messages.

    Raises:
        FetchError: as `find_directory`.
    """
    start = max(0, total - TAIL)
    tail = read(start, total)
    directory = find_directory(tail, total, name)
    pieces = [Piece(start, len(tail), tail)]
    if directory.start < start:
        pieces.append(Piece(directory.start, start - directory.start, read(directory.start, start)))
    return pieces
