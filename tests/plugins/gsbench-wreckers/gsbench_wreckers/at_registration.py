"""Raises when it is asked for its methods."""

import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods():
    yield gsbench.MethodSpec("half-registered", "gsbench_wreckers.method:Wreck", "is never there")
    raise KeyError("methods")
