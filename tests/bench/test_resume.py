"""A job that ended at any moment and is started again ends in the same bytes.

The results folder is copied before every operation that changes it: each copy is what a kill at that moment leaves.
From each, the job is done again.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gsbench.bench import runner
from gsbench.bench.model import JobEvent, JobSpec, Plan
from gsbench.bench.runner import finished_record, run_job
from gsbench.bench.store import Store
from gsbench.methods import Context
from gsbench.records import Record
from gsbench.training.checkpoint_folder import CheckpointFolder

pytestmark = pytest.mark.usefixtures("unsealed")

PlanOf = Callable[..., Plan]

#: Densification, opacity resets and SH degrees within 18 steps.
BUSY = ["busy.densify_grad_threshold=1e-7", "busy.densification_interval=3"]


@pytest.fixture(autouse=True)
def _one_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed code does not change within a test, and listing it takes longer than these jobs do."""
    monkeypatch.setattr(runner, "take_inventory", cache(runner.take_inventory))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And every step is told of."""
    monkeypatch.setattr("gsbench.bench.stages._PROGRESS_SECONDS", 0.0)
    torch.set_num_threads(1)
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


def run(spec: JobSpec) -> tuple[Record, list[JobEvent]]:
    """Do a job as a run does: after the folder was cleaned."""
    events: list[JobEvent] = []
    store = Store(spec.out)
    with store.exclusive():
        store.clean()
        return run_job(spec, events.append), events


def timeless(record: Record) -> dict[str, Any]:
    """A record without what differs between two runs of the same job."""
    value = record.model_dump(mode="json")
    for name in ("seconds", "render_ms", "peak_host_bytes", "peak_gpu_bytes", "resumed"):
        del value[name]
    return value


def notes(events: list[JobEvent]) -> list[str]:
    return [event.text or "" for event in events if event.kind == "note"]


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


class Watch:
    """Copies a folder whenever something is about to happen in it, if it differs from the copies so far."""

    EVENTS = frozenset(
        [
            "open",
            "os.rename",
            "os.link",
            "os.symlink",
            "os.mkdir",
            "os.remove",
            "os.rmdir",
            "os.truncate",
            "shutil.rmtree",
        ]
    )
    #: The one that looks now; an audit hook cannot be removed.
    current: Watch | None = None

    def __init__(self, folder: Path, copies: Path, within: str) -> None:
        self.folder, self.copies, self.within = folder, copies, str(folder / within)
        self.taken: dict[str, tuple[Path, str]] = {}

    def look(self, event: str, arguments: tuple[Any, ...]) -> None:
        paths = [os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | os.PathLike)]
        if any(path.startswith(self.within) for path in paths) and self.folder.is_dir():
            files = {name: data for name, data in tree(self.folder).items() if not name.endswith(".log")}
            content = hashlib.sha256(repr(files).encode()).hexdigest()
            if content not in self.taken:
                copy = self.copies / f"{len(self.taken):03d}"
                shutil.copytree(self.folder, copy)
                self.taken[content] = copy, f"before {event} {paths}"

    @staticmethod
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        watch = Watch.current
        if watch is not None and event in Watch.EVENTS:
            Watch.current = None  # what looking does is not looked at
            watch.look(event, arguments)
            Watch.current = watch


_hooked: list[bool] = []


@contextmanager
def watching(folder: Path, copies: Path, within: str = "") -> Iterator[Watch]:
    if not _hooked:
        sys.addaudithook(Watch.hook)
        _hooked.append(True)
    watch = Watch.current = Watch(folder, copies, within)
    try:
        yield watch
    finally:
        Watch.current = None


@pytest.mark.parametrize(
    ("method", "settings", "within"), [("walk", ["walk.steps=12"], ""), ("busy", BUSY, "stages/train")]
)
def test_whenever_a_job_ends_it_goes_on_to_the_same_bytes(
    resumable_plan: PlanOf, tmp_path: Path, method: str, settings: list[str], within: str
) -> None:
    spec = resumable_plan(method, settings=settings, iterations=18, checkpoint_every=5).jobs[0]
    with watching(spec.out, tmp_path / "copies", within) as watch:
        expected, events = run(spec)
    assert expected.status == "ok", expected.error
    assert notes(events) == []
    artifact = (spec.out / str(expected.artifact)).read_bytes()
    if method == "busy":
        assert expected.gaussians not in (0, 12), "there was densification"
    resumed_at = set()
    assert len(watch.taken) > 20
    for copy, moment in watch.taken.values():
        again = spec.model_copy(update={"out": copy})
        record, events = run(again)
        assert timeless(record) == timeless(expected), moment
        assert (copy / str(record.artifact)).read_bytes() == artifact, moment
        leftovers = [name for name in tree(copy) if "/.tmp-" in name or ".checkpoint" in name or name.endswith(".tmp")]
        assert leftovers == [], moment
        resumed_at.update(notes(events))
        shutil.rmtree(copy)
    total = 12 if method == "walk" else 18
    assert resumed_at == {f"resuming at step {step} of {total}" for step in range(5, total, 5)}


class Killed(BaseException):
    """Ends a job in the middle of training, as far as that can be done from inside."""


def interrupted(spec: JobSpec, step: int) -> None:
    """Do a job until a step of training; its temporary files go, its checkpoints stay."""

    def emit(event: JobEvent) -> None:
        if event.kind == "progress" and event.stage == "train" and (event.step or 0) >= step:
            raise Killed

    with pytest.raises(Killed):
        run_job(spec, emit)


def test_interrupted_again_and_again(resumable_plan: PlanOf, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    options: dict[str, Any] = {"settings": ["walk.seconds=0.4"], "checkpoint_every": 4}
    whole, _ = run(resumable_plan("walk", out=tmp_path / "whole", **options).jobs[0])
    spec = resumable_plan("walk", **{**options, "settings": [*options["settings"], f"walk.trace={trace}"]}).jobs[0]
    for step in (10, 19, 20, 39):
        interrupted(spec, step)
    record, events = run(spec)
    assert notes(events) == ["resuming at step 36 of 40"]
    assert record.resumed == 4
    assert record.sha256 == whole.sha256
    parts = [(0, 10), (8, 19), (16, 20), (20, 39), (36, 40)]
    assert [int(line) for line in trace.read_text().split()] == [step for part in parts for step in range(*part)]
    assert whole.seconds.train is not None
    assert record.seconds.train is not None
    assert 0.4 <= record.seconds.train < 5, "the sum of all parts, without what was lost"
    assert record.peak_host_bytes is not None
    assert record.peak_host_bytes > 50e6
    assert Record.model_validate_json((spec.out / record.path()).read_bytes()) == record
    assert finished_record(spec) == record


def test_what_a_failed_training_left_is_used(resumable_plan: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full when the trained model is written."""
    spec = resumable_plan("walk", checkpoint_every=7).jobs[0]

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("gsbench.bench.model_files.write_tensors", fail)
        record, _ = run(spec)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.stage == "train"
    assert record.error.message.startswith("the trained model cannot be written to ")
    assert record.error.message.endswith(": No space left on device")
    record, events = run(spec)
    assert (record.status, record.resumed, notes(events)) == ("ok", 1, ["resuming at step 35 of 40"])


