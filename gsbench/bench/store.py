"""The results folder: what stages computed, found again by their keys, and the records.

    <out>/<protocol>/<dataset>/<scene>/<method>/<rate>[.seed].json     records, the artifact beside each
    <out>/stages/<stage>/<key>/                                        a stage's files, and key.json
    <out>/stages/<stage>/<key>.log                                     what it printed
    <out>/stages/train/<key>.checkpoint/                               the state of a training that is not finished
    <out>/jobs/...json, ...log                                         the jobs as engines start them

A stage's folder appears under its name when it is complete, so whatever has the name can be used; its digests are
checked before it is. Who computes a stage holds a lock on it, and one run holds a lock on the whole folder; the kernel
releases both when their holder is gone, however it went.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from gsbench import _files
from gsbench.bench.keys import digest
from gsbench.errors import StoreError
from gsbench.records import Environment, Record

STAGE_SCHEMA: Final = "gsbench.stage/1"
KEY_FILE: Final = "key.json"

_TEMPORARY: Final = ".tmp-"
_CHECKPOINT: Final = ".checkpoint"
#: Where hidden temporary files of `gsbench._files` can be: beside records and artifacts, and beside jobs' descriptions.
_BESIDE_RECORDS: Final = ("*/*/*/*/.*.tmp", "jobs/*/*/*/*/.*.tmp")


@dataclass(frozen=True)
class StageFile:
    """A file of a stage's result. A `transient` one may be gone; then the stage is repeated if it is needed."""

    bytes: int
    sha256: str
    transient: bool = False


@dataclass(frozen=True)
class StageResult:
    """A stage that was computed.

    Fields:
        stage, key, folder: which, and where its files are.
        files: by name relative to the folder.
        result: plain values that the stage found out.
        seconds: wall-clock time.
        peak_host_bytes, peak_gpu_bytes: peak memory while it ran.
        environment: the machine it ran on.
    """

    stage: str
    key: str
    folder: Path
    files: Mapping[str, StageFile]
    result: Mapping[str, Any]
    seconds: float
    peak_host_bytes: int | None
    peak_gpu_bytes: int | None
    environment: Environment

    def content_digest(self, names: Iterable[str]) -> str:
        """One digest over the contents of some files."""
        return digest({name: self.files[name].sha256 for name in names})

    def is_intact(self, names: Iterable[str]) -> bool:
        """Whether these files are there with the contents they had."""
        return all(
            (info := self.files.get(name)) is not None
            and describe_file(self.folder / name) == (info.bytes, info.sha256)
            for name in names
        )


def describe_file(path: Path) -> tuple[int, str] | None:
    """Size and SHA-256 of a file, None if it cannot be read."""
    try:
        return _files.describe(path)
    except OSError:
        return None


