"""Fetching scenes: from the catalog's addresses to folders that are complete or not there."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from gsbench.errors import FetchError, GsbenchError, StoreError, UsageError
from gsbench.fetch.catalog import Archive, Catalog
from gsbench.fetch.download import Expected, Progress, RangesRefusedError, download, partial_bytes
from gsbench.fetch.http import Validators
from gsbench.fetch.options import FetchOptions, Outcome
from gsbench.fetch.place import put_files, put_folder, temporary_folder
from gsbench.fetch.places import data_root, dataset_folder
from gsbench.fetch.record import SceneRecord, missing_files, read_record, write_record
from gsbench.fetch.remote import Remote, fetch_pieces, probe, read_range
from gsbench.fetch.targets import Target
from gsbench.fetch.unpack import FileRecord, Member, find_folder, select, unpack
from gsbench.fetch.zipindex import Piece, directory_pieces, open_archive, piecewise, wanted_ranges

#: Where downloads lie until they are unpacked.
_DOWNLOADS: Final = ".downloads"
#: Free bytes that a fetch leaves on the disk.
_MARGIN: Final = 256 << 20

#: Makes the progress of one target, which is named.
Shown = Callable[[str], Progress]
#: The members that are wanted of an archive, whose name is given for messages.
Choice = Callable[[zipfile.ZipFile, str], list[Member]]


def fetch_scenes(targets: Sequence[Target], options: FetchOptions, catalog: Catalog, shown: Shown) -> Iterator[Outcome]:
    """Fetch scenes, and yield what came of each as soon as that is known.

    A scene that fails does not keep the others from being fetched. What is there already is not touched, and costs no
    connection.

    Raises:
        UsageError: if `options.url` is given for targets of several archives.
        StoreError: if the data folder cannot be used, or another fetch is using it.
    """
    archives = {target: _archive(catalog, target) for target in targets}
    names = sorted({archive.name for archive in archives.values()})
    if options.url is not None and len(names) > 1:
        raise UsageError(f"--url stands for one archive, and these targets come from {len(names)}: {', '.join(names)}")
    waiting = []
    for target in targets:
        outcome = None if options.force else _present(target, options)
        if outcome is None:
            waiting.append(target)
        else:
            yield outcome
    if not waiting:
        return
    with _locked(data_root()):
        sources: dict[str, _Source] = {}
        for index, target in enumerate(waiting):
            archive = archives[target]
            source = sources.setdefault(archive.name, _Source(archive, options))
            yield _fetch(target, source, options, catalog, shown(str(target)))
            if not any(archives[t].name == archive.name for t in waiting[index + 1 :]):
                source.close()


def _archive(catalog: Catalog, target: Target) -> Archive:
    archive = catalog.datasets[target.dataset].archive(target.scene)
    if archive is None:
        raise UsageError(f"{target} cannot be fetched; it has to be placed by hand")
    return archive


def _present(target: Target, options: FetchOptions) -> Outcome | None:
    """What is there already, if nothing is missing."""
    folder = dataset_folder(target.dataset, target.scene)
    try:
        if not folder.is_dir():
            return None
        record = read_record(folder)
    except StoreError as error:
        return Outcome(str(target), "failed", folder, error=error)
    if record is None:
        return Outcome(str(target), "present", folder, note="placed by hand: there is no record of its files")
    if missing_files(folder, record) or not _covers(record.images, options.images):
        return None
    return Outcome(str(target), "present", folder, len(record.files), record.bytes)


def _covers(have: tuple[str, ...] | None, want: tuple[str, ...] | None) -> bool:
    """Whether the folders of photos that are there are all that are wanted; None means all that exist."""
    return have is None or (want is not None and set(want) <= set(have))


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the data folder, which is made if it is not there."""
    downloads = root / _DOWNLOADS
    lock = FileLock(downloads / "lock", timeout=0)
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise StoreError(
            f"another gsbench fetch is using {root}; wait until it is done, or set GSBENCH_DATA to another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(
            f"the data folder {root} cannot be used: {reason}; expected one that can be written, set GSBENCH_DATA to it"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _fetch(target: Target, source: _Source, options: FetchOptions, catalog: Catalog, progress: Progress) -> Outcome:
    """Fetch one scene, from the first address that has it."""
    folder = dataset_folder(target.dataset, target.scene)
    errors: list[GsbenchError] = []
    for place in source.places:
        try:
            return _fetch_from(place, target, folder, source, options, catalog, progress)
        except FetchError as error:
            errors.append(error)
            if place is not source.places[-1]:
                progress.note(f"{error}; trying the next address")
        except StoreError as error:
            errors.append(error)
            break
    return Outcome(str(target), "failed", folder, error=errors[-1])


def _fetch_from(
    place: str | Path,
    target: Target,
    folder: Path,
    source: _Source,
    options: FetchOptions,
    catalog: Catalog,
    progress: Progress,
) -> Outcome:
    before = read_record(folder)
    if before is None and folder.exists():
        raise StoreError(f"{folder} was not fetched by gsbench, so it is not replaced; move it away first")
    images = options.images
    keep: dict[str, FileRecord] = {}
    if before is not None and folder.is_dir() and not options.force:
        # Some files are missing, or other folders of photos are wanted: what is there stays, the rest is added.
        lacking = set(missing_files(folder, before))
        keep = {name: file for name, file in before.files.items() if name not in lacking}
        if images is not None:
            images = None if before.images is None else tuple(dict.fromkeys([*before.images, *images]))
    archive = _archive(catalog, target)
    pinned = archive.files.get(target.scene, {})
    with contextlib.ExitStack() as stack:

        def choose(opened: zipfile.ZipFile, name: str) -> list[Member]:
            inside = find_folder(opened, archive.scenes[target.scene], name)
            return [m for m in select(opened, inside, images, name) if m.name not in keep]

        opened = source.open(place, target, choose, progress, stack)
        needed = sum(member.info.file_size for member in opened.members)
        _check_space(folder, needed, "unpacking")
        progress.stage("unpack")
        temporary = stack.enter_context(temporary_folder(folder))
        try:
            written = unpack(opened.archive, opened.members, temporary, pinned, progress, opened.name)
        except FetchError:
            source.discard(place, target)  # or the next attempt would find the same damage
            raise
        record = SceneRecord(
            dataset=target.dataset,
            scene=target.scene,
            source=str(place),
            etag=opened.validators.etag,
            last_modified=opened.validators.last_modified,
            catalog=catalog.version,
            images=images,
            pinned=sum(name in pinned for name in (*keep, *written)),
            files=dict(sorted({**keep, **written}.items())),
        )
        _put(temporary, folder, record, written, keep)
    source.forget(target)
    return Outcome(str(target), "fetched", folder, len(record.files), record.bytes, note=_note(record, before))


def _put(
    temporary: Path, folder: Path, record: SceneRecord, written: dict[str, FileRecord], keep: dict[str, FileRecord]
) -> None:
    """Put the new files beside those that stay, or in place of the folder. The record comes first: if the rest is
    interrupted, the next fetch sees which files are missing.
    """
    if keep:
        strangers = [name for name in written if (folder / name).exists() and name not in _recorded(folder)]
        if strangers:
            raise StoreError(
                f"{folder / strangers[0]} was not fetched by gsbench, so it is not replaced; move it away first"
            )
        write_record(folder, record)
        put_files(temporary, folder, written)
    else:
        write_record(folder, record)
        put_folder(temporary, folder)


def _recorded(folder: Path) -> set[str]:
    record = read_record(folder)
    return set() if record is None else set(record.files)


def _note(record: SceneRecord, before: SceneRecord | None) -> str:
    """What a person should know of the files' origin."""
    if before is not None:
        both = set(before.files) & set(record.files)
        changed = [name for name in both if before.files[name].sha256 != record.files[name].sha256]
        if changed:
            return f"{len(changed)} of {len(both)} files differ from those fetched before, such as {min(changed)}"
    if record.pinned < len(record.files):
        return "its hashes are recorded now and compared by: gsbench fetch --verify"
    return "all files are as the catalog pins them"


def _check_space(folder: Path, needed: int, what: str) -> None:
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


class _Opened:
    """An archive in which the members that are wanted can be read."""

    def __init__(self, archive: zipfile.ZipFile, members: Sequence[Member], name: str, validators: Validators) -> None:
        self.archive, self.members, self.name, self.validators = archive, members, name, validators


class _Source:
    """An archive of the catalog, wherever it is: a local file, on servers, or fetched whole already."""

    def __init__(self, archive: Archive, options: FetchOptions) -> None:
        self.archive, self._options = archive, options
        self._downloads = data_root() / _DOWNLOADS
        self._ends: dict[str, tuple[Remote, list[Piece]]] = {}
        self.places: list[str | Path] = list(archive.urls)
        if options.url is not None:
            self.places = [options.url if "://" in options.url else Path(options.url).expanduser()]

    def open(
        self, place: str | Path, target: Target, choose: Choice, progress: Progress, stack: contextlib.ExitStack
    ) -> _Opened:
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
    ) -> _Opened:
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
        _check_space(self._downloads, max(0, size - there) + unpacked, "fetching and unpacking")
        progress.stage("download")
        pieces = fetch_pieces(remote, ranges, self._downloads, prefix, self._options.patience, progress)
        file = stack.enter_context(piecewise(remote.total, [*pieces, *end], remote.url))
        archive = stack.enter_context(open_archive(file, remote.url))
        return _Opened(archive, choose(archive, remote.url), remote.url, remote.validators)

    def _fetch_whole(self, url: str, whole: Path, progress: Progress) -> None:
        remote, _ = self._end(url, progress)
        size = remote.total or self.archive.about_bytes or 0
        _check_space(self._downloads, max(0, size - partial_bytes(whole)), "fetching the archive")
        shown = f" ({size / 1e9:.2f} GB)" if size else ""
        progress.note(f"the server sends no parts of {self.archive.name}, so the whole archive{shown} is fetched")
        progress.stage("download")
        download(url, whole, Expected(remote.total), self._options.patience, progress)

    def _open_file(self, path: Path, name: str, choose: Choice, stack: contextlib.ExitStack) -> _Opened:
        try:
            file = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise FetchError(f"{path}: {error.strerror or error}") from error
        archive = stack.enter_context(open_archive(file, name))
        return _Opened(archive, choose(archive, name), name, Validators())
