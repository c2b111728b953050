"""Boards in a folder: records are added to them, and what lies there is checked.

<leaderboards>/<board>/<protocol>/<dataset>/<scene>/<method>/<rate>[.seed].json    a record
<leaderboards>/<board>/.../<rate>[.seed].gsb                                       its artifact, if it is small
<leaderboards>/<board>/.../<rate>[.seed].verified.json                             what gsbench verify noted
<leaderboards>/<board>/SHA256SUMS                                                  of all of these
<leaderboards>/<board>/replaced.jsonl                                              which records were replaced, and why
<leaderboards>/reported/*.csv                                                      numbers of publications
<leaderboards>/record.schema.json                                                  the JSON Schema of records
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from gsbench import _files
from gsbench.errors import GsbenchError, RecordError, StoreError, UsageError
from gsbench.leaderboard.load import Loaded, Loader, load_records, refuse
from gsbench.leaderboard.reported import read_reported
from gsbench.leaderboard.sums import SUMS_FILE, VERIFIED_SUFFIX, note_path, read_sums, write_sums
from gsbench.records import Record, read_record, record_json_schema
from gsbench.records.io import to_json

REPLACED_FILE: Final = "replaced.jsonl"
SCHEMA_FILE: Final = "record.schema.json"
REPORTED_FOLDER: Final = "reported"
#: Artifacts up to this many bytes are published with their records where nothing else is asked for.
SMALL_BYTES: Final = 1_000_000

_BOARD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
#: Files of a board that are not listed in its SHA256SUMS.
_UNLISTED: Final = (SUMS_FILE, REPLACED_FILE, "README.md")
#: As many differing fields are named.
_MAX_FIELDS: Final = 4


@dataclass
class Added:
    """What `add_records` did; names are ``<board>/<record name>``.

    Fields:
        added, replaced, unchanged: names of records.
        artifacts: names of the artifacts that were published with them.
        left_out: name -> why a record (a failed job) or an artifact (too large) was not published.
    """

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def add_records(
    sources: Iterable[Path],
    to: Path,
    *,
    board: str | None = None,
    max_artifact_bytes: int = SMALL_BYTES,
    replace: bool = False,
    reason: str | None = None,
) -> Added:
    """Publish records: copy them to their places below ``to/<board>``, with their artifacts and notes.

    All is checked before anything is written: the records (`gsbench.leaderboard.load`), which must come with their
    artifacts, and that none of them changes a record that is there.

    Args:
        sources: records, or folders of them.
        to: the folder of boards, created where missing.
        board: name of the board; None for the records' data set.
        max_artifact_bytes: artifacts up to this size are copied too.
        replace: let records that are there be replaced; `reason`, which is kept, says why.

    Raises:
        UsageError: if `replace` has no reason, or the name of the board cannot be one.
        RecordError: if any record is refused.
        StoreError: if files cannot be written.
    """
    if replace and not (reason or "").strip():
        raise UsageError("--replace: a published number changes; say why with --reason TEXT")
    if board is not None and (not _BOARD.fullmatch(board) or board == REPORTED_FOLDER):
        raise UsageError(f"board {board!r}: expected letters, digits and . _ + -, and not {REPORTED_FOLDER!r}")
    done = Added()
    chosen: list[tuple[Loaded, str]] = []
    for item in load_records(sources):
        name = board or item.record.dataset
        if item.record.status == "ok":
            chosen.append((item, name))
        else:
            done.left_out[f"{name}/{item.name}"] = f"its job {item.record.status}, which is no result"
    problems = [_obstacle(item, to / name, replace) for item, name in chosen]
    refuse([problem for problem in problems if problem is not None])
    for name in sorted({name for _, name in chosen}):
        _publish([item for item, of in chosen if of == name], to, name, max_artifact_bytes, reason, done)
    return done


def _obstacle(item: Loaded, root: Path, replace: bool) -> str | None:
    """Why a record cannot be published, None if it can."""
    target = root / item.name
    there = _sha256(target) if target.is_file() else None
    if there == item.sha256:
        return None
    if item.artifact is None:
        return f"{item.path}: its artifact is missing; a record is published from where its artifact is"
    if replace or there is None:
        return None
    return f"{item.path}: {target} is another result already{_differences(target, item.record)}; to replace it: --replace --reason TEXT"  # noqa: E501


def _differences(target: Path, record: Record) -> str:
    """What would change, in words."""
    try:
        earlier = read_record(target)
    except GsbenchError:
        return ""
    found = []
    names = sorted({*earlier.metrics, *record.metrics})
    pairs: list[tuple[str, float | None, float | None]] = [("bytes", earlier.bytes, record.bytes)]
    pairs += [(name, earlier.metrics.get(name), record.metrics.get(name)) for name in names]
    for name, before, after in pairs:
        if before != after:
            found.append(f"{name} {before} there, {after} here")
    for name in ("iterations", "config", "scene_hash", "method_info", "environment", "seconds"):
        if getattr(earlier, name) != getattr(record, name):
            found.append(name.replace("_", " "))
    shown = found[:_MAX_FIELDS] + ([f"{len(found) - _MAX_FIELDS} more"] if len(found) > _MAX_FIELDS else [])
    return f" ({'; '.join(shown)})" if shown else ""


def _publish(
    items: Sequence[Loaded], to: Path, board: str, max_artifact_bytes: int, reason: str | None, done: Added
) -> None:
    """Write the records of one board; its SHA256SUMS comes last, so that a record that is listed is complete."""
    root = to / board
    sums = read_sums(root) or {}
    log: list[str] = []
    for item in items:
        shown = f"{board}/{item.name}"
        target = root / item.name
        earlier = _sha256(target) if target.is_file() else None
        if earlier is not None and earlier != item.sha256:
            log.append(_replaced_line(item, earlier, reason))
            _withdraw(target, sums, item.name)
            done.replaced.append(shown)
        elif earlier == item.sha256 and sums.get(item.name) == item.sha256:
            done.unchanged.append(shown)
        else:
            done.added.append(shown)
        _copy_all(item, root, board, max_artifact_bytes, sums, done)
    if log:
        _append(root / REPLACED_FILE, log)
    write_sums(root, sums)


def _copy_all(item: Loaded, root: Path, board: str, max_artifact_bytes: int, sums: dict[str, str], done: Added) -> None:
    """Copy a record, its artifact if it is small enough, and its note."""
    folder = PurePosixPath(item.name).parent
    if item.artifact is not None:  # else the record is there already, published without it
        artifact, size = str(folder / item.artifact.name), item.record.bytes or 0
        if size <= max_artifact_bytes:
            _copy(item.artifact, root / artifact)
            sums[artifact] = str(item.record.sha256)
            done.artifacts.append(f"{board}/{artifact}")
        elif artifact not in sums:
            done.left_out[f"{board}/{artifact}"] = f"{size / 1e6:.2f} MB, more than {max_artifact_bytes / 1e6:g} MB"
    if item.verification is not None:
        note = note_path(item.path)
        _copy(note, root / folder / note.name)
        sums[str(folder / note.name)] = _sha256(note)
    _copy(item.path, root / item.name)
    sums[item.name] = item.sha256


def _withdraw(target: Path, sums: dict[str, str], name: str) -> None:
    """Remove what belongs to a record that is replaced."""
    stem = name.removesuffix(".json")
    artifact = ""
    with contextlib.suppress(GsbenchError):  # it may be replaced because it is damaged
        artifact = PurePosixPath(read_record(target).artifact or "").name
    for listed in [str(PurePosixPath(name).parent / artifact), f"{stem}{VERIFIED_SUFFIX}"]:
        if listed in sums:
            del sums[listed]
            (target.parent / PurePosixPath(listed).name).unlink(missing_ok=True)


def _replaced_line(item: Loaded, earlier: str, reason: str | None) -> str:
    value = {"record": item.name, "earlier_sha256": earlier, "sha256": item.sha256, "reason": (reason or "").strip()}
    return json.dumps(value, ensure_ascii=False)


def _append(path: Path, lines: Sequence[str]) -> None:
    before = path.read_bytes() if path.is_file() else b""
    with _files.atomic_file(path) as file:
        file.write(before + "".join(f"{line}\n" for line in lines).encode("utf-8"))


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as reader, _files.atomic_file(target) as writer:
            shutil.copyfileobj(reader, writer)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error


def _sha256(path: Path) -> str:
    try:
        return _files.describe(path)[1]
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class Checked:
    """What `check_folder` found.

    Fields:
        boards, records, artifacts, reported: how many.
        problems: each with its path.
    """

    boards: int
    records: int
    artifacts: int
    reported: int
    problems: tuple[str, ...]


def check_folder(folder: Path) -> Checked:
    """Check the shape and contents of a folder of boards (``leaderboards``), or of one board.

    Every file must be a record at its place, its artifact, its note, or one of the files that the module names; and
    every hash must be the one in ``SHA256SUMS``.

    Raises:
        UsageError: if there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; expected leaderboards, or a board in it")
    check = _Check()
    if (folder / SUMS_FILE).is_file():
        check.board(folder)
        return check.result()
    schema = folder / SCHEMA_FILE
    if not schema.is_file() or schema.read_text(encoding="utf-8") != to_json(record_json_schema()):
        check.problems.append(f"{schema}: not the schema of this gsbench; write it: python -m gsbench.records {schema}")
    for path in sorted(folder.iterdir()):
        if path.name == REPORTED_FOLDER and path.is_dir():
            check.reported(path)
        elif path.is_dir() and _BOARD.fullmatch(path.name):
            check.board(path)
        elif path.name not in (SCHEMA_FILE, "README.md"):
            check.problems.append(f"{path}: expected a board, {REPORTED_FOLDER}/, {SCHEMA_FILE} or README.md")
    return check.result()


