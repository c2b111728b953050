"""Claims a name that the core has."""

import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_engines():
    return [("local", "gsbench_wreckers.method:Wreck")]
