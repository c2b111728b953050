"""Fetching the LPIPS weights: files whose contents are known beforehand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from gsbench._files import atomic_file
from gsbench.errors import FetchError, GsbenchError, StoreError
from gsbench.fetch.catalog import Catalog, PinnedFile
from gsbench.fetch.download import Expected, Progress, download, file_sha256
from gsbench.fetch.options import FetchOptions, Outcome
from gsbench.fetch.places import lpips_folder
from gsbench.fetch.targets import LPIPS

#: (device, inode, size, time of change) of files that were found to be as pinned, or what is wrong with them: hashing
#: half a gigabyte takes a moment, and the question is asked for every image.
_known: dict[tuple[str, tuple[int, ...]], str | None] = {}


def fetch_lpips(options: FetchOptions, catalog: Catalog, progress: Progress) -> Outcome:
    """Fetch the files that are not there, or not as pinned; all of them with `options.force`.

    Raises:
        StoreError: if the folder cannot be used, or another fetch is using it.
    """
    folder = lpips_folder()
    files = list(catalog.lpips.files.values())
    total = sum(file.bytes for file in files)
    needed = [file for file in files if options.force or file_problem(folder / file.name, file) is not None]
    if not needed:
        return Outcome(LPIPS, "present", folder, len(files), total, note="all files are as pinned")
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise StoreError(f"another gsbench fetch is using {folder}; wait until it is done") from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(
            f"{folder} cannot be used: {reason}; expected a folder that can be written, set GSBENCH_WEIGHTS to one"
        ) from error
    try:
        for file in needed:
            _fetch(file, folder, options, progress)
    except GsbenchError as error:
        return Outcome(LPIPS, "failed", folder, error=error)
    finally:
        lock.release()
    return Outcome(LPIPS, "fetched", folder, len(files), total, note="all files are as pinned")


def file_problem(path: Path, pinned: PinnedFile) -> str | None:
    """Why a file is not the pinned one; None if it is. The content is read once, while the file does not change."""
    try:
        with path.open("rb") as file:
            return open_file_problem(file, pinned)
    except FileNotFoundError:
        return "it is not there"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


def open_file_problem(file: BinaryIO, pinned: PinnedFile) -> str | None:
    """As `file_problem`, of an open file, whose position is then anywhere."""
    status = os.fstat(file.fileno())
    if status.st_size != pinned.bytes:
        return f"expected {pinned.bytes:,} bytes, found {status.st_size:,}"
    key = (pinned.sha256, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    if key not in _known:
        file.seek(0)
        digest = file_sha256(file)
        wrong = digest != pinned.sha256
        _known[key] = f"expected SHA-256 {pinned.sha256}, found {digest}" if wrong else None
    return _known[key]


def _fetch(file: PinnedFile, folder: Path, options: FetchOptions, progress: Progress) -> None:
    """Fetch one file from the first address that has it.

    Raises:
        FetchError: if none has.
        StoreError: if it cannot be written.
    """
    progress.stage(f"download {file.name}")
    urls = file.urls
    if options.url is not None:
        if "://" not in options.url:
            _copy(Path(options.url).expanduser() / file.name, file, folder)
            return
        urls = (f"{options.url.rstrip('/')}/{file.name}",)
    for url in urls:
        try:
            download(url, folder / file.name, Expected(file.bytes, file.sha256), options.patience, progress)
            return
        except FetchError as error:
            if url == urls[-1]:
                raise
            progress.note(f"{error}; trying the next address")


def _copy(source: Path, file: PinnedFile, folder: Path) -> None:
    """Copy a file, if it is the pinned one."""
    problem = file_problem(source, file)
    if problem is not None:
        raise FetchError(f"{source} is not {file.name}: {problem}")
    try:
        with source.open("rb") as origin, atomic_file(folder / file.name) as copy:
            while chunk := origin.read(1 << 20):
                copy.write(chunk)
    except OSError as error:
        raise StoreError(f"cannot copy {source}: {error.strerror or error}") from error
    problem = file_problem(folder / file.name, file)
    if problem is not None:
        raise FetchError(f"{source} changed while it was copied: {problem}")
