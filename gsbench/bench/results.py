"""Records from the results of stages. The same stored stages give the same record, byte for byte."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from gsbench.bench.keys import code_identity
from gsbench.bench.model import JobSpec
from gsbench.bench.store import StageResult
from gsbench.errors import GsbenchError
from gsbench.records import BaseInfo, ErrorInfo, MethodInfo, Record, RenderTimes, Seconds


def ok_record(
    spec: JobSpec,
    base_sha256: str | None,
    trained: StageResult,
    encoded: StageResult,
    decoded: StageResult,
    scored: StageResult,
) -> Record:
    """The record of a job whose stages are all there; `base_sha256` is of the base's file, if there is one."""
    code = code_identity(spec.method)
    stages = (trained, encoded, decoded, scored)
    render_ms = decoded.result["render_ms"]
    return Record.model_validate(
        {
            **_identity(spec),
            "status": "ok",
            "base": _base(spec, base_sha256),
            "method_info": MethodInfo(distribution=code.distribution, version=code.version, digest=code.digest),
            "bytes": encoded.result["bytes"],
            "sha256": encoded.result["sha256"],
            "sections": encoded.result["sections"],
            "artifact": artifact_path(spec),
            "decoded_sha256": decoded.result["decoded_sha256"],
            "gaussians": decoded.result["gaussians"],
            "anchors": decoded.result["anchors"],
            "metrics": scored.result["metrics"],
            "views": scored.result["views"],
            "reasons": scored.result["reasons"],
            "resumed": trained.result.get("resumed", 0),
            "seconds": Seconds(train=trained.seconds, encode=encoded.seconds, decode=decoded.result["decode_seconds"]),
            "render_ms": None if render_ms is None else RenderTimes.model_validate(render_ms),
            "peak_host_bytes": _largest(stage.peak_host_bytes for stage in stages),
            "peak_gpu_bytes": _largest(stage.peak_gpu_bytes for stage in stages),
            # Of the machine that decoded and rendered: it is decoding speed that readers compare.
            "environment": decoded.environment,
            "isolation": decoded.result["isolation"],
        }
    )


def trained_record(spec: JobSpec, base_sha256: str | None, trained: StageResult) -> Record:
    """What is known of a job that only trains; it has no artifact, and is no result."""
    code = code_identity(spec.method)
    return Record.model_validate(
        {
            **_identity(spec),
            "status": "ok",
            "base": _base(spec, base_sha256),
            "method_info": MethodInfo(distribution=code.distribution, version=code.version, digest=code.digest),
            "resumed": trained.result.get("resumed", 0),
            "seconds": Seconds(train=trained.seconds),
            "peak_host_bytes": trained.peak_host_bytes,
            "peak_gpu_bytes": trained.peak_gpu_bytes,
            "environment": trained.environment,
        }
    )


def failed_record(spec: JobSpec, stage: str, message: str, log: str | None) -> Record:
    """The record of a job that failed.

    Args:
        spec: the job.
        stage: in which it failed.
        message: why.
        log: path of the log relative to the results folder.
    """
    info = MethodInfo(distribution=spec.distribution, version="unknown", digest="unknown")
    environment = None
    with contextlib.suppress(GsbenchError, OSError):
        if spec.here:
            code = code_identity(spec.method)
            info = MethodInfo(distribution=code.distribution, version=code.version, digest=code.digest)
    with contextlib.suppress(GsbenchError, OSError, RuntimeError):
        from gsbench.bench.environment import machine_environment

        environment = machine_environment("cpu" if spec.device == "cpu" else spec.device, spec.threads)
    return Record.model_validate(
        {
            **_identity(spec),
            "status": "failed",
            "base": _base(spec, None),
            "method_info": info,
            "environment": environment,
            "error": ErrorInfo(stage=stage, message=message, log=log),
        }
    )


def artifact_path(spec: JobSpec) -> str:
    """Where the artifact lies, relative to the results folder: beside the record."""
    return f"{spec.id}{spec.suffix}"


def _base(spec: JobSpec, sha256: str | None) -> BaseInfo | None:
    if spec.own_base is not None:
        return BaseInfo(name=spec.own_base.name, sha256=spec.own_base.sha256, own=True)
    if spec.base is None or sha256 is None:
        return None
    return BaseInfo(name=spec.base.method, sha256=sha256, own=False)


def _identity(spec: JobSpec) -> dict[str, object]:
    own = spec.config.get("iterations")
    return {
        "protocol": spec.protocol,
        "method": spec.method,
        "dataset": spec.dataset,
        "scene": spec.scene,
        "rate": spec.rate,
        "seed": spec.seed,
        "config": spec.config,
        "iterations": spec.iterations if spec.iterations is not None else own if isinstance(own, int) else None,
        "pretrained": spec.pretrained,
        "scene_hash": spec.scene_hash,
    }


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
