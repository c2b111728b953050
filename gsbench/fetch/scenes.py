"""Fetching scenes: from the catalog's addresses to folders that are complete or not there."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from gsbench.errors import FetchError, GsbenchError, StoreError, UsageError
from gsbench.fetch.catalog import Archive, Catalog
from gsbench.fetch.download import Progress
from gsbench.fetch.options import FetchOptions, Outcome
from gsbench.fetch.place import put_files, put_folder, temporary_folder
from gsbench.fetch.places import data_root, dataset_folder
from gsbench.fetch.record import SceneRecord, missing_files, read_record, record_path, write_record
from gsbench.fetch.source import Source, check_space
from gsbench.fetch.targets import Target
from gsbench.fetch.unpack import FileRecord, Member, find_folder, select, unpack

#: Where downloads lie until they are unpacked.
_DOWNLOADS: Final = ".downloads"
#: Makes the progress of one target, which is named.
Shown = Callable[[str], Progress]


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
        sources: dict[str, Source] = {}
        for index, target in enumerate(waiting):
            archive = archives[target]
            source = sources.setdefault(archive.name, Source(archive, options, data_root() / _DOWNLOADS))
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
    except OSError as error:  # a folder above without permission
        return Outcome(str(target), "failed", folder, error=StoreError(f"{folder}: {error.strerror or error}"))
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


def _fetch(target: Target, source: Source, options: FetchOptions, catalog: Catalog, progress: Progress) -> Outcome:
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
        except OSError as error:  # a folder without permission, a disk that fails
            errors.append(StoreError(f"{folder}: {error.strerror or error}"))
            break
    return Outcome(str(target), "failed", folder, error=errors[-1])


def _fetch_from(
    place: str | Path,
    target: Target,
    folder: Path,
    source: Source,
    options: FetchOptions,
    catalog: Catalog,
    progress: Progress,
) -> Outcome:
    try:
        before = read_record(folder)
    except StoreError:
        if not options.force:
            raise
        before = None
    if before is None and folder.exists() and not record_path(folder).exists():
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
        check_space(folder, needed, "unpacking")
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
