"""Every hook of gsbench.hooks.hookspecs, each with something that a run uses."""

import os
from pathlib import Path

import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods():
    return [
        gsbench.MethodSpec(
            "any-points",
            "gsbench_everything.method:AnyPoints",
            "the scene's points, coded by a coder and trained with a rasterizer of this plugin",
        )
    ]


@gsbench.hookimpl
def gsbench_scenes():
    return [
        gsbench.DatasetSpec(
            name="any-set",
            scenes=("ball", "small-ball"),
            target="gsbench_everything.scenes:load",
            summary="a ball, made on the spot",
            protocol=PROTOCOL,
            iterations=12,
        )
    ]


PROTOCOL = gsbench.Protocol("any-protocol")


@gsbench.hookimpl
def gsbench_metrics():
    return [
        gsbench.MetricSpec("any_error", "gsbench_everything.metrics:error", "mean absolute error", False),
        PROTOCOL,
    ]


@gsbench.hookimpl
def gsbench_entropy_coders():
    return [("any-coder", "gsbench_everything.coder:AnyCoder")]


@gsbench.hookimpl
def gsbench_rasterizers():
    return [("any-raster", "gsbench_everything.raster:AnyBackend")]


@gsbench.hookimpl
def gsbench_engines():
    return [("any-engine", "gsbench_everything.engine:AnyEngine")]


@gsbench.hookimpl
def gsbench_cli(app):
    @app.command("any-verb")
    def verb() -> None:
        """Say who wrote this."""
        import click

        click.echo("of gsbench-everything")


def note(text):
    """Write down what happened, where the test wants it."""
    place = os.environ.get("ANY_NOTES")
    if place:
        with Path(place).open("a") as file:
            file.write(text + "\n")


@gsbench.hookimpl
def gsbench_job_started(job):
    note(f"started {job.method} {job.scene}")


@gsbench.hookimpl
def gsbench_job_finished(job, record):
    note(f"finished {job.method} {job.scene} {record.status}")


@gsbench.hookimpl
def gsbench_job_failed(job, record):
    note(f"failed {job.method} {job.scene} {record.error.stage}")
