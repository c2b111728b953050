"""An archive of the catalog, wherever it is: a local file, parts on a server, or all of it fetched to this disk."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gsbench.errors import FetchError, StoreError
from gsbench.fetch.catalog import Archive
from gsbench.fetch.download import Expected, Progress, RangesRefusedError, download, partial_bytes
from gsbench.fetch.http import Validators
from gsbench.fetch.options import FetchOptions
from gsbench.fetch.remote import Remote, fetch_pieces, probe, read_range
from gsbench.fetch.targets import Target
from gsbench.fetch.unpack import Member
from gsbench.fetch.zipindex import Piece, directory_pieces, open_archive, piecewise, wanted_ranges

#: Free bytes that a fetch leaves on the disk.
_MARGIN: Final = 256 << 20

#: The members that are wanted of an archive, whose name is given for messages.
Choice = Callable[[zipfile.ZipFile, str], list[Member]]


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        StoreError: if there is too little space.
    """
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed + _MARGIN:
        raise StoreError(
            f"{existing}: {what} takes {needed / 1e9:.2f} GB, and only {free / 1e9:.2f} GB are free; "
            "make room, or set GSBENCH_DATA to another disk"
        )


class Opened:
    """An archive in which the members that are wanted can be read."""

    def __init__(self, archive: zipfile.ZipFile, members: Sequence[Member], name: str, validators: Validators) -> None:
        self.archive, self.members, self.name, self.validators = archive, members, name, validators


class Source:
    """An archive of the catalog.

    Args:
        archive: what the catalog knows of it.
        options: of the fetch.
        downloads: folder for what is fetched of it, until it is unpacked.

    `places` are the addresses, or the local file, to try in turn.
    """

    def __init__(self, archive: Archive, options: FetchOptions, downloads: Path) -> None:
        self.archive, self._options, self._downloads = archive, options, downloads
        self._ends: dict[str, tuple[Remote, list[Piece]]] = {}
        self.places: list[str | Path] = list(archive.urls)
        if options.url is not None:
            self.places = [options.url if "://" in options.url else Path(options.url).expanduser()]

    def open(
        self, place: str | Path, target: Target, choose: Choice, progress: Progress, stack: contextlib.ExitStack
    ) -> Opened:
        """Have the files of a scene that `choose` selects ready to be read.

        Raises:
            FetchError: if they cannot be had, or the archive is damaged or hostile.
            StoreError: if they cannot be written.
        """
        if isinstance(place, Path):
            return self._open_file(place, str(place), choose, stack)
        whole = self._whole(place)
        if not whole.is_file():
            for _ in range(2):  # once more if the file has changed between two requests
                remote, end = self._end(place, progress)
                if not end or partial_bytes(whole):
                    break
                try:
                    return self._open_parts(remote, end, target, choose, progress, stack)
                except RangesRefusedError as error:
                    progress.note(str(error))
                    del self._ends[place]
            self._fetch_whole(place, whole, progress)
        try:
            return self._open_file(whole, place, choose, stack)
        except FetchError:
            self.discard(place, target)
            raise

    def forget(self, target: Target) -> None:
        """Remove the parts that were fetched for a scene."""
        for path in self._downloads.glob(f"{target.dataset}-{target.scene}-*"):
            path.unlink(missing_ok=True)

    def discard(self, place: str | Path, target: Target) -> None:
        """Remove what was fetched from `place` and turned out to be damaged."""
        if isinstance(place, str):
            self._whole(place).unlink(missing_ok=True)
            self.forget(target)

    def close(self) -> None:
        """Remove the archive that was fetched whole, unless it is to be kept."""
        if not self._options.keep:
            for place in self.places:
                if isinstance(place, str):
                    self._whole(place).unlink(missing_ok=True)

    def _whole(self, url: str) -> Path:
        return self._downloads / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{self.archive.name}"

    def _end(self, url: str, progress: Progress) -> tuple[Remote, list[Piece]]:
        """The remote file and the end of the archive with its directory; no pieces where the server sends none."""
        if url not in self._ends:
            progress.stage("read directory")
            remote = probe(url, self._options.patience, progress)
            pieces: list[Piece] = []
            if remote.ranges and remote.total is not None:

                def read(start: int, end: int) -> bytes:
                    return read_range(remote, start, end, self._options.patience, progress)

                with contextlib.suppress(RangesRefusedError):
                    pieces = directory_pieces(read, remote.total, url)
            self._ends[url] = (remote, pieces)
        return self._ends[url]

    def _open_parts(
        self,
        remote: Remote,
        end: list[Piece],
        target: Target,
        choose: Choice,
        progress: Progress,
        stack: contextlib.ExitStack,
    ) -> Opened:
        assert remote.total is not None
        with contextlib.ExitStack() as first:
            file = first.enter_context(piecewise(remote.total, end, remote.url))
            archive = first.enter_context(open_archive(file, remote.url))
            chosen = choose(archive, remote.url)
            ranges = wanted_ranges(archive, [member.info for member in chosen])
        version = hashlib.sha256(f"{remote.url} {remote.validators} {remote.total}".encode()).hexdigest()[:12]
        prefix = f"{target.dataset}-{target.scene}-{version}-"
        size = sum(stop - start for start, stop in ranges)
        there = sum(partial_bytes(self._downloads / f"{prefix}{start}-{stop}") for start, stop in ranges)
        unpacked = sum(member.info.file_size for member in chosen)
        check_space(self._downloads, max(0, size - there) + unpacked, "fetching and unpacking")
        progress.stage("download")
        pieces = fetch_pieces(remote, ranges, self._downloads, prefix, self._options.patience, progress)
        file = stack.enter_context(piecewise(remote.total, [*pieces, *end], remote.url))
        archive = stack.enter_context(open_archive(file, remote.url))
        return Opened(archive, choose(archive, remote.url), remote.url, remote.validators)

    def _fetch_whole(self, url: str, whole: Path, progress: Progress) -> None:
        remote, _ = self._end(url, progress)
        size = remote.total or self.archive.about_bytes or 0
        check_space(self._downloads, max(0, size - partial_bytes(whole)), "fetching the archive")
        shown = f" ({size / 1e9:.2f} GB)" if size else ""
        progress.note(f"the server sends no parts of {self.archive.name}, so the whole archive{shown} is fetched")
        progress.stage("download")
        download(url, whole, Expected(remote.total), self._options.patience, progress)

    def _open_file(self, path: Path, name: str, choose: Choice, stack: contextlib.ExitStack) -> Opened:
        try:
            file = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise FetchError(f"{path}: {error.strerror or error}") from error
        archive = stack.enter_context(open_archive(file, name))
        return Opened(archive, choose(archive, name), name, Validators())
