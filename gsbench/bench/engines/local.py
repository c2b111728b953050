"""`LocalEngine`: jobs as processes of this machine, as many at once as cores and memory allow."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from pydantic import ValidationError

from gsbench import _files
from gsbench.bench.elsewhere import command, this_interpreter
from gsbench.bench.elsewhere import environment as environment_of
from gsbench.bench.engines import EngineOptions, EventHandler
from gsbench.bench.job import LIFELINE
from gsbench.bench.limits import TAIL_LINES, WATCH_SECONDS, family, log_tail, memory_of_job, shown_size, with_tail
from gsbench.bench.memory import available_bytes, usable_cores
from gsbench.bench.model import JobEvent, JobSpec
from gsbench.bench.results import failed_record
from gsbench.bench.store import Store, make_folder
from gsbench.records import Record

#: Cores that a job gets where there are enough: beyond these, more jobs at once gain more.
_CORES_PER_JOB: Final = 4
#: Share of the available memory that jobs may plan with.
_MEMORY_SHARE: Final = 0.8
#: Time that a job has to end after it was asked to, in seconds.
_GRACE_SECONDS: Final = 5.0

#: What the job's process runs. It is the driver's import path and not its environment that is passed on, so that both
#: import the same code, wherever they were started.
_JOB: Final = "gsbench.bench.job"


@dataclass
class _Running:
    """A job's process."""

    job: JobSpec
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    log: Path
    slot: int
    pending: bytes = b""
    stage: str | None = None
    stage_log: Path | None = None
    record: Record | None = None
    errors: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    ended: str | None = None  # why it was stopped before its time


