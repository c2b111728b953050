"""Runs whose processes are killed: the whole run, one of its jobs, a decoder; and what the next run makes of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gsbench.bench.model import JobEvent, Plan
from gsbench.bench.run import run_plan
from gsbench.bench.store import Store
from gsbench.records import Record

PlanOf = Callable[..., Plan]


@pytest.fixture(autouse=True)
def _one_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The isolations have tests of their own; here the faster one will do."""
    monkeypatch.setenv("GSBENCH_ISOLATION", "audit-hook")


def processes(words: Path | str) -> dict[int, str]:
    """Processes whose command line has these words, this one aside."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(words) in command and int(path.parent.name) != os.getpid():
            found[int(path.parent.name)] = command
    return found


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Command:
    """``gsbench run`` in a process of its own."""

    def __init__(self, installed: Path, capture: Path, out: Path, *arguments: str) -> None:
        self.out = out
        self.words = [
            *(sys.executable, "-m", "gsbench", "run", "--scenes", f"path:{capture}", "--out", str(out), "--json"),
            *("--metrics", "psnr", "--threads", "1", *arguments),
        ]
        self.environment = {**os.environ, "PYTHONPATH": str(installed)}

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.words,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(timeout=60)
            if process.stderr is not None:
                process.stderr.close()

    def finish(self) -> tuple[dict[str, Any], str]:
        """Run to the end: the record, and what was said on stderr."""
        done = subprocess.run(
            self.words, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        (record,) = json.loads(done.stdout)["records"]
        record["artifact"] = str(Path(record["artifact"]).relative_to(self.out))
        return record, done.stderr


def timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what differs between two runs of the same job."""
    passing = ("seconds", "render_ms", "peak_host_bytes", "peak_gpu_bytes", "resumed")
    return {name: value for name, value in record.items() if name not in passing}


def leftovers(out: Path) -> list[str]:
    names = (str(path.relative_to(out)) for path in out.rglob("*"))
    return [n for n in names if ".tmp" in n or ".lock-" in n or ".checkpoint" in n or ".sealed-" in n]


def has_checkpoint(out: Path) -> bool:
    return any(path.name.isdecimal() for path in out.glob("stages/train/*.checkpoint/*"))


def test_a_stopped_run_goes_on_from_its_checkpoint(resumable: Path, capture: Path, tmp_path: Path) -> None:
    """First by Ctrl-C, then by a kill that nobody can handle."""
    hold, trace = tmp_path / "hold", tmp_path / "trace"
    hold.touch()
    options = ["--checkpoint-every", "6", "--methods", "walk", "--set", "walk.hold_at=20"]
    options += ["--set", f"walk.hold={hold}", "--set", f"walk.trace={trace}"]
    command = Command(resumable, capture, tmp_path / "runs", *options)
    for times, how in enumerate((signal.SIGINT, signal.SIGKILL), start=1):
        with command.started() as process:
            until(lambda times=times: trace.exists() and trace.read_text().count("19\n") == times)
            assert has_checkpoint(command.out)
            process.send_signal(how)
            _, said = process.communicate(timeout=60)
        if how == signal.SIGINT:
            assert process.returncode == 130
            assert "gsbench: interrupted; the same command goes on from here" in said
            assert "Traceback" not in said
        until(lambda: not processes(command.out))
    hold.unlink()
    record, said = command.finish()
    assert "walk path/desk default: train resuming at step 18 of 40" in said
    assert (record["status"], record["resumed"]) == ("ok", 1), "the part in between left nothing"
    steps = [int(line) for line in trace.read_text().split()]
    assert steps == [*range(20), 18, 19, *range(18, 40)]
    assert leftovers(command.out) == []


def test_a_job_that_is_killed_is_a_row_and_goes_on_next_time(resumable_plan: PlanOf, tmp_path: Path) -> None:
    """As the kernel does where memory runs out: one job of two, while the other one works."""
    hold, trace = tmp_path / "hold", tmp_path / "trace"
    hold.touch()
    settings = [f"walk.hold={hold}", "walk.hold_at=20", f"walk.trace={trace}"]
    plan = resumable_plan("walk", seeds=[0, 1], settings=settings, threads=1, jobs=2, checkpoint_every=6)
    victim = plan.jobs[0].id
    notes: list[str] = []

    def note(event: JobEvent) -> None:
        if event.kind == "note":
            notes.append(f"{event.job} {event.text}")

    def kill() -> None:
        try:
            until(lambda: trace.exists() and trace.read_text().count("19\n") == 2)
            (pid,) = [pid for pid, line in processes(plan.out).items() if f"{victim}.json" in line]
            os.kill(pid, signal.SIGKILL)
        finally:
            hold.unlink()  # or nothing would ever end

    killer = threading.Thread(target=kill)
    killer.start()
    records = {record.seed: record for record in run_plan(plan, note)}
    killer.join()
    assert (records[0].status, records[1].status) == ("failed", "ok")
    error = records[0].error
    assert error is not None
    assert error.stage == "train"
    first, *rest = error.message.splitlines()
    assert first == "the job's process was ended by SIGKILL (out of memory?): step 19"
    assert rest == ["The last lines of its log:", *(f"step {step}" for step in range(10, 20))]
    assert error.log is not None
    assert (plan.out / error.log).read_text().endswith("step 19\n")
    assert error.log.startswith("stages/train/")

    again = {record.seed: record for record in run_plan(plan, note)}
    assert (again[0].status, again[0].resumed) == ("ok", 1)
    assert notes == [f"{victim} resuming at step 18 of 40"]
    assert again[1] == records[1]
    assert leftovers(plan.out) == []


