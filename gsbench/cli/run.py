"""``gsbench run``: train, encode, decode, render, score, and say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gsbench.cli.options import build_plan, build_request, request_options
from gsbench.cli.output import json_option, print_json, table_width
from gsbench.cli.progress import Display, display
from gsbench.cli.results import run_output, run_report
from gsbench.cli.tables import megabytes

if TYPE_CHECKING:
    from gsbench.bench import JobEvent, JobSpec, Plan
    from gsbench.records import Record


@click.command("run")
@request_options
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@json_option
def command(as_json: bool, quiet: bool, **options: Any) -> int:
    """Run methods on scenes and print a table of the results.

    \b
    gsbench run --methods hac,3dgs --scenes demo
    gsbench run --methods 3dgs --scenes path:/my/scene --iterations 7000
    gsbench run --config bench.toml --seeds 0,1,2 --json > results.json

    Every result is a record below --out. What is there already is not done again, so an interrupted run goes on
    where it was. Progress goes to stderr, results to stdout. Exit code 1 if a job failed.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    request = build_request(**options)
    from gsbench.bench import run_plan

    plan = build_plan(request, quiet)
    print_notes(plan)
    with display(len(plan.jobs), quiet) as shown:
        records = run_plan(plan, Events({job.id: title(job) for job in plan.jobs}, shown))
    if as_json:
        print_json(run_output(records, plan.out))
    else:
        click.echo(run_report(records, request.out, table_width()))
    return 1 if any(record.status == "failed" for record in records) else 0


def print_notes(plan: Plan) -> None:
    """Say on stderr what a reader should know about the scenes."""
    for note in plan.notes:
        click.echo(f"gsbench: note: {note}", err=True)


def title(job: JobSpec) -> str:
    """How progress names a job: ``3dgs lab/desk high``, with the seed where it is not 0."""
    scene = job.scene if job.scene == job.dataset else f"{job.dataset}/{job.scene}"
    seed = f" seed {job.seed}" if job.seed else ""
    return f"{job.method} {scene} {job.rate}{seed}"


class Events:
    """Receives the events of a run and shows them."""

    def __init__(self, titles: dict[str, str], shown: Display) -> None:
        self._titles = titles
        self._shown = shown

    def __call__(self, event: JobEvent) -> None:
        """Show one event."""
        name = self._titles.get(event.job, event.job)
        if event.kind == "stage-started" and event.stage is not None:
            self._shown.stage(name, event.stage)
        elif event.kind == "progress" and event.step is not None and event.total is not None:
            self._shown.step(name, event.stage or "", event.step, event.total, event.values)
        elif event.kind == "note" and event.text is not None:
            self._shown.line(name, f"{event.stage} {event.text}" if event.stage else event.text)
        elif event.kind == "stage-finished":
            how = "there already" if event.cached else f"done in {event.seconds or 0.0:.1f} s"
            self._shown.line(name, f"{event.stage} {how}")
        elif event.kind == "job-finished" and event.record is not None:
            self._shown.end(name, outcome(event.record, event.cached), event.record.status == "failed")


def outcome(record: Record, cached: bool = False) -> str:
    """One line about a job that is over."""
    if record.error is not None:
        first = record.error.message.strip().splitlines() or ["no message"]
        return f"{record.status} in {record.error.stage}: {first[0]}"
    psnr = record.metrics.get("psnr")
    quality = "" if psnr is None else f", PSNR {psnr:.2f} dB"
    size = "" if record.bytes is None else f", {megabytes(record.bytes)} MB"
    kept = ", there already" if cached else ""
    return f"{record.status}{size}{quality}{kept}"
