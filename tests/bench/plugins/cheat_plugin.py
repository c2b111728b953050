"""Announces the methods of cheat_method.py. Installed by tests; never imported from here."""

import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods():
    return [
        gsbench.MethodSpec(name="cheat", target="cheat.method:Cheat", summary="decodes what is not in its artifact")
    ]