def test_a_decoder_ends_with_its_run(zoo: Path, capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSBENCH_ISOLATION", "auto")
    command = Command(zoo, capture, tmp_path / "runs", "--methods", "broken", "--set", "broken.where=hang")
    with command.started() as process:
        until(lambda: any("sealed_child.py" in line for line in processes(command.out).values()))
        process.kill()
        process.wait(timeout=60)
    until(lambda: not processes(command.out))

    def cleaned() -> bool:
        with Store(command.out).exclusive():
            Store(command.out).clean()
        return leftovers(command.out) == []

    until(cleaned)  # a process that ends gives back its memory before its locks


def test_a_decoder_that_is_killed_is_a_row(plan_of: PlanOf) -> None:
    plan = plan_of("broken", settings=["broken.where=hang"], threads=1)

    def kill(event: JobEvent) -> None:
        if event.kind == "stage-started" and event.stage == "decode":
            until(lambda: any("sealed_child.py" in line for line in processes(plan.out).values()))
            for pid, line in processes(plan.out).items():
                if "sealed_child.py" in line:
                    os.kill(pid, signal.SIGKILL)

    (record,) = run_plan(plan, kill)
    assert record.error is not None
    assert record.error.stage == "decode"
    assert record.error.message.startswith("the sealed decoder ended with signal 9")


#: Settings that make each method short, with everything in it that a long training has.
SHORT: Mapping[str, Mapping[str, object]] = {
    "busy": {
        "iterations": 60,
        "densify_grad_threshold": 1e-7,
        "densify_from_iter": 5,
        "densify_until_iter": 50,
        "densification_interval": 5,
        "opacity_reset_interval": 15,
        "sh_degree_interval": 12,
    },
    "walk": {"steps": 60, "seconds": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "wanted"), [("busy", 20), ("walk", 10)])
def test_kills_at_random_moments(resumable: Path, capture: Path, tmp_path: Path, method: str, wanted: int) -> None:
    """Of the run, of one of its jobs, or of all; whatever stage it is in. It always ends in the same bytes."""
    options = ["--methods", method, "--checkpoint-every", "5"]
    options += [word for name, value in SHORT[method].items() for word in ("--set", f"{method}.{name}={value}")]
    begin = time.monotonic()
    expected, _ = Command(resumable, capture, tmp_path / "whole", *options).finish()
    length = time.monotonic() - begin
    artifact = (tmp_path / "whole" / expected["artifact"]).read_bytes()
    rng = random.Random(method)
    kills, folders, resumed = 0, 0, 0
    met = set()
    while kills < wanted or (resumed == 0 and kills < 4 * wanted):  # on a slow machine few meet the training
        command = Command(resumable, capture, tmp_path / f"runs{folders}", *options)
        with command.started() as process:
            if ends_within(process, rng.uniform(0.2, 1.0) * length):
                ended = True
            else:
                ended = False
                jobs = [pid for pid in processes(command.out) if pid != process.pid]
                kill_all(rng.choice([[process.pid], jobs[:1], [process.pid, *jobs]]) or [process.pid])
                kills += 1
                met.add(tuple(sorted(p.name for p in (command.out / "stages").glob("*"))))
                process.communicate(timeout=120)
        until(partial(nothing_runs, command.out))
        if ended or rng.random() < 0.25 or kills >= wanted:
            record, _ = command.finish()
            assert timeless(record) == timeless(expected)
            assert (command.out / record["artifact"]).read_bytes() == artifact
            assert leftovers(command.out) == []
            resumed += record["resumed"]
            folders += 1
    assert len(met) > 2, "kills met several stages"
    assert resumed > 0


def ends_within(process: subprocess.Popen[str], seconds: float) -> bool:
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def nothing_runs(out: Path) -> bool:
    return not processes(out)


def test_records_say_how_often_a_training_went_on() -> None:
    field = Record.model_fields["resumed"]
    assert field.default == 0
