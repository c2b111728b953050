"""A method that breaks in the way of its rate point, observers that raise, and a verb that cannot be added."""

import gsbench

GSBENCH_API = 1

WAYS = ("well", "raise", "leave", "exit", "segfault", "hang", "leak", "grandchild")


@gsbench.hookimpl
def gsbench_methods():
    rates = tuple(gsbench.RatePoint(way, {"way": way}) for way in WAYS)
    return [gsbench.MethodSpec("wreck", "gsbench_wreckers.method:Wreck", "Part of a test", rates=rates)]


@gsbench.hookimpl
def gsbench_cli(app):
    raise RuntimeError("no verb today")


@gsbench.hookimpl
def gsbench_job_started(job):
    raise RuntimeError("no observer today")


@gsbench.hookimpl
def gsbench_job_failed(job, record):
    raise SystemExit(9)
