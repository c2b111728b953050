"""Benchmark runs: the plan (a matrix of jobs), the jobs and their stages, the sealed decoder, the engines.

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names

if TYPE_CHECKING:
    from gsbench.bench.engines import Engine as Engine
    from gsbench.bench.environment import machine_environment as machine_environment
    from gsbench.bench.model import JOB_PROTOCOL as JOB_PROTOCOL
    from gsbench.bench.model import JobEvent as JobEvent
    from gsbench.bench.model import JobSpec as JobSpec
    from gsbench.bench.model import Plan as Plan
    from gsbench.bench.model import RunRequest as RunRequest
    from gsbench.bench.plan import build_plan as build_plan
    from gsbench.bench.run import run_plan as run_plan
    from gsbench.bench.score import Scores as Scores
    from gsbench.bench.score import score_frames as score_frames
    from gsbench.bench.sealed import SealedResult as SealedResult
    from gsbench.bench.sealed import decode_sealed as decode_sealed

_EXPORTS: Final = {
    "Engine": "gsbench.bench.engines",
    "JOB_PROTOCOL": "gsbench.bench.model",
    "JobEvent": "gsbench.bench.model",
    "JobSpec": "gsbench.bench.model",
    "Plan": "gsbench.bench.model",
    "RunRequest": "gsbench.bench.model",
    "Scores": "gsbench.bench.score",
    "SealedResult": "gsbench.bench.sealed",
    "build_plan": "gsbench.bench.plan",
    "decode_sealed": "gsbench.bench.sealed",
    "machine_environment": "gsbench.bench.environment",
    "run_plan": "gsbench.bench.run",
    "score_frames": "gsbench.bench.score",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
