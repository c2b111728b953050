"""``gsbench plan``: what a run would do, and the schedule that a method would train by."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.options import build_plan, build_request, request_options
from gsbench.cli.output import json_option, print_json, table_width
from gsbench.cli.run import print_notes
from gsbench.cli.tables import Column, Row, text_table
from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.bench import JobSpec, Plan
    from gsbench.training import Scheduler

PLAN_SCHEMA: Final = "gsbench.plan/1"
SCHEDULE_SCHEMA: Final = "gsbench.schedule/1"

STAGES: Final = ("train", "encode", "decode", "score")


@click.command("plan")
@request_options
@click.option("--schedule", metavar="METHOD", help="Print the tasks that METHOD trains by, step by step, instead.")
@json_option
def command(as_json: bool, schedule: str | None, **options: Any) -> None:
    """Print the jobs of a run, and what of each is there already. Nothing is run.

    \b
    gsbench plan --methods 3dgs --scenes demo,path:/my/scene --seeds 0,1
    gsbench plan --schedule 3dgs --iterations 7000

    With --json every job has its full description, which `gsbench job FILE` runs: for clusters of your own.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    if schedule is not None:
        _print_schedule(schedule, options, as_json)
        return
    plan = build_plan(build_request(**options))
    states = [(job, missing_stages(job)) for job in plan.jobs]
    if as_json:
        print_json(_as_json(plan, states))
        return
    print_notes(plan)
    columns = [Column(title, "<") for title in ("method", "scene", "rate", "seed", "protocol", "to do")]
    click.echo(text_table(columns, [_row(job, missing) for job, missing in states], table_width()))
    click.echo("\n" + _summary(states))


def missing_stages(job: JobSpec) -> list[str]:
    """The stages of a job whose results are not in its results folder; nothing is computed or written."""
    from gsbench.bench.elsewhere import stages_there
    from gsbench.bench.runner import Job, StageMissingError
    from gsbench.bench.store import Store

    if not job.here:
        found = stages_there(job)
        return [] if found is None else [stage for stage in STAGES if stage not in found]
    there = set()
    try:
        Job(job, Store(job.out), lambda event: there.add(event.stage), execute=False).record()
    except StageMissingError:
        return [stage for stage in STAGES if stage not in there]
    return []


def _row(job: JobSpec, missing: list[str]) -> Row:
    seed = f"{job.seed} (base)" if job.dependency else str(job.seed)
    todo = ", ".join(missing) if missing else "nothing: all is there"
    scene = f"{job.dataset}/{job.scene}" if job.dataset != job.scene else job.scene
    return Row([job.method, scene, job.rate, seed, job.protocol.id, todo], None if missing else "green")


def _summary(states: list[tuple[JobSpec, list[str]]]) -> str:
    counts = Counter(stage for _, missing in states for stage in missing)
    jobs = "1 job" if len(states) == 1 else f"{len(states)} jobs"
    if not counts:
        return f"{jobs}, all done"
    return f"{jobs}; to do: " + ", ".join(f"{counts[s]} x {s}" for s in STAGES if counts[s])


def _as_json(plan: Plan, states: list[tuple[JobSpec, list[str]]]) -> dict[str, Any]:
    return {
        "schema": PLAN_SCHEMA,
        "out": str(plan.out),
        "engine": plan.engine,
        "notes": plan.notes,
        "jobs": [
            {"id": job.id, "missing": missing, "description": job.model_dump(mode="json")} for job, missing in states
        ],
    }


def _print_schedule(name: str, options: dict[str, Any], as_json: bool) -> None:
    scheduler, rate = _schedule(name, options)
    if as_json:
        tasks = [asdict(row) for row in scheduler.timeline()]
        print_json({"schema": SCHEDULE_SCHEMA, "method": name, "rate": rate, "tasks": tasks})
    else:
        click.echo(f"Schedule of {name} at rate point {rate}; steps count from 0\n")
        click.echo(scheduler.table())


def _schedule(name: str, options: dict[str, Any]) -> tuple[Scheduler, str]:
    from gsbench import registry
    from gsbench.bench.settings import build_config, resolve_config, split_setting
    from gsbench.hooks import load_plugins, method_class
    from gsbench.methods import MethodSpec

    load_plugins()
    spec: MethodSpec = registry.methods.get(name)
    rates: tuple[str, ...] = options["rates"]
    if len(rates) != 1:
        raise UsageError(f"--rates {','.join(rates)}: expected one rate point with --schedule")
    rate = spec.rate(rates[0])
    cls = method_class(name)
    schedule = getattr(cls, "schedule", None)
    if schedule is None:
        raise UsageError(f"method {name!r} has no training schedule; its kind is {spec.kind!r}")
    settings = [split_setting(text, [name])[1:] for text in options["settings"]]
    config = build_config(cls.Config, resolve_config(name, cls.Config, rate.settings, settings))
    scheduler: Scheduler = schedule(config, options["iterations"])
    return scheduler, rate.name
