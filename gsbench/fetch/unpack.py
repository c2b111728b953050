"""Unpacking members of a ZIP archive that may be hostile.

Everything is decided from the directory before a byte is written: where each member goes, and how much there is. Names
are refused, never repaired: an archive that names ``../x`` is not the one that was meant.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from gsbench.errors import FetchError, StoreError
from gsbench.fetch.download import Progress

#: Data sets have some thousand files per scene, and photos and models hardly shrink.
MAX_FILES: Final = 200_000
MAX_BYTES: Final = 256 << 30
MAX_RATIO: Final = 200
#: Files below this may have any ratio: a text of zeros is no danger.
_SMALL: Final = 16 << 20

_MAX_NAME: Final = 1024
_MAX_PART: Final = 255  # bytes, on every common file system
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_LOCAL_HEADER: Final = 30
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file in an archive, and its name relative to the folder that is unpacked, with / between parts."""

    info: zipfile.ZipInfo
    name: str


@dataclass(frozen=True)
class FileRecord:
    """A file as it was written: its length and SHA-256."""

    bytes: int
    sha256: str


def find_folder(archive: zipfile.ZipFile, folder: str, name: str) -> str:
    """The folder of `archive` that `folder` means, with a slash at its end.

    Archives are packed with and without a folder around everything, so ``garden`` is also found as ``360_v2/garden``,
    as long as there is one only.

    Raises:
        FetchError: if there is none, or several.
    """
    names = [info.filename for info in archive.infolist()]
    if any(n.startswith(f"{folder}/") for n in names):
        return f"{folder}/"
    found = {n[: n.index(f"/{folder}/") + len(folder) + 2] for n in names if f"/{folder}/" in n}
    shortest = sorted(f for f in found if f.count("/") == min(g.count("/") for g in found))
    if len(shortest) == 1:
        return shortest[0]
    if shortest:
        raise FetchError(f"{name} has several folders {folder!r}: {', '.join(shortest)}")
    tops = sorted({n.partition("/")[0] for n in names if "/" in n})
    raise FetchError(f"{name} has no folder {folder!r}; it has {', '.join(tops[:20]) or 'no folders'}")


def select(archive: zipfile.ZipFile, prefix: str, images: Sequence[str] | None, name: str) -> list[Member]:
    """The files below the folder `prefix`, checked: nothing among them can leave its folder or fill the disk.

    Args:
        archive: to read from.
        prefix: from `find_folder`.
        images: folders of photos to take, such as ("images_4",); other folders whose names begin with "images" are
            left out. None for all.
        name: of the archive, for messages.

    Raises:
        FetchError: if a name is not relative and plain, names clash, a member is a link, encrypted, or packed with
            another method than stored or deflate, members overlap, sizes are beyond what a data set has, or a folder of
            `images` is not there.
    """
    members = []
    for info in archive.infolist():
        if not info.orig_filename.startswith(prefix) and not info.filename.startswith(prefix):
            continue
        relative = info.filename[len(prefix) :]
        if info.is_dir():
            _check_name(f"{prefix}{relative}".rstrip("/"), info, name)
            continue
        _check_name(f"{prefix}{relative}", info, name)
        _check_kind(info, name)
        members.append(Member(info, relative))
    members = _chosen(members, images, prefix, name)
    if not members:
        raise FetchError(f"{name}: the folder {prefix} is empty")
    _check_clashes(members, name)
    _check_sizes(members, name)
    return members


def unpack(
    archive: zipfile.ZipFile,
    members: Sequence[Member],
    folder: Path,
    pinned: Mapping[str, str],
    progress: Progress,
    name: str,
) -> dict[str, FileRecord]:
    """Write `members`, as `select` returned them, into the empty folder `folder`.

    Args:
        archive: they are from.
        members: to write.
        folder: empty, and nobody else's.
        pinned: relative name -> SHA-256 that a file must have.
        progress: told of bytes written.
        name: of the archive, for messages.

    Returns:
        what was written, by relative name.

    Raises:
        FetchError: if data are damaged, longer or shorter than stated, or not as pinned.
        StoreError: if they cannot be written.
    """
    if ignores_case(folder):
        check_case(members, name)
    total = sum(member.info.file_size for member in members)
    written: dict[str, FileRecord] = {}
    done = 0
    for member in sorted(members, key=lambda m: m.info.header_offset):
        record = _write(archive, member, folder, name)
        if pinned.get(member.name, record.sha256) != record.sha256:
            raise FetchError(
                f"{name}: {member.info.filename}: wrong checksum: "
                f"expected SHA-256 {pinned[member.name]}, got {record.sha256}"
            )
        written[member.name] = record
        done += record.bytes
        progress.step(done, total)
    return dict(sorted(written.items()))


