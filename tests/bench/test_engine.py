"""Whole runs in processes of their own: failures among good jobs, kills, interrupts, and starting again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gsbench import registry
from gsbench.bench.engines import EngineOptions
from gsbench.bench.engines import local as local_module
from gsbench.bench.engines.local import LocalEngine
from gsbench.bench.model import JobEvent, Plan
from gsbench.bench.run import run_plan
from gsbench.bench.store import Store, record_bytes
from gsbench.errors import StoreError, UsageError
from gsbench.records import Record

PlanOf = Callable[..., Plan]


@pytest.fixture(autouse=True)
def _one_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The isolations have tests of their own; here the faster one will do."""
    monkeypatch.setenv("GSBENCH_ISOLATION", "audit-hook")


def run(plan: Plan) -> tuple[list[Record], list[JobEvent]]:
    events: list[JobEvent] = []
    return run_plan(plan, events.append), events


def files(out: Path) -> dict[str, int]:
    return {
        str(p.relative_to(out)): p.stat().st_mtime_ns
        for p in out.rglob("*")
        if p.is_file() and not p.name.startswith(".lock")
    }


def test_good_jobs_and_bad_ones(plan_of: PlanOf) -> None:
    """A crash of one job is a record like any other; the others go on; a second run does only what is missing."""
    plan = plan_of("broken", "heir", "dots", settings=["broken.where=kill"], threads=1, jobs=2)
    records, events = run(plan)
    by_method = {record.method: record for record in records}
    assert [record.method for record in records] == ["broken", "heir", "dots"]
    assert {m: r.status for m, r in by_method.items()} == {"broken": "failed", "heir": "failed", "dots": "ok"}

    crash = by_method["broken"].error
    assert crash is not None
    assert crash.stage == "train"
    assert "SIGKILL" in crash.message
    assert (plan.out / str(crash.log)).is_file()
    heir = by_method["heir"].error
    assert heir is not None
    assert heir.stage == "base"
    assert "its base 'broken' failed in train" in heir.message
    dots = by_method["dots"]
    assert dots.seconds.decode is not None
    assert dots.peak_host_bytes is not None
    assert dots.environment is not None
    assert (dots.environment.threads, dots.isolation) == (1, "audit-hook")
    for record in records:
        assert (plan.out / record.path()).read_bytes() == record_bytes(record)

    for job in plan.jobs:
        kinds = [e.kind for e in events if e.job == job.id]
        assert kinds[0] == "job-started"
        assert kinds[-1] == "job-finished"
        assert kinds.count("job-started") == kinds.count("job-finished") == 1
    assert "stage-started" not in [e.kind for e in events if e.job == plan.jobs[1].id]

    import zoo_plugin  # type: ignore[import-not-found]

    observed = [entry for entry in zoo_plugin.OBSERVED if entry[0] != "started"]
    assert sorted(observed) == sorted(
        [
            ("failed", plan.jobs[0].id, "train"),
            ("failed", plan.jobs[1].id, "base"),
            ("finished", plan.jobs[2].id, "ok"),
        ]
    )
    assert len([entry for entry in zoo_plugin.OBSERVED if entry[0] == "started"]) == 3

    done = plan_of("dots", threads=1)
    before = files(plan.out)
    begin = time.monotonic()
    again, events = run(done)
    assert time.monotonic() - begin < 5
    assert again == [dots]
    assert all(e.cached for e in events)
    assert files(plan.out) == before, "not a file was touched"


_DRIVER = """
import json, sys
from pathlib import Path
from gsbench.bench.model import Plan
from gsbench.bench.run import run_plan
plan = Plan.model_validate_json(Path(sys.argv[1]).read_text())
try:
    run_plan(plan, lambda e: print(e.kind, e.stage, e.job, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""


@contextmanager
def driver(plan: Plan, zoo: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, which tells its events."""
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(tmp_path / "plan.json")],
        env={**os.environ, "PYTHONPATH": str(zoo)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=60)
        if process.stdout is not None:
            process.stdout.close()