class Store:
    """A results folder.

    Raises:
        StoreError: from every method, where the folder cannot be used: no permission, a full disk, not a folder.
    """

    def __init__(self, root: Path) -> None:
        self.root: Final = root.absolute()

    def stage_folder(self, stage: str, key: str) -> Path:
        """Where the result of a stage is or will be."""
        return self.root / "stages" / stage / key

    def stage_log(self, stage: str, key: str) -> Path:
        """The log of a stage."""
        return self.root / "stages" / stage / f"{key}.log"

    def checkpoint_folder(self, stage: str, key: str) -> Path:
        """Where a stage keeps its state until it is finished."""
        return self.root / "stages" / stage / f"{key}{_CHECKPOINT}"

    def drop_checkpoints(self, stage: str, key: str) -> None:
        """Remove the state of a stage that is finished."""
        shutil.rmtree(self.checkpoint_folder(stage, key), ignore_errors=True)

    def job_file(self, job: str, suffix: str) -> Path:
        """A file about a job: its description (".json") or what it printed outside of its stages (".log")."""
        return self.root / "jobs" / f"{job}{suffix}"

    def relative(self, path: Path) -> str:
        """`path` as records have it: relative to the results folder, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the results folder for one run; it is created where it is missing.

        Raises:
            StoreError: if another run holds it (the message says which process), or it cannot be used.
        """
        make_folder(self.root)
        file = self._take_folder(self.root / ".lock")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # who holds it is only for messages
                file.truncate(0)
            file.close()

    def _take_folder(self, path: Path) -> BinaryIO:
        with _store_errors(path), contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("a+b"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                file.seek(0)
                holder = file.read(200).decode(errors="replace").strip() or "unknown process"
                raise StoreError(
                    f"results folder {self.root} is in use by another run ({holder}); wait for it, or use another --out"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            file.flush()
            stack.pop_all()
        return file

    @contextlib.contextmanager
    def stage_lock(self, stage: str, key: str) -> Iterator[None]:
        """Hold one stage while computing it; waits for whoever else does."""
        folder = self.stage_folder(stage, key).parent
        make_folder(folder)
        path = folder / f".lock-{key}"
        file = self._take_stage(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            file.close()

    @staticmethod
    def _take_stage(path: Path) -> BinaryIO:
        with _store_errors(path):
            while True:
                file = path.open("ab")
                fcntl.flock(file, fcntl.LOCK_EX)
                # Who held the lock before removed the file, and what is held now may be that one.
                if _same(path, file.fileno()):
                    return file
                file.close()

    def temporary(self, stage: str, key: str) -> Path:
        """A new empty folder to compute a stage in. The caller holds the stage's lock, so older ones are leftovers."""
        folder = self.stage_folder(stage, key).parent
        with _store_errors(folder):
            for leftover in folder.glob(f"{_TEMPORARY}{key}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            path = folder / f"{_TEMPORARY}{key}-{secrets.token_hex(4)}"
            path.mkdir()
        return path

    def find(self, stage: str, key: str) -> StageResult | None:
        """The result of a stage, or None if it is not there or its key.json is damaged."""
        folder = self.stage_folder(stage, key)
        try:
            value = json.loads((folder / KEY_FILE).read_bytes())
            seal = value.pop("seal")
            if (
                seal != digest(value)
                or value["schema"] != STAGE_SCHEMA
                or (value["stage"], value["key"]) != (stage, key)
            ):
                return None
            return StageResult(
                stage=stage,
                key=key,
                folder=folder,
                files={name: StageFile(**info) for name, info in value["files"].items()},
                result=value["result"],
                seconds=value["seconds"],
                peak_host_bytes=value["peak_host_bytes"],
                peak_gpu_bytes=value["peak_gpu_bytes"],
                environment=Environment.model_validate(value["environment"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def publish(
        self,
        temporary: Path,
        stage: str,
        inputs: Mapping[str, Any],
        *,
        result: Mapping[str, Any],
        seconds: float,
        peak_host_bytes: int | None,
        peak_gpu_bytes: int | None,
        environment: Environment,
        transient: Iterable[str] = (),
        durable: bool = False,
    ) -> StageResult:
        """Give what lies in `temporary` its name, together with its key.json.

        Args:
            temporary: folder from `temporary`.
            stage: the stage.
            inputs: what the key is made of; kept beside the result.
            result, seconds, peak_host_bytes, peak_gpu_bytes, environment: see `StageResult`.
            transient: names of files that may be removed later.
            durable: wait until everything is on the disk, so that not even a power failure takes it away.
        """
        key = digest(inputs)
        gone = set(transient)
        with _store_errors(temporary):
            files: dict[str, StageFile] = {}
            for path in sorted(p for p in temporary.rglob("*") if p.is_file() and not p.is_symlink()):
                described = describe_file(path)
                if described is None:
                    raise StoreError(f"{path} cannot be read")
                name = path.relative_to(temporary).as_posix()
                files[name] = StageFile(*described, transient=name in gone)
            value = {
                "schema": STAGE_SCHEMA,
                "stage": stage,
                "key": key,
                "inputs": dict(inputs),
                "files": {name: asdict(info) for name, info in files.items()},
                "result": dict(result),
                "seconds": seconds,
                "peak_host_bytes": peak_host_bytes,
                "peak_gpu_bytes": peak_gpu_bytes,
                "environment": environment.model_dump(mode="json"),
            }
            text = json.dumps({**value, "seal": digest(value)}, indent=1, allow_nan=False)
            (temporary / KEY_FILE).write_text(text)
            folder = self.stage_folder(stage, key)
            if durable:
                for path in (*(temporary / name for name in files), temporary / KEY_FILE, temporary):
                    _files.sync(path)
            self.discard(stage, key)
            temporary.rename(folder)
            if durable:
                _files.sync(folder.parent)
        found = self.find(stage, key)
        if found is None:
            raise StoreError(f"{self.stage_folder(stage, key)} cannot be read back")
        return found

    def discard(self, stage: str, key: str) -> None:
        """Remove a stage's result. It is renamed first, so that nobody finds half of it."""
        folder = self.stage_folder(stage, key)
        if folder.exists():
            with _store_errors(folder):
                away = folder.with_name(f"{_TEMPORARY}{key}-{secrets.token_hex(4)}")
                folder.rename(away)
                shutil.rmtree(away, ignore_errors=True)

    def drop_transient(self, found: StageResult) -> None:
        """Remove those files of a result that can be made again."""
        for name, info in found.files.items():
            if info.transient:
                (found.folder / name).unlink(missing_ok=True)
        for folder in {(found.folder / name).parent for name, info in found.files.items() if info.transient}:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()

    def clean(self) -> None:
        """Remove what runs that were killed left behind. The caller holds the whole folder."""
        stages = self.root / "stages"
        if not stages.is_dir():
            return
        with _store_errors(stages):
            for leftover in stages.glob(f"*/{_TEMPORARY}*"):
                key = leftover.name.removeprefix(_TEMPORARY).partition("-")[0]
                lock = leftover.with_name(f".lock-{key}")
                if not _is_held(lock):  # a job that another machine runs here is not ours
                    shutil.rmtree(leftover, ignore_errors=True)
            for kept in stages.glob(f"*/*{_CHECKPOINT}"):
                stage, key = kept.parent.name, kept.name.removesuffix(_CHECKPOINT)
                if self.find(stage, key) is not None:
                    self.drop_checkpoints(stage, key)
            for lock in stages.glob("*/.lock-*"):
                if not _is_held(lock):
                    lock.unlink(missing_ok=True)
            for pattern in _BESIDE_RECORDS:
                for file in self.root.glob(pattern):
                    file.unlink(missing_ok=True)

    def read_record(self, relative: str) -> Record | None:
        """The record at a path relative to the folder; None if there is none or it cannot be read."""
        try:
            return Record.model_validate_json((self.root / relative).read_bytes())
        except (OSError, ValueError):
            return None

    def write_record(self, record: Record, artifact: Path | None) -> None:
        """Write a record to its place, and the artifact it names beside it (as a hard link where that is possible).

        A record without an artifact removes the one that an earlier record left. A good record of another question
        (other settings, steps, scene, base or version) is not lost: it is kept beside the new one as
        ``<name>.<hash>.replaced``, and its artifact stays among the results of the stages.
        """
        path = self.root / record.path()
        make_folder(path.parent)
        with _store_errors(path):
            earlier = self.read_record(str(record.path()))
            if earlier is not None and earlier.status == "ok" and _question(earlier) != _question(record):
                kept = record_bytes(earlier)
                name = f"{path.stem}.{hashlib.sha256(kept).hexdigest()[:8]}.replaced"
                with _files.atomic_file(path.with_name(name)) as file:
                    file.write(kept)
            if record.artifact is not None and artifact is not None:
                _link(artifact, self.root / record.artifact)
            elif earlier is not None and earlier.artifact is not None:
                (self.root / earlier.artifact).unlink(missing_ok=True)
            data = record_bytes(record)
            if not (path.is_file() and path.read_bytes() == data):
                with _files.atomic_file(path) as file:
                    file.write(data)


def _question(record: Record) -> tuple[object, ...]:
    """What a record answers, beyond its path."""
    return record.method_info, record.config, record.iterations, record.scene_hash, record.base


def record_bytes(record: Record) -> bytes:
    """The file of a record."""
    value = record.model_dump(mode="json", by_alias=True)
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def make_folder(path: Path) -> None:
    """Create a folder and those above it where they are missing.

    Raises:
        StoreError: if that is not possible.
    """
    with _store_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise StoreError(f"results folder: {error.filename or path} is there and is not a folder") from error
    except OSError as error:
        raise StoreError(f"results folder: {error.filename or path}: {error.strerror or error}") from error


def _link(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`, or a copy where links are not possible."""
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_held(lock: Path) -> bool:
    """Whether somebody holds this lock file now."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
