"""The results folder: whole stages or none, locks, and what is done about damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsbench.bench.environment import machine_environment
from gsbench.bench.keys import digest
from gsbench.bench.model import JobSpec
from gsbench.bench.results import failed_record
from gsbench.bench.store import KEY_FILE, StageResult, Store, record_bytes
from gsbench.errors import StoreError
from gsbench.records import Record

INPUTS = {"stage": "train", "seed": 3}
KEY = digest(INPUTS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def publish(store: Store, content: bytes = b"weights", **values: Any) -> StageResult:
    folder = store.temporary("train", KEY)
    (folder / "model").write_bytes(content)
    (folder / "sub").mkdir()
    (folder / "sub" / "frame").write_bytes(b"frame")
    given: dict[str, Any] = {
        "result": {"views": 2},
        "seconds": 1.5,
        "peak_host_bytes": 10,
        "peak_gpu_bytes": None,
        "environment": machine_environment(),
        "transient": ["sub/frame"],
    }
    return store.publish(folder, "train", INPUTS, **{**given, **values})


@pytest.fixture
def published(store: Store) -> StageResult:
    with store.stage_lock("train", KEY):
        return publish(store)


def test_a_stage_is_found_again(store: Store, published: StageResult) -> None:
    assert store.find("train", KEY) == published
    assert published.folder == store.root / "stages" / "train" / KEY
    assert (published.result, published.seconds, published.peak_host_bytes) == ({"views": 2}, 1.5, 10)
    value = json.loads((published.folder / KEY_FILE).read_text())
    assert value["inputs"] == INPUTS, "the key's JSON is kept beside the result"
    assert digest(value["inputs"]) == KEY
    assert published.is_intact(["model", "sub/frame"])
    assert store.find("train", "0" * 64) is None
    assert store.find("encode", KEY) is None
    assert sorted(p.name for p in published.folder.parent.iterdir()) == [KEY], "no lock or temporary folder is left"


@pytest.mark.parametrize("damage", [b"weightz", b"weight", b"weights!", b"", None])
def test_damaged_files_are_noticed(published: StageResult, damage: bytes | None) -> None:
    path = published.folder / "model"
    path.write_bytes(damage) if damage is not None else path.unlink()
    assert not published.is_intact(["model"])
    assert published.is_intact(["sub/frame"])
    assert not published.is_intact(["other"])


def test_every_flipped_byte_of_key_json_is_noticed_or_harmless(store: Store, published: StageResult) -> None:
    path = published.folder / KEY_FILE
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        found = store.find("train", KEY)
        assert found is None or found == published, f"byte {position}"
    for length in range(0, len(data), 31):
        path.write_bytes(data[:length])
        assert store.find("train", KEY) is None
    for text in ("[]", "{}", "null", '{"seal": 1}', "\xff"):
        path.write_text(text)
        assert store.find("train", KEY) is None


def test_a_stage_of_another_name_is_not_taken_for_this_one(store: Store, published: StageResult) -> None:
    other = published.folder.with_name("1" * 64)
    published.folder.rename(other)
    assert store.find("train", "1" * 64) is None


def test_publishing_again_replaces_the_whole_stage(store: Store, published: StageResult) -> None:
    (published.folder / "stray").write_text("")
    with store.stage_lock("train", KEY):
        again = publish(store, b"better weights")
    assert not (again.folder / "stray").exists()
    assert (again.folder / "model").read_bytes() == b"better weights"
    assert again.content_digest(["model"]) != published.content_digest(["model"])
    assert again.content_digest(["sub/frame"]) == published.content_digest(["sub/frame"])


def test_links_are_no_results(store: Store, tmp_path: Path) -> None:
    folder = _temporary(store)
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    values: dict[str, Any] = {"result": {}, "seconds": 0.0, "peak_host_bytes": None, "peak_gpu_bytes": None}
    assert store.publish(folder, "train", INPUTS, environment=machine_environment(), **values).files == {}


def _temporary(store: Store) -> Path:
    with store.stage_lock("train", KEY):
        return store.temporary("train", KEY)


def test_transient_files_can_go(store: Store, published: StageResult) -> None:
    digest_before = published.content_digest(["sub/frame"])
    store.drop_transient(published)
    assert not (published.folder / "sub").exists()
    found = store.find("train", KEY)
    assert found is not None
    assert found.content_digest(["sub/frame"]) == digest_before, "what depends on them is still found"
    assert not found.is_intact(["sub/frame"])
    assert found.is_intact(["model"])


def test_half_written_stages_are_ignored_and_cleaned(store: Store) -> None:
    first = _temporary(store)
    (first / "half").write_text("half")
    assert store.find("train", KEY) is None
    second = _temporary(store)
    assert not first.exists()
    assert list(second.iterdir()) == []
    (second.parent / ".lock-left").touch()
    with store.exclusive():
        store.clean()
    assert list(second.parent.iterdir()) == []


def test_cleaning_leaves_alone_what_somebody_works_on(store: Store) -> None:
    with store.stage_lock("train", KEY):
        folder = store.temporary("train", KEY)
        store.clean()
        assert folder.is_dir()
    store.clean()
    assert not folder.exists()


def test_a_stage_is_computed_by_one_at_a_time(store: Store) -> None:
    order: list[str] = []
    inside = threading.Event()

    def other() -> None:
        inside.wait()
        with store.stage_lock("train", KEY):
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with store.stage_lock("train", KEY):
        inside.set()
        thread.join(0.2)
        assert thread.is_alive()
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_many_workers_and_one_lock(store: Store) -> None:
    """The lock's file is removed by whoever held it, while others wait for it."""
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with store.stage_lock("train", KEY):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 120
    assert max(most) == 1


