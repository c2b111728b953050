"""Files that are either there completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from gsbench.errors import StoreError

#: Longest name of a file that file systems in use allow, in bytes.
_NAME_BYTES: Final = 255


def temporary_sibling(path: Path, suffix: str = ".tmp") -> Path:
    """Create an empty file with a new name in the folder of `path`, hidden, ending in `suffix`.

    It is readable as the umask says (unlike `tempfile`'s files, which only their owner may read).

    Raises:
        StoreError: if the folder is missing or not writable.
    """
    for _ in range(100):
        candidate = path.parent / _hidden_name(path.name, f".{secrets.token_hex(4)}{suffix}")
        try:
            os.close(os.open(candidate, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0), 0o666))
        except FileExistsError:
            continue
        except OSError as error:
            raise StoreError(f"cannot write {path}: {_reason(error)}") from error
        return candidate
    raise StoreError(f"cannot write {path}: no free temporary name in {path.parent}")


def replace(temporary: Path, path: Path) -> None:
    """Give the finished file `temporary` its name, replacing what had it.

    Raises:
        StoreError: if the system refuses.
    """
    try:
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {_reason(error)}") from error


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file open for writing that gets the name `path` when the block ends.

    If the block raises, nothing remains and whatever had the name before is untouched. A process that is killed
    meanwhile leaves a hidden file whose name ends in ``.tmp``.

    Raises:
        StoreError: if the file cannot be written (folder missing, no permission, disk full).
    """
    temporary = temporary_sibling(path)
    try:
        try:
            with temporary.open("wb") as file:
                yield file
        except OSError as error:
            raise StoreError(f"cannot write {path}: {_reason(error)}") from error
        replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk: a rename that follows is then never
    there without them, not even after a power failure.

    Raises:
        OSError: if the disk is full or fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot do it for folders
            raise
    finally:
        os.close(descriptor)


def describe(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _hidden_name(name: str, ending: str) -> str:
    """``.<name><ending>``, the name cut off where the whole would be too long for a file system."""
    room = _NAME_BYTES - 1 - len(os.fsencode(ending))
    if len(os.fsencode(name)) > room:
        # Whole characters only, as some file systems refuse others.
        name = os.fsencode(name)[:room].decode("utf-8", errors="ignore")
    return f".{name}{ending}"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