class _Check:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._boards = self._records = self._artifacts = self._reported = 0

    def result(self) -> Checked:
        return Checked(self._boards, self._records, self._artifacts, self._reported, tuple(self.problems))

    def reported(self, folder: Path) -> None:
        try:
            self._reported += len(read_reported([folder]))
        except RecordError as error:
            self.problems.append(str(error))
        self.problems += [f"{path}: expected .csv files" for path in _files_below(folder) if path.suffix != ".csv"]

    def board(self, root: Path) -> None:
        """Check one board."""
        self._boards += 1
        try:
            sums = read_sums(root)
        except RecordError as error:
            self.problems.append(str(error))
            return
        if sums is None:
            self.problems.append(f"{root}: no {SUMS_FILE}; publish records with gsbench leaderboard add")
            return
        there = {path.relative_to(root).as_posix(): path for path in _files_below(root)}
        belonging: set[str] = set()
        loader = Loader()
        for name in sorted(name for name in there if _is_record(name)):
            belonging |= self._record(loader, there[name], name)
        for name in sorted(there):
            if name not in _UNLISTED and name not in belonging:
                self.problems.append(f"{there[name]}: belongs to no record of the board")
            elif name in belonging and name not in sums and not _is_record(name):  # of records the loader tells
                again = f"gsbench leaderboard add {root} --to {root.parent} --board {root.name}"
                self.problems.append(f"{there[name]}: not listed in {SUMS_FILE}; to list it: {again}")
        for name in sorted(sums):
            if name not in there:
                self.problems.append(f"{root / name}: missing, though listed in {SUMS_FILE}")
            elif name.endswith(VERIFIED_SUFFIX) and _sha256(there[name]) != sums[name]:  # the others were hashed before
                self.problems.append(f"{there[name]}: its sha256 is not the one listed in {SUMS_FILE}")
        self._replacements(root / REPLACED_FILE)

    def _record(self, loader: Loader, path: Path, name: str) -> set[str]:
        """Check a record; the names of the files that belong to it."""
        self._records += 1
        note = str(PurePosixPath(name).with_name(note_path(path).name))
        mine = {name, note}
        try:
            item = loader.load(path)
            if item.record.status != "ok":
                self.problems.append(f"{path}: its job {item.record.status}; only results are published")
            if item.artifact is not None:
                self._artifacts += 1
                mine.add(str(PurePosixPath(name).with_name(item.artifact.name)))
        except RecordError as error:
            self.problems.append(str(error))
            # What lies beside a refused record is not told of as well.
            stem = path.name.removesuffix(".json")
            mine |= {
                str(PurePosixPath(name).with_name(p.name))
                for p in path.parent.glob(f"{stem}.*")
                if not _is_record(p.name)
            }
        return mine

    def _replacements(self, path: Path) -> None:
        if not path.is_file():
            return
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                value = json.loads(line)
                good = {"record", "earlier_sha256", "sha256", "reason"} == set(value) and bool(value["reason"])
            except (ValueError, TypeError):
                good = False
            if not good:
                self.problems.append(f"{path}, line {number}: expected record, earlier_sha256, sha256 and a reason")


def _is_record(name: str) -> bool:
    return name.endswith(".json") and not name.endswith(VERIFIED_SUFFIX)


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