_HOLD = """
import sys
from pathlib import Path
from gsbench.bench.store import Store
with Store(Path(sys.argv[1])).exclusive():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_runs_in_one_folder(store: Store) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreError) as caught, store.exclusive():
            raise AssertionError("never reached")
        assert str(store.root) in str(caught.value)
        assert f"process {process.pid} on " in str(caught.value)
        assert "another --out" in str(caught.value)
    finally:
        process.kill()
        process.communicate()
    with store.exclusive(), pytest.raises(StoreError, match=f"process {os.getpid()} on"), Store(store.root).exclusive():
        raise AssertionError("never reached")


def test_errors_of_the_run_are_not_taken_for_the_folders(store: Store) -> None:
    with pytest.raises(FileNotFoundError), store.exclusive():
        raise FileNotFoundError("something else")
    with store.exclusive():
        pass


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/gsbench", "/dev/null"])
def test_folders_that_cannot_be_used(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / place
    with pytest.raises(StoreError) as caught, Store(path).exclusive():
        raise AssertionError("never reached")
    assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folders_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="Permission denied"), Store(tmp_path / "runs").exclusive():
            raise AssertionError("never reached")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_leaves_no_stage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *args: Any, **kwargs: Any) -> int:
        raise OSError(28, "No space left on device", str(self))

    folder = _temporary(store)
    monkeypatch.setattr(Path, "write_text", full)
    values: dict[str, Any] = {"result": {}, "seconds": 0.0, "peak_host_bytes": None, "peak_gpu_bytes": None}
    with pytest.raises(StoreError, match="No space left on device"):
        store.publish(folder, "train", INPUTS, environment=machine_environment(), **values)
    assert store.find("train", KEY) is None


@pytest.fixture
def record(job_of: Callable[..., JobSpec]) -> Record:
    return failed_record(job_of("dots"), "train", "it broke", "stages/train/x.log")


def test_records_and_their_artifacts(store: Store, record: Record, tmp_path: Path) -> None:
    artifact = tmp_path / "artifact.gsb"
    artifact.write_bytes(b"x" * 9)
    good = record.model_copy(update={"status": "ok", "error": None, "artifact": "gs1600/path/desk/dots/high.gsb"})
    store.write_record(good, artifact)
    path = store.root / good.path()
    assert store.read_record(str(good.path())) == good
    assert path.read_bytes() == record_bytes(good)
    beside = store.root / str(good.artifact)
    assert beside.samefile(artifact)
    before = path.stat()
    store.write_record(good, artifact)
    assert path.stat().st_mtime_ns == before.st_mtime_ns, "the same record is not written again"

    store.write_record(record, None)
    assert not beside.exists(), "a failed job has no artifact"
    assert artifact.exists()
    assert store.read_record(str(record.path())) == record
    assert sorted(p.name for p in path.parent.iterdir()) == ["high.json"]


def test_a_record_of_other_settings_is_kept(store: Store, record: Record, tmp_path: Path) -> None:
    artifact = tmp_path / "artifact.gsb"
    artifact.write_bytes(b"x" * 9)
    ok = {"status": "ok", "error": None, "artifact": "gs1600/path/desk/dots/high.gsb"}
    short = record.model_copy(update={**ok, "iterations": 40})
    long = record.model_copy(update={**ok, "iterations": 60})
    folder = (store.root / record.path()).parent
    for each in (short, long, short, record):
        store.write_record(each, artifact if each is not record else None)
    kept = sorted(p.read_bytes() for p in folder.glob("high.*.replaced"))
    assert kept == sorted([record_bytes(short), record_bytes(long)])
    assert store.read_record(str(record.path())) == record


def test_artifacts_are_copied_where_links_are_not_possible(
    store: Store, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    artifact = tmp_path / "artifact.gsb"
    artifact.write_bytes(b"content")
    good = record.model_copy(update={"status": "ok", "artifact": "gs1600/path/desk/dots/high.gsb"})
    store.write_record(good, artifact)
    beside = store.root / str(good.artifact)
    assert beside.read_bytes() == b"content"
    assert not beside.samefile(artifact)


def test_unreadable_records_are_none(store: Store, record: Record) -> None:
    assert store.read_record(str(record.path())) is None
    store.write_record(record, None)
    (store.root / record.path()).write_text("{")
    assert store.read_record(str(record.path())) is None
