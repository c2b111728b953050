"""The process that answers for another interpreter: ``python -m gsbench.bench.elsewhere_child VERB < REQUEST.json``.

The answer is one JSON object on standard output, ``{"value": ..., "error": null}``; whatever is printed besides goes
to standard error.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gsbench.bench.job import take_output
from gsbench.bench.model import JOB_PROTOCOL, JobSpec
from gsbench.bench.threads import set_threads
from gsbench.errors import GsbenchError, UsageError


def _describe(request: dict[str, Any]) -> Any:
    """See `gsbench.bench.elsewhere.describe`."""
    from gsbench import registry
    from gsbench.bench.settings import encode_only_fields, resolve_config, split_setting
    from gsbench.hooks import load_plugins, method_class
    from gsbench.methods import MethodSpec

    name = request["method"]
    load_plugins()
    spec: MethodSpec = registry.methods.get(name)
    config = method_class(name).Config
    texts = [split_setting(text, [name])[1:] for text in request["settings"]]
    fields = dataclasses.asdict(spec)
    return {
        "spec": {**fields, "rates": [{"name": r.name, "settings": dict(r.settings)} for r in spec.rates]},
        "distribution": registry.methods.entry(name).origin,
        "configs": {rate.name: resolve_config(name, config, rate.settings, texts) for rate in spec.rates},
        "encode_fields": encode_only_fields(config),
        "prefix": sys.prefix,
    }


def _finished(request: dict[str, Any]) -> Any:
    """The record of each job, None where something is missing."""
    from gsbench.bench.runner import finished_record

    records = [finished_record(JobSpec.model_validate(job)) for job in request["jobs"]]
    return [None if record is None else record.model_dump(mode="json", by_alias=True) for record in records]


def _there(request: dict[str, Any]) -> Any:
    """The stages of a job that are there, None for all."""
    from gsbench.bench.runner import Job, StageMissingError
    from gsbench.bench.store import Store

    job = JobSpec.model_validate(request["job"])
    found: list[str | None] = []
    try:
        Job(job, Store(job.out), lambda event: found.append(event.stage), execute=False).record()
    except StageMissingError:
        return sorted({stage for stage in found if stage is not None})
    return None


def _base(request: dict[str, Any]) -> Any:
    """The keys of the stages "encode" and "decode" of a base, computed where they are missing."""
    from gsbench.bench.runner import Job
    from gsbench.bench.store import Store

    job = JobSpec.model_validate(request["job"])
    set_threads(job.threads)

    def work() -> Any:
        base = Job(job, Store(job.out), lambda event: None, execute=request["execute"])
        return {"encode": base.encoded().key, "decode": base.decoded(images=request["images"]).key}

    return _tried(job, work)


def _splats(request: dict[str, Any]) -> Any:
    """The decoded Gaussians of a base, saved in a folder."""
    from gsbench.bench import stages
    from gsbench.bench.model_files import save_state
    from gsbench.bench.runner import Job
    from gsbench.bench.store import Store

    job = JobSpec.model_validate(request["job"])
    set_threads(job.threads)
    folder = Path(request["folder"])

    def work() -> Any:
        base = Job(job, Store(job.out), lambda event: None)
        encoded, decoded = base.encoded(), base.decoded()
        artifact = encoded.folder / stages.artifact_name(job)
        aside = folder.with_name(f"{folder.name}.decode")
        splats = stages.decode_base(job, artifact, decoded.result["decoded_sha256"], aside)
        save_state(vars(splats.to("cpu")), folder)
        return len(splats)

    return _tried(job, work)


def _tried(job: JobSpec, work: Callable[[], Any]) -> dict[str, Any]:
    """What the work gives, or why it does not: "done", "missing" or "failed"."""
    from gsbench.bench.runner import StageFailedError, StageMissingError
    from gsbench.bench.store import Store

    try:
        return {"done": work()}
    except StageMissingError as error:
        return {"missing": str(error)}
    except StageFailedError as error:
        log = None if error.log is None else Store(job.out).relative(error.log)
        return {"failed": {"stage": error.stage, "message": str(error), "log": log}}


_VERBS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "describe": _describe,
    "finished": _finished,
    "there": _there,
    "base": _base,
    "splats": _splats,
}


def command_line(arguments: list[str]) -> int:
    """Answer one question."""
    answers = take_output()
    value: Any = None
    problem: dict[str, str] | None = None
    try:
        request = json.loads(sys.stdin.read())
        number = request.pop("job_protocol")
        if number != JOB_PROTOCOL:
            raise UsageError(
                f"it speaks job protocol {JOB_PROTOCOL}, expected {number}; install the same gsbench there"
            )
        value = _VERBS[arguments[0]](request)
    except GsbenchError as error:
        problem = {"type": type(error).__name__, "message": str(error)}
    answers.write(json.dumps({"value": value, "error": problem}) + "\n")
    answers.flush()
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(command_line(sys.argv[1:]))