def ignores_case(folder: Path) -> bool:
    """Whether the file system of `folder` takes names that differ only in case for the same."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".case-a") as probe:
        path = Path(probe.name)
        return path.with_name(path.name.replace(".case-a", ".CASE-A")).exists()


def check_case(members: Iterable[Member], name: str) -> None:
    """Refuse names that differ only in case, or in how their letters are composed.

    Raises:
        FetchError: for the first such pair.
    """
    seen: dict[str, str] = {}
    for member in members:
        for path in (member.name, *_parents(member.name)):
            other = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
            if other != path:
                raise FetchError(f"{name}: {other!r} and {path!r} are the same name on this file system")


def _check_name(path: str, info: zipfile.ZipInfo, name: str) -> None:
    parts = path.split("/")
    bad = (
        "\\" in info.orig_filename
        or not info.orig_filename.isprintable()  # control characters, NUL, bytes that are no text
        or any(part in ("", ".", "..") or ":" in part for part in parts)
        or len(path) > _MAX_NAME
        or any(len(part.encode("utf-8", "surrogatepass")) > _MAX_PART for part in parts)
    )
    if bad:
        raise FetchError(f"{name}: {info.orig_filename[:200]!r} is no plain relative name; nothing was unpacked")


def _check_kind(info: zipfile.ZipInfo, name: str) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        what = "a link" if kind == stat.S_IFLNK else "neither a file nor a folder"
        raise FetchError(f"{name}: {info.filename!r} is {what}; nothing was unpacked")
    if info.flag_bits & _ENCRYPTED:
        raise FetchError(f"{name}: {info.filename!r} is encrypted")
    if info.compress_type not in _METHODS:
        raise FetchError(f"{name}: {info.filename!r} is packed with method {info.compress_type}; expected deflate")


def _chosen(members: list[Member], images: Sequence[str] | None, prefix: str, name: str) -> list[Member]:
    """The members without the folders of photos that are not asked for."""
    if images is None:
        return members
    there = sorted({m.name.partition("/")[0] for m in members if m.name.startswith("images") and "/" in m.name})
    for folder in images:
        if folder not in there:
            raise FetchError(f"{name}: {prefix} has no folder {folder!r}; it has {', '.join(there) or 'none'}")
    left_out = {folder for folder in there if folder not in images}
    return [m for m in members if m.name.partition("/")[0] not in left_out]


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _check_clashes(members: Sequence[Member], name: str) -> None:
    files: set[str] = set()
    for member in members:
        if member.name in files:
            raise FetchError(f"{name}: {member.info.filename!r} is there twice; nothing was unpacked")
        files.add(member.name)
    for member in members:
        for parent in _parents(member.name):
            if parent in files:
                raise FetchError(f"{name}: {parent!r} is a file and a folder at once; nothing was unpacked")


def _check_sizes(members: Sequence[Member], name: str) -> None:
    total = sum(member.info.file_size for member in members)
    if len(members) > MAX_FILES or total > MAX_BYTES:
        raise FetchError(f"{name}: {len(members):,} files of {total:,} bytes in all are more than a data set has")
    end = 0
    for member in sorted(members, key=lambda m: m.info.header_offset):
        info = member.info
        if info.file_size > _SMALL and info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise FetchError(
                f"{name}: {info.filename!r} would grow from {info.compress_size:,} to {info.file_size:,} bytes; "
                "no file of a data set does"
            )
        if info.header_offset < end:
            raise FetchError(f"{name}: {info.filename!r} shares its data with another file; nothing was unpacked")
        end = info.header_offset + _LOCAL_HEADER + info.compress_size


def _write(archive: zipfile.ZipFile, member: Member, folder: Path, name: str) -> FileRecord:
    path = folder / member.name
    digest, count = hashlib.sha256(), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        with os.fdopen(os.open(path, flags, 0o666), "wb") as file, _reading(archive, member, name) as source:
            while chunk := _read(source, member, name):
                digest.update(chunk)
                count += len(chunk)
                file.write(chunk)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    if count != member.info.file_size:
        raise FetchError(
            f"{name}: {member.info.filename!r} has {count:,} bytes, its directory says {member.info.file_size:,}"
        )
    return FileRecord(count, digest.hexdigest())


@contextlib.contextmanager
def _damage(member: Member, name: str) -> Iterator[None]:
    """Say in one message what `zipfile` finds wrong with a member."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise FetchError(f"{name}: {member.info.filename!r} is damaged: {error or type(error).__name__}") from error


@contextlib.contextmanager
def _reading(archive: zipfile.ZipFile, member: Member, name: str) -> Iterator[IO[bytes]]:
    with _damage(member, name):
        source = archive.open(member.info)
    with source:
        yield source


def _read(source: IO[bytes], member: Member, name: str) -> bytes:
    with _damage(member, name):
        return source.read(_CHUNK)
