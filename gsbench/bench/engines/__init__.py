"""Engines: they only place jobs. What a job does is the same wherever it runs.

An engine is a class, registered by name with the hook `gsbench_engines`. It starts ``gsbench job JOB.json`` somewhere
that sees the results folder and the scenes (under `JobSpec.interpreter`, where a job has one), ends it when it exceeds
`JobSpec.timeout` or `JobSpec.memory_limit`, passes the job's events on, and sees to it that every job ends with a
record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gsbench.bench.model import JobEvent, JobSpec

EventHandler = Callable[[JobEvent], None]


@dataclass(frozen=True)
class EngineOptions:
    """What the user said about placing jobs.

    Fields:
        parallel: how many jobs at once, None for as many as fit.
        threads: CPU threads of each, None to divide the cores.
    """

    parallel: int | None = None
    threads: int | None = None


class Engine(Protocol):
    """Runs jobs."""

    def __init__(self, options: EngineOptions) -> None: ...

    def run(self, jobs: Sequence[JobSpec], on_event: EventHandler) -> None:
        """Run every job, each after those in its `after`, and call `on_event` (from the calling thread) with what
        happens. Every job ends with an event "job-finished" that carries its record, which is also in the results
        folder. A job one of whose `requires` failed is not started: its record says so.

        Raises:
            KeyboardInterrupt: after every running job has been stopped.
        """
        ...