class LocalEngine:
    """A pool of processes. Cores are divided among the jobs that run at once; with GPUs, each job has its own."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options

    def run(self, jobs: Sequence[JobSpec], on_event: EventHandler) -> None:
        """See `gsbench.bench.engines.Engine`."""
        if jobs:
            slots = self.slots(jobs)
            threads = self._options.threads or max(1, usable_cores() // slots)
            pool = _Pool(jobs, slots, threads, on_event)
            try:
                pool.run()
            finally:
                pool.stop()

    def slots(self, jobs: Sequence[JobSpec]) -> int:
        """How many of these jobs run at once."""
        if self._options.parallel is not None:
            return min(self._options.parallel, len(jobs))
        if jobs[0].device.startswith("cuda"):
            return max(1, min(len(jobs), len(_devices(jobs[0].device))))
        cores = usable_cores()
        by_cores = cores // (self._options.threads or _CORES_PER_JOB)
        free = available_bytes()
        needed = max(1, max(job.memory_bytes for job in jobs))
        by_memory = by_cores if free is None else int(_MEMORY_SHARE * free / needed)
        return max(1, min(len(jobs), by_cores, by_memory))


class _Pool:
    """One run of the engine."""

    def __init__(self, jobs: Sequence[JobSpec], slots: int, threads: int, on_event: EventHandler) -> None:
        self._waiting = list(jobs)
        self._threads = threads
        self._on_event = on_event
        self._free = list(range(slots))
        self._running: list[_Running] = []
        self._open = {job.id for job in jobs}
        self._failed: dict[str, Record] = {}
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Run every job to its end."""
        while self._waiting or self._running:
            self._start_ready()
            if self._waiting and not self._running:
                raise AssertionError(f"jobs wait for each other: {[job.id for job in self._waiting]}")
            for key, _ in self._selector.select(self._patience()) if self._running else ():
                self._read(key.data)
            self._enforce_limits()

    def stop(self) -> None:
        """End what is still running, and wait for it."""
        for running in self._running:
            _signal(running.process, signal.SIGTERM)
        for running in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(_GRACE_SECONDS)
            _signal(running.process, signal.SIGKILL)
            running.process.wait()
            _close(running)
        self._running.clear()
        self._selector.close()

    def _start_ready(self) -> None:
        """Start jobs while there are slots, in order; give up those whose base failed."""
        for job in list(self._waiting):
            if any(before in self._open for before in job.after):
                continue
            missing = [self._failed[before] for before in job.requires if before in self._failed]
            if missing:
                self._waiting.remove(job)
                self._give_up(job, missing[0])
            elif self._free:
                self._waiting.remove(job)
                self._start(job, self._free.pop(0))

    def _start(self, job: JobSpec, slot: int) -> None:
        job = job.model_copy(update={"threads": job.threads or self._threads})
        store = Store(job.out)
        description, log = store.job_file(job.id, ".json"), store.job_file(job.id, ".log")
        make_folder(description.parent)
        with _files.atomic_file(description) as file:
            file.write((job.model_dump_json(indent=1) + "\n").encode())
        interpreter = job.interpreter or this_interpreter()
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command(interpreter, _JOB, LIFELINE, str(description)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=_environment(job, slot),
                start_new_session=True,
            )
        if process.stdout is None:
            raise AssertionError("stdout was asked for")
        running = _Running(job, process, process.stdout, log, slot)
        self._running.append(running)
        self._selector.register(running.output, selectors.EVENT_READ, running)

    def _patience(self) -> float | None:
        """Seconds until limits have to be looked at, None for as long as nothing happens."""
        if any(running.job.memory_limit is not None for running in self._running):
            return WATCH_SECONDS
        ends = [r.begun + r.job.timeout for r in self._running if r.job.timeout is not None and r.ended is None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _enforce_limits(self) -> None:
        """Stop jobs that take more than they may; their ends are read like any other's."""
        for running in self._running:
            if running.ended is None:
                running.ended = _over_limit(running)
                if running.ended is not None:
                    _kill_family(running.process)

    def _read(self, running: _Running) -> None:
        """Pass on what a job's process has said; at the end of it, the job is over."""
        data = os.read(running.output.fileno(), 1 << 16)
        if not data:
            self._end(running)
            return
        *lines, running.pending = (running.pending + data).split(b"\n")
        for line in lines:
            self._tell(running, line)

    def _tell(self, running: _Running, line: bytes) -> None:
        try:
            event = JobEvent.model_validate_json(line)
        except ValidationError:
            running.errors.append(line[:200].decode(errors="replace"))
            return
        if event.kind == "job-finished":
            running.record = event.record
            return  # told when the process is gone
        if event.kind == "stage-started":
            running.stage = event.stage
            running.stage_log = running.stage_log if event.log is None else Store(running.job.out).root / event.log
        elif event.kind == "stage-finished":
            running.stage = running.stage_log = None
        self._on_event(event)

    def _end(self, running: _Running) -> None:
        self._selector.unregister(running.output)
        code = running.process.wait()
        self._running.remove(running)
        self._free.append(running.slot)
        _close(running)
        store = Store(running.job.out)
        record = running.record
        if record is None:
            message, log = _last_words(running, code)
            record = failed_record(running.job, running.stage or "setup", message, store.relative(log))
            if running.job.until == "score":
                store.write_record(record, None)
        self._finish(running.job, record)

    def _give_up(self, job: JobSpec, base: Record) -> None:
        """The record of a job whose base failed."""
        error = base.error
        message = f"its base {base.method!r} failed" + (f" in {error.stage}: {error.message}" if error else "")
        record = failed_record(job, "base", message, None if error is None else error.log)
        Store(job.out).write_record(record, None)
        self._on_event(JobEvent(job=job.id, kind="job-started"))
        self._finish(job, record)

    def _finish(self, job: JobSpec, record: Record) -> None:
        self._open.discard(job.id)
        if record.status == "failed":
            self._failed[job.id] = record
        self._on_event(JobEvent(job=job.id, kind="job-finished", record=record))


def _environment(job: JobSpec, slot: int) -> dict[str, str]:
    """The driver's environment, with the job's number of threads and, where there are several GPUs, its own."""
    environment = environment_of(job.interpreter, {**os.environ, "OMP_NUM_THREADS": str(job.threads)})
    if job.device == "cuda":
        devices = _devices(job.device)
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return environment


def _devices(device: str) -> list[str]:
    """The GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them."""
    if ":" in device:
        return [device.partition(":")[2]]
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def _over_limit(running: _Running) -> str | None:
    """Which limit a job exceeds, in words."""
    timeout, limit = running.job.timeout, running.job.memory_limit
    if timeout is not None and time.monotonic() - running.begun > timeout:
        return f"the job took more than --timeout {timeout:g} s and was stopped"
    if limit is not None and (held := memory_of_job(running.process.pid)) > limit:
        return (
            f"the job held {shown_size(held)} of memory, more than --memory-limit {shown_size(limit)}, and was stopped"
        )
    return None


def _last_words(running: _Running, code: int) -> tuple[str, Path]:
    """Why a job's process ended without a record, with the last lines that it wrote, and the log that has them."""
    if running.ended is not None:
        how = running.ended
    elif code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        killed = " (out of memory?)" if -code == signal.SIGKILL else ""
        how = f"the job's process was ended by {name}{killed}"
    else:
        how = f"the job's process ended with exit status {code} and no record"
    for log in (running.stage_log, running.log):  # what a stage prints is in its own log
        lines = [] if log is None else log_tail(log)
        if log is not None and lines:
            break
    else:
        log, lines = running.log, running.errors[-TAIL_LINES:]
    if running.ended is not None:
        return with_tail(how, lines), log
    if len(lines) > 1:
        return with_tail(f"{how}: {lines[-1]}", lines), log
    return (f"{how}: {lines[0]}" if lines else how), log


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a job's process and what it started, which are a process group of their own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def _kill_family(process: subprocess.Popen[bytes]) -> None:
    """End a job's process and all that it started, in whatever process group."""
    others = family(process.pid) - {process.pid} if Path("/proc/self/stat").exists() else set()
    _signal(process, signal.SIGKILL)
    for pid in others:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _close(running: _Running) -> None:
    running.output.close()
    if running.process.stdin is not None:
        running.process.stdin.close()
