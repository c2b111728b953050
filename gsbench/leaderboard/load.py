"""Records from disk, checked: what is loaded can be published.

A record is refused, with its path and the reason, if it is not one (an unknown key, a value of another type), lies
elsewhere than where its contents say, contradicts itself (a mean that is not that of its views, sections that do not
add up to the bytes), was changed after it was published (``SHA256SUMS``), or if its artifact is missing or another
one.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from gsbench import _files
from gsbench.errors import RecordError, StoreError, UsageError
from gsbench.leaderboard.board import Trust, Verification
from gsbench.leaderboard.sums import VERIFIED_SUFFIX, read_note, read_sums
from gsbench.records import Record, record_from_json

#: Folders of a results folder that hold no records, and the folder of numbers that were not measured.
SKIPPED_FOLDERS: Final = ("stages", "jobs", "reported")
#: Files of the folder ``leaderboards`` that are no records.
SKIPPED_FILES: Final = ("record.schema.json",)

#: Means are recomputed by another way of summing, so their last digits may differ.
_RELATIVE: Final = 1e-9
#: As many refusals are told at once.
_MAX_TOLD: Final = 20
_MAX_BYTES: Final = 64 * 2**20
#: Parts of a record's path below its results folder: protocol, data set, scene, method, file.
_PARTS: Final = 5


@dataclass(frozen=True)
class Loaded:
    """A record that was checked.

    Fields:
        record: its contents.
        name: ``<protocol>/<dataset>/<scene>/<method>/<rate>[.seed].json``.
        path, root: the file, and the results or board folder that `name` is relative to.
        sha256: of the file.
        artifact: the artifact beside it, its size and hash checked; None where it is not there.
        verification: what ``gsbench verify`` noted about it.
    """

    record: Record
    name: str
    path: Path
    root: Path
    sha256: str
    artifact: Path | None
    verification: Verification | None

    @property
    def trust(self) -> Trust:
        """How far the record was checked."""
        return "claimed" if self.verification is None else self.verification.status


def find_records(paths: Iterable[Path]) -> list[Path]:
    """The record files that `paths` mean: files as they are, folders with all that lies below them, sorted; each once.

    Raises:
        UsageError: if a path does not exist, is no .json file, or nothing is found.
    """
    found: dict[Path, Path] = {}
    given = list(paths)
    for path in given:
        if path.is_dir():
            files = sorted(_walk(path))
        elif path.is_file() and path.suffix == ".json":
            files = [path]
        else:
            what = "is not a .json file" if path.is_file() else "does not exist"
            raise UsageError(f"{path} {what}; expected a record, or a folder of records such as runs")
        for file in files:
            found.setdefault(file.resolve(), file)
    if not found:
        raise UsageError(f"no records in {', '.join(map(str, given))}; gsbench run writes some")
    return list(found.values())


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("."))
        for name in files:
            if name.endswith(".json") and not name.startswith(".") and not name.endswith(VERIFIED_SUFFIX):
                path = Path(parent) / name
                if path.name not in SKIPPED_FILES:
                    yield path


def load_records(paths: Iterable[Path]) -> list[Loaded]:
    """All records that `paths` mean (see `find_records`), by name.

    Raises:
        UsageError: if there are none.
        RecordError: if any is refused, naming each with its path and reason; or if two files claim the same name with
            different contents.
    """
    loader = Loader()
    loaded: list[Loaded] = []
    problems: list[str] = []
    for path in find_records(paths):
        try:
            loaded.append(loader.load(path))
        except RecordError as error:
            problems.append(str(error))
    taken: dict[str, Loaded] = {}
    for item in loaded:
        other = taken.setdefault(item.name, item)
        if other.sha256 != item.sha256:
            problems.append(
                f"{item.path}: {other.path} is another record of the same name; leave one out, or build two boards"
            )
    refuse(problems)
    return [taken[name] for name in sorted(taken)]


def refuse(problems: Sequence[str]) -> None:
    """Tell all problems at once.

    Raises:
        RecordError: if there are any.
    """
    if not problems:
        return
    if len(problems) == 1:
        raise RecordError(problems[0])
    told = [*problems[:_MAX_TOLD], *([f"and {len(problems) - _MAX_TOLD} more"] if len(problems) > _MAX_TOLD else [])]
    raise RecordError(f"{len(problems)} records are refused:\n  " + "\n  ".join(told))


class Loader:
    """Loads records one by one; the hashes of each board are read once."""

    def __init__(self) -> None:
        self._sums: dict[Path, dict[str, str] | None] = {}

    def load(self, path: Path) -> Loaded:
        """One record, checked.

        Raises:
            RecordError: if it is refused; the message begins with the path.
        """
        data = _read(path)
        try:
            record = record_from_json(data)
        except StoreError as error:
            raise RecordError(f"{path}: {error}") from None
        name, root = locate(path, record)
        problem = contradiction(record)
        if problem is not None:
            raise RecordError(f"{path}: {problem}")
        sha256 = hashlib.sha256(data).hexdigest()
        sums = self._of(root)
        if sums is not None and sums.get(name) != sha256:
            raise RecordError(f"{path}: {_changed(name, sums)}")
        artifact = None if record.status != "ok" else self._artifact(path, record, name, sums)
        return Loaded(record, name, path, root, sha256, artifact, read_note(path, sha256, record.sha256))

    def _of(self, root: Path) -> dict[str, str] | None:
        if root not in self._sums:
            self._sums[root] = read_sums(root)
        return self._sums[root]

    @staticmethod
    def _artifact(path: Path, record: Record, name: str, sums: dict[str, str] | None) -> Path | None:
        artifact = artifact_beside(path, record)
        published = str(PurePosixPath(name).parent / artifact.name)
        if not artifact.is_file():
            if sums is not None and published not in sums:
                return None  # published without it
            raise RecordError(f"{path}: its artifact is missing: {artifact}")
        try:
            size, sha256 = _files.describe(artifact)
        except OSError as error:
            raise RecordError(f"{artifact}: cannot be read: {error.strerror or error}") from error
        if (size, sha256) != (record.bytes, record.sha256):
            raise RecordError(
                f"{path}: its artifact {artifact.name} is another one: {size} bytes, sha256 {sha256}; the record says "
                f"{record.bytes} bytes, sha256 {record.sha256}"
            )
        if sums is not None and sums.get(published, sha256) != sha256:
            raise RecordError(f"{artifact}: {_changed(published, sums)}")
        return artifact


def artifact_beside(path: Path, record: Record) -> Path:
    """Where the artifact of the record at `path` has to be: beside it, under its name.

    Raises:
        RecordError: if the record names another place.
    """
    stem = path.name.removesuffix(".json")
    artifact = PurePosixPath(record.artifact or "")
    suffix = artifact.name.removeprefix(stem)
    if artifact.parent != record.path().parent or not suffix.startswith(".") or artifact.name != f"{stem}{suffix}":
        raise RecordError(
            f"{path}: artifact is {record.artifact!r}, expected a file beside the record: "
            f"{record.path().with_suffix('')}.gsb, for example"
        )
    return path.with_name(artifact.name)


def contradiction(record: Record) -> str | None:
    """What in a record cannot be, None if nothing is.

    The schema was checked before: sections add up to bytes, and a metric that is null has its reason.
    """
    if record.status != "ok":
        return None
    for field in ("bytes", "sha256", "artifact"):
        if getattr(record, field) is None:
            return f"{field} is null, expected that of the artifact (a model that was only trained is no result)"
    if not record.metrics or not record.views:
        return f"{'metrics' if not record.metrics else 'views'} is empty, expected the scores of the held-out views"
    for name, mean in record.metrics.items():
        values = [view.metrics.get(name) for view in record.views]
        known = [value for value in values if value is not None]
        expected = math.fsum(known) / len(known) if len(known) == len(values) else None
        if mean is None and expected is None:
            continue
        if mean is None or expected is None or not math.isclose(mean, expected, rel_tol=_RELATIVE, abs_tol=1e-12):
            return f"metrics.{name} is {mean}, the mean of its {len(values)} views is {expected}: a number was changed"
    return None


def locate(path: Path, record: Record) -> tuple[str, Path]:
    """The record's name, and the results or board folder that it is relative to.

    Raises:
        RecordError: if the record does not lie where its contents say.
    """
    try:
        name = record.path()
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from None
    absolute = path.absolute()
    if absolute.parts[-_PARTS:] != name.parts:
        raise RecordError(f"{path}: by its contents it belongs at {name} below a results folder")
    return str(name), absolute.parents[_PARTS - 1]


def _changed(name: str, sums: dict[str, str]) -> str:
    if name not in sums:
        return f"not listed in SHA256SUMS of its board as {name}; publish it with gsbench leaderboard add"
    return (
        f"changed after it was published: its sha256 is not {sums[name][:16]}... of SHA256SUMS; to publish another "
        "result, use gsbench leaderboard add --replace --reason"
    )


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise RecordError(f"{path}: {size} bytes, expected a record of at most {_MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
