"""Files that are either there completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gsbench.errors import StoreError


def temporary_sibling(path: Path, suffix: str = ".tmp") -> Path:
    """Create an empty file with a new name in the folder of `path`, hidden, ending in `suffix`.

    It is readable as the umask says (unlike `tempfile`'s files, which only their owner may read).

    Raises:
        StoreError: if the folder is missing or not writable.
    """
    for _ in range(100):
        candidate = path.parent / f".{path.name}.{secrets.token_hex(4)}{suffix}"
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

    If the block raises, nothing remains and whatever had the name before is untouched.

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


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
