"""Announces the methods of zoo_method.py. Installed by the fixture `zoo`; never imported from here."""

import gsbench
from gsbench import MethodSpec, RatePoint

GSBENCH_API = 1

OBSERVED = []


@gsbench.hookimpl
def gsbench_job_started(job):
    OBSERVED.append(("started", job.id))


@gsbench.hookimpl
def gsbench_job_finished(job, record):
    OBSERVED.append(("finished", job.id, record.status))


@gsbench.hookimpl
def gsbench_job_failed(job, record):
    OBSERVED.append(("failed", job.id, record.error.stage))
    raise RuntimeError("an observer that fails is no reason to stop")


@gsbench.hookimpl
def gsbench_methods():
    return [
        MethodSpec(
            name="dots",
            target="zoo_method:Dots",
            summary="colored dots",
            rates=(RatePoint("low", {"bits": 4}), RatePoint("high", {"bits": 8})),
            default_rate="high",
        ),
        MethodSpec(
            name="fewer", target="zoo_method:Fewer", summary="half of the base's dots", kind="post", base="dots"
        ),
        MethodSpec(name="broken", target="zoo_method:Broken", summary="fails where it is told to"),
        MethodSpec(name="heir", target="zoo_method:Fewer", summary="of one that fails", kind="post", base="broken"),
        MethodSpec(name="orphan", target="zoo_method:Fewer", summary="has no base", kind="post", base="nothing"),
        MethodSpec(name="v1.5", target="zoo_method:Dots", summary="a name with a dot"),
        MethodSpec(name="hen", target="zoo_method:Fewer", summary="comes from the egg", kind="post", base="egg"),
        MethodSpec(name="egg", target="zoo_method:Fewer", summary="comes from the hen", kind="post", base="hen"),
        MethodSpec(name="badrate", target="zoo_method:Dots", summary="nonsense", rates=(RatePoint("x", {"bitz": 1}),)),
    ]