def wait_for(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read what the driver tells until a line begins with `words`."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith(words):
            return lines
    raise AssertionError(f"{words!r} never came: {lines}")


def jobs_of(out: Path) -> list[str]:
    """Processes whose command line names the results folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text().replace("\0", " ")
        except OSError:
            continue
        if str(out) in command:
            found.append(command)
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_where_it_was(
    plan_of: PlanOf, zoo: Path, tmp_path: Path, how: signal.Signals
) -> None:
    hold, trace = tmp_path / "hold", tmp_path / "trace"
    hold.touch()
    settings = [f"v1.5.hold={hold}", f"v1.5.trace={trace}", f"dots.trace={trace}"]
    plan = plan_of("dots", "v1.5", settings=settings, threads=1, jobs=1)
    first, second = plan.jobs
    with driver(plan, zoo, tmp_path) as process:
        wait_for(process, f"stage-started train {second.id}")
        until(lambda: trace.read_text().count("fit") == 2)
        assert jobs_of(plan.out) != []
        process.send_signal(how)
        if how == signal.SIGINT:
            wait_for(process, "interrupted")
            assert process.wait(timeout=60) == 130
        else:
            assert process.wait(timeout=60) == -signal.SIGKILL
    until(lambda: jobs_of(plan.out) == [])
    store = Store(plan.out)
    finished = store.read_record(f"{first.id}.json")
    assert finished is not None, "what was finished stays"
    assert store.read_record(f"{second.id}.json") is None, "a job that was stopped did not fail"
    before = {name: when for name, when in files(plan.out).items() if "train" not in name and "jobs/" not in name}

    hold.unlink()
    records, events = run(plan)
    assert [record.status for record in records] == ["ok", "ok"]
    assert records[0] == finished
    assert [line.split()[0] for line in trace.read_text().splitlines()] == ["fit", "encode", "fit", "fit", "encode"]
    assert [e.cached for e in events if e.job == first.id] == [True, True]
    after = files(plan.out)
    assert {name: after.get(name) for name in before} == before
    assert not list(plan.out.rglob(".tmp-*"))
    assert not list(plan.out.rglob(".lock-*"))


def test_the_results_folder_is_checked_first(plan_of: PlanOf, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file is there and is not a folder"):
        run(plan_of("dots", out=tmp_path / "file"))
    plan = plan_of("dots")
    with Store(plan.out).exclusive(), pytest.raises(StoreError, match="in use by another run"):
        run(plan)
    assert not (plan.out / "stages").exists()


def test_a_job_by_hand(plan_of: PlanOf, zoo: Path, tmp_path: Path) -> None:
    """``python -m gsbench.bench.job JOB.json`` is complete in itself: its base is made up for."""
    plan = plan_of("fewer", threads=1)
    path = tmp_path / "job.json"
    path.write_text(plan.jobs[-1].model_dump_json())
    command = [sys.executable, "-m", "gsbench.bench.job", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(zoo)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = [JobEvent.model_validate_json(line) for line in done.stdout.splitlines()]
    assert (events[0].kind, events[-1].kind) == ("job-started", "job-finished")
    assert events[-1].record == Store(plan.out).read_record(f"{plan.jobs[-1].id}.json")
    assert "base train" in [e.stage for e in events]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "does not describe a job"),
        ("{}", "speaks job protocol None, this gsbench 2"),
        ('{"job_protocol": 99}', "speaks job protocol 99"),
        ('{"job_protocol": 2, "method": "x"}', "does not describe a job"),
        ("[]", "does not describe a job"),
        (None, "does not describe a job"),
    ],
)
def test_descriptions_that_are_none(tmp_path: Path, text: str | None, message: str) -> None:
    from gsbench.bench import job

    path = tmp_path / "job.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=message):
        job.main(path)


def test_arguments_of_the_job_program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from gsbench.bench.job import command_line

    assert command_line([]) == 2
    assert command_line([str(tmp_path / "none.json")]) == 2
    assert "gsbench: error: " in capsys.readouterr().err


def test_how_many_jobs_run_at_once(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = plan_of("dots", seeds=list(range(10))).jobs
    needed = jobs[0].memory_bytes

    def slots(cores: int, memory: float | None, **options: Any) -> int:
        monkeypatch.setattr(local_module, "usable_cores", lambda: cores)
        monkeypatch.setattr(
            local_module, "available_bytes", lambda: None if memory is None else int(memory * needed / 0.8) + 1
        )
        return LocalEngine(EngineOptions(**options)).slots(jobs)

    assert slots(2, 100) == 1
    assert slots(16, 100) == 4
    assert slots(16, 2) == 2
    assert slots(16, 0.1) == 1, "one always runs"
    assert slots(16, None) == 4
    assert slots(64, 100) == 10, "no more than there are"
    assert slots(16, 100, threads=1) == 10
    assert slots(2, 0.1, parallel=5) == 5, "who asks for it gets it"
    gpu = [job.model_copy(update={"device": "cuda"}) for job in jobs]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert LocalEngine(EngineOptions()).slots(gpu) == 2
    assert [local_module._environment(gpu[0], slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["3", "5", "3"]
    one = gpu[0].model_copy(update={"device": "cuda:1", "threads": 6})
    assert LocalEngine(EngineOptions()).slots([one, one]) == 1
    assert local_module._environment(one, 0)["OMP_NUM_THREADS"] == "6"


def test_the_engine_is_chosen_by_name(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[tuple[EngineOptions, list[str]]] = []

    class Elsewhere:
        def __init__(self, options: EngineOptions) -> None:
            self.options = options

        def run(self, jobs: Any, on_event: Any) -> None:
            placed.append((self.options, [job.id for job in jobs]))

    plan = plan_of("dots", jobs=3, threads=2)
    registry.engines.register("elsewhere", Elsewhere, "a test")
    try:
        assert run_plan(plan.model_copy(update={"engine": "elsewhere"})) == []
    finally:
        registry.engines.unregister_origin("a test")
    assert placed == [(EngineOptions(3, 2), [plan.jobs[0].id])]


def test_records_are_plain_json(plan_of: PlanOf) -> None:
    (job,) = plan_of("dots").jobs
    from gsbench.bench.results import failed_record

    value = json.loads(record_bytes(failed_record(job, "train", "ünlucky", None)))
    assert value["schema"] == "gsbench.record/1"
    assert value["error"] == {"stage": "train", "message": "ünlucky", "log": None}
