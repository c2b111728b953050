"""What is kept beside a fetched scene: which files it has, with their SHA-256, and where they came from.

The publishers state no hashes. The first fetch is therefore trusted, its hashes are recorded, and what is there later
is compared with those (`check_files`); files that the catalog pins were checked while they were unpacked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gsbench._files import atomic_file
from gsbench.errors import StoreError
from gsbench.fetch.download import file_sha256
from gsbench.fetch.unpack import FileRecord

SCHEMA: Final = "gsbench.fetched/1"


@dataclass(frozen=True)
class SceneRecord:
    """A fetched scene.

    Fields:
        dataset, scene: its name.
        source: the address or file that it was unpacked from.
        etag, last_modified: what the server said of the archive; "" if nothing.
        catalog: version of the catalog at that time.
        images: the folders of photos that were taken; None for all of them.
        pinned: how many of the files the catalog pins; the others were trusted as they came.
        files: relative name -> length and SHA-256.
    """

    dataset: str
    scene: str
    source: str
    etag: str
    last_modified: str
    catalog: int
    images: tuple[str, ...] | None
    pinned: int
    files: Mapping[str, FileRecord]

    @property
    def bytes(self) -> int:
        """The length of all files."""
        return sum(file.bytes for file in self.files.values())


def record_path(folder: Path) -> Path:
    """The record of the scene in `folder`: ``garden.fetched.json`` beside ``garden``."""
    return folder.with_name(f"{folder.name}.fetched.json")


def read_record(folder: Path) -> SceneRecord | None:
    """The record of the scene in `folder`; None if there is none.

    Raises:
        StoreError: if there is something else in its place.
    """
    path = record_path(folder)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA!r}, got {value['schema']!r}")
        return _parse(value)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path} is not the record of a fetched scene ({error}); gsbench fetch --force replaces the scene"
        ) from error


def write_record(folder: Path, record: SceneRecord) -> None:
    """Write the record of the scene in `folder`.

    Raises:
        StoreError: if it cannot be written.
    """
    value = {"schema": SCHEMA, **asdict(record)}
    with atomic_file(record_path(folder)) as file:
        file.write(json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def missing_files(folder: Path, record: SceneRecord) -> list[str]:
    """The files of a record that are not there, or not of their length. A quick look: contents are not read."""
    lacking = []
    for name, file in record.files.items():
        try:
            there = (folder / name).stat().st_size == file.bytes
        except OSError:
            there = False
        if not there:
            lacking.append(name)
    return lacking


@dataclass(frozen=True)
class Check:
    """What a comparison with the record found: names of files that are missing, that differ, that are not in it."""

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all recorded files are as they were; others do not matter."""
        return not self.missing and not self.changed


def check_files(folder: Path, record: SceneRecord, progress: Callable[[int, int], None] | None = None) -> Check:
    """Compare every file of a scene with its record; `progress` is told bytes done, bytes in all.

    Raises:
        StoreError: if a file cannot be read.
    """
    missing, changed, done = [], [], 0
    for name, expected in record.files.items():
        try:
            with (folder / name).open("rb") as file:
                if file_sha256(file) != expected.sha256:
                    changed.append(name)
        except FileNotFoundError:
            missing.append(name)
        except OSError as error:
            raise StoreError(f"{folder / name}: {error.strerror or error}") from error
        done += expected.bytes
        if progress is not None:
            progress(done, record.bytes)
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    return Check(tuple(missing), tuple(changed), tuple(sorted(there - set(record.files))))


def _parse(value: Mapping[str, Any]) -> SceneRecord:
    """Every type checked: the file is anybody's to change."""
    images = value["images"]
    files = {str(n): FileRecord(int(f["bytes"]), str(f["sha256"])) for n, f in value["files"].items()}
    for name in files:
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r} is no relative name")
    return SceneRecord(
        dataset=str(value["dataset"]),
        scene=str(value["scene"]),
        source=str(value["source"]),
        etag=str(value["etag"]),
        last_modified=str(value["last_modified"]),
        catalog=int(value["catalog"]),
        images=None if images is None else tuple(str(name) for name in images),
        pinned=int(value["pinned"]),
        files=files,
    )
