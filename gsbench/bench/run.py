"""`run_plan`: do what is missing of a plan."""

from __future__ import annotations

from collections.abc import Callable

from gsbench import hooks, registry
from gsbench.bench.elsewhere import finished_elsewhere
from gsbench.bench.engines import Engine, EngineOptions
from gsbench.bench.model import JobEvent, JobSpec, Plan
from gsbench.bench.runner import finished_record
from gsbench.bench.store import Store
from gsbench.records import Record


def run_plan(plan: Plan, on_event: Callable[[JobEvent], None] = lambda event: None) -> list[Record]:
    """Run the jobs of a plan and return their records, in the order of the plan.

    Jobs of which nothing is missing are not started; their records are the same as before, byte for byte. A job that
    fails has a record that says so, and the others go on. Observers (`gsbench_job_started` and its siblings) are told
    as well as `on_event`.

    Args:
        plan: from `build_plan`.
        on_event: called from this thread with what happens. Every job ends with "job-finished".

    Raises:
        StoreError: if the results folder cannot be used, or another run uses it.
        KeyboardInterrupt: after every running job has been stopped; what was finished stays.
    """
    hooks.load_plugins()
    jobs = {job.id: job for job in plan.jobs}
    records: dict[str, Record] = {}

    def tell(event: JobEvent) -> None:
        on_event(event)
        if event.kind == "job-finished" and event.record is not None:
            records[event.job] = event.record
        _observe(jobs.get(event.job), event)

    store = Store(plan.out)
    with store.exclusive():
        store.clean()
        missing: list[JobSpec] = []
        elsewhere = finished_elsewhere(plan.jobs)
        for job in plan.jobs:
            record = finished_record(job) if job.here else elsewhere.get(job.id)
            if record is None:
                missing.append(job)
            else:
                tell(JobEvent(job=job.id, kind="job-started", cached=True))
                tell(JobEvent(job=job.id, kind="job-finished", record=record, cached=True))
        engine: type[Engine] = registry.engines.get(plan.engine)
        engine(EngineOptions(plan.parallel, plan.threads)).run(missing, tell)
    return [records[job.id] for job in plan.jobs if job.id in records]


def _observe(job: JobSpec | None, event: JobEvent) -> None:
    """Tell the observers of plugins. A job that was there already is told as finished, too."""
    if job is None:
        return
    if event.kind == "job-started":
        hooks.job_started(job)
    elif event.kind == "job-finished" and event.record is not None:
        if event.record.status == "failed":
            hooks.job_failed(job, event.record)
        else:
            hooks.job_finished(job, event.record)
