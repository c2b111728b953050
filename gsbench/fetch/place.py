"""Putting unpacked files where they belong, in steps that can be interrupted between any two."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from gsbench.errors import StoreError


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, which is removed in the end if it is still there.

    Raises:
        StoreError: if it cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
        temporary.chmod(0o755)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_folder(temporary: Path, folder: Path) -> None:
    """Give a finished folder its name. What had the name before is removed.

    Raises:
        StoreError: if the system refuses.
    """
    try:
        if folder.exists():  # moved away first: a folder with files cannot be replaced in one step
            folder.rename(temporary.with_name(temporary.name.replace(".tmp-", ".old-")))
        temporary.rename(folder)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error
    remove_leftovers(folder)


def put_files(temporary: Path, folder: Path, names: Iterable[str]) -> None:
    """Move files from one folder to the same relative names in another, one by one.

    Raises:
        StoreError: if the system refuses.
    """
    for name in names:
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).replace(folder / name)
        except OSError as error:
            raise StoreError(f"cannot write {folder / name}: {error.strerror or error}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove what fetches of `folder` that were killed left behind, and the folder that was replaced."""
    for pattern in (".tmp-*", ".old-*"):
        for leftover in folder.parent.glob(f".{folder.name}{pattern}"):
            shutil.rmtree(leftover, ignore_errors=True)
