"""What verbs write: files and folders that are either there completely or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gsbench.errors import StoreError, UsageError


def require_new_folder(output: Path) -> None:
    """Check that `output` can become a new folder.

    Raises:
        UsageError: if something has the name already, an empty folder aside.
    """
    with _errors(output):
        taken = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if taken:
        raise UsageError(f"{output} exists already; expected the name of a new folder")


def require_new_file(output: Path, force: bool) -> None:
    """Check that `output` can become a new file; with `force`, an existing one may be replaced.

    Raises:
        UsageError: if it cannot.
    """
    with _errors(output):
        is_folder, exists = output.is_dir(), output.exists()
    if is_folder:
        raise UsageError(f"{output} is a folder; expected the name of a new file")
    if exists and not force:
        raise UsageError(f"{output} exists already; expected the name of a new file, or --force to replace it")


def make_parent(output: Path) -> None:
    """Make the folder that `output` is to be in.

    Raises:
        StoreError: if that is not possible.
    """
    with _errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder that gets the name `output` when all went well; otherwise nothing remains."""
    with scratch_folder(output) as folder:
        yield folder
        with _errors(output):
            folder.chmod(0o777 & ~_umask())
            folder.replace(output)


@contextmanager
def scratch_folder(output: Path) -> Iterator[Path]:
    """A hidden folder beside `output`, on the same file system, that goes away afterwards."""
    make_parent(output)
    with _errors(output):
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name[:50]}-", dir=output.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _errors(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {output}: {error.strerror or error}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