def test_checkpoints_are_off_on_request(resumable_plan: PlanOf) -> None:
    spec = resumable_plan("walk", checkpoint_every=0).jobs[0]
    interrupted(spec, 20)
    assert not list(spec.out.rglob("*.checkpoint"))
    record, events = run(spec)
    assert (record.resumed, notes(events)) == (0, [])


def test_short_trainings_leave_none(resumable_plan: PlanOf) -> None:
    spec = resumable_plan("walk").jobs[0]
    interrupted(spec, 20)
    assert not list(spec.out.rglob("*.checkpoint")), "less than a few seconds are not worth it"


def test_checkpoints_of_another_request_are_not_used(resumable_plan: PlanOf) -> None:
    interrupted(resumable_plan("walk", checkpoint_every=5).jobs[0], 20)
    for options in ({"seeds": [1]}, {"settings": ["walk.steps=41"]}, {"max_width": 10}, {"init": "random:5"}):
        record, events = run(resumable_plan("walk", **options).jobs[0])
        assert (record.status, record.resumed, notes(events)) == ("ok", 0, [])
    record, events = run(resumable_plan("walk").jobs[0])
    assert (record.resumed, notes(events)) == (1, ["resuming at step 20 of 40"])


def test_checkpoints_of_another_machine_are_not_used(
    resumable_plan: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(resumable_plan("walk", out=tmp_path / "whole").jobs[0])
    spec = resumable_plan("walk", checkpoint_every=5).jobs[0]
    interrupted(spec, 20)
    real = runner.machine_environment
    monkeypatch.setattr(runner, "machine_environment", lambda *a: real(*a).model_copy(update={"isa": "vax"}))
    record, events = run(spec)
    (note,) = notes(events)
    assert "the checkpoint of step 20 cannot be used and was set aside: it is of another training: isa " in note
    assert (record.sha256, record.resumed) == (whole.sha256, 0)


@pytest.mark.parametrize("file", ["state.safetensors", "checkpoint.json"])
def test_a_damaged_checkpoint_costs_time_and_nothing_else(resumable_plan: PlanOf, tmp_path: Path, file: str) -> None:
    whole, _ = run(resumable_plan("walk", out=tmp_path / "whole").jobs[0])
    spec = resumable_plan("walk", checkpoint_every=5).jobs[0]
    interrupted(spec, 20)
    (path,) = spec.out.rglob(file)
    path.write_bytes(path.read_bytes()[:-10])
    record, events = run(spec)
    assert "cannot be used and was set aside" in notes(events)[0]
    assert (record.sha256, record.resumed) == (whole.sha256, 0)
    assert not list(spec.out.rglob("*.checkpoint")), "what was set aside goes when the training is finished"


def test_a_method_that_cannot_load_what_it_kept_starts_over(resumable_plan: PlanOf, tmp_path: Path) -> None:
    whole, _ = run(resumable_plan("forgetful", out=tmp_path / "whole").jobs[0])
    spec = resumable_plan("forgetful", checkpoint_every=5).jobs[0]
    interrupted(spec, 20)
    record, events = run(spec)
    assert notes(events) == ["the checkpoint of step 20 cannot be used and was set aside: KeyError: 'momentum'"]
    assert (record.sha256, record.resumed) == (whole.sha256, 0)


def test_a_base_goes_on_where_it_was(resumable_plan: PlanOf) -> None:
    """Stages that a job makes up for keep checkpoints too, under the base's own key."""
    base = resumable_plan("walk", checkpoint_every=5).jobs[0]
    interrupted(base, 20)
    events: list[JobEvent] = []
    job = runner.Job(base, Store(base.out), events.append, prefix="base ")
    assert job.trained().result == {"resumed": 1}
    assert [(e.stage, e.text) for e in events if e.kind == "note"] == [("base train", "resuming at step 20 of 40")]


def test_no_clock_and_no_file_time_decides_anything(resumable_plan: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that runs backwards, and files from the past and the future."""
    clock = iter(range(2_000_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 10**9)
    spec = resumable_plan("walk", checkpoint_every=5).jobs[0]
    interrupted(spec, 20)
    for index, path in enumerate(sorted(spec.out.rglob("*"))):
        os.utime(path, (index % 3 * 2_000_000_000,) * 2)
    record, events = run(spec)
    assert (record.status, record.resumed) == ("ok", 1)
    seconds = [record.seconds.train, record.seconds.encode, record.seconds.decode]
    assert all(value is not None and value >= 0 for value in seconds)
    assert all(e.seconds is None or e.seconds >= 0 for e in events)
    for index, path in enumerate(sorted(spec.out.rglob("*"))):
        os.utime(path, (index % 2 * 3_000_000_000,) * 2)
    assert finished_record(spec) == record


class Training:
    """What the guide leaves to the method: a small network, its optimizer, noise, and an order that is shuffled."""

    def __init__(self, scene: object, config: Any, seed: int) -> None:
        self.net = torch.nn.Linear(3, 3)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1)
        self.noise = torch.Generator().manual_seed(seed)
        self.loss = 0.0

    def step(self) -> None:
        loss = (self.net(torch.randn(5, 3, generator=self.noise)) - random.random() - np.random.rand()).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.loss = float(loss.detach())

    def state(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "noise": self.noise}

    def load_state(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.noise = state["noise"]

    def model(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.net.state_dict().items()}


def test_the_guides_way_to_keep_checkpoints(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs" / "plugins.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"## Trainings that take long\n.*?```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"Training": Training}
    exec(code, names)

    def fit(folder: str, stop: int | None = None) -> Any:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)

        def progress(step: int, total: int, values: Any) -> None:
            if step == stop:
                raise Killed

        place = CheckpointFolder(tmp_path / folder, {}, every=4)
        context = Context(torch.device("cpu"), 1, 3, tmp_path, progress=progress, checkpoint=place)
        return names["fit"](None, None, SimpleNamespace(steps=20), context), place.resumed

    whole, _ = fit("whole")
    for stop in (7, 18):
        with pytest.raises(Killed):
            fit("parts", stop)
    parts, resumed = fit("parts")
    assert resumed == 2
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
