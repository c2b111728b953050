"""Never stops naming methods."""

import itertools

import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods():
    for index in itertools.count():
        yield gsbench.MethodSpec(f"endless-{index}", "gsbench_wreckers.method:Wreck", "one of many")
