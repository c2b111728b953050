"""Announces the methods of resume_method.py. Installed by the fixture `resumable`; never imported from here."""

import gsbench
from gsbench import MethodSpec

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods():
    return [
        MethodSpec(name="walk", target="resume_method:Walk", summary="a method that is no TrainedMethod"),
        MethodSpec(name="busy", target="resume_method:Busy", summary="plain training", suffix=".ply"),
        MethodSpec(name="forgetful", target="resume_method:Forgetful", summary="cannot load what it kept"),
    ]
