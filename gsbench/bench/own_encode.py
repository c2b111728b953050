"""Encoding a model without a scene, in a process of its own: ``gsbench encode``.

The process is to a job what the stages "train" and "encode" are: the model that a method makes of given Gaussians is
saved and read again before it is encoded, randomness is fixed by the seed, and what is printed goes to a log.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gsbench.bench.job import take_output, watch
from gsbench.bench.model import EncodeSpec
from gsbench.bench.threads import set_threads
from gsbench.errors import GsbenchError, JobError, UsageError

#: What the process runs; see `gsbench.bench.engines.local`.
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from gsbench.bench.own_encode import main; sys.exit(main(sys.argv[1]))"
)
_SPEC: Final = "spec.json"
_LOG: Final = "log"
_STATE: Final = "state"
#: How much of the log an error repeats.
_TAIL_LINES: Final = 10

Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Encoded:
    """Fields:
    path: the artifact.
    bytes, sha256, sections: of the artifact.
    seconds: that encoding took; what came before is not counted.
    """

    path: Path
    bytes: int
    sha256: str
    sections: dict[str, int]
    seconds: float


def encode_own(spec: EncodeSpec, progress: Progress) -> Encoded:
    """Encode a model in a process of its own, which ends with this one.

    Args:
        spec: what to encode, and into which folder; further files lie there afterwards, the log among them.
        progress: called with (step, total, values) where the method tells.

    Raises:
        UsageError: if the method cannot encode such a model.
        JobError: if it failed; the message repeats the end of what it printed.
    """
    path, log = spec.folder / _SPEC, spec.folder / _LOG
    path.write_text(spec.model_dump_json(indent=1) + "\n", encoding="utf-8")
    import_path = [entry or str(Path.cwd()) for entry in sys.path]
    last: dict[str, Any] = {}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, json.dumps(import_path), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            start_new_session=True,
        )
        try:
            for line in process.stdout or ():
                last = json.loads(line)
                if last["kind"] == "progress":
                    progress(last["step"], last["total"], last["values"])
            process.wait()
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
    if last.get("kind") == "done":
        return Encoded(path=spec.folder / last["name"], **last["result"], seconds=last["seconds"])
    if last.get("kind") == "failed" and last["usage"]:
        raise UsageError(last["message"])
    if last.get("kind") == "failed":
        raise JobError(f"encoding failed: {last['message']}{'' if last['known'] else _tail(log)}")
    raise JobError(f"the process that encodes ended with exit status {process.returncode}{_tail(log)}")


def main(path: str) -> int:
    """The process: reads its description, tells what happens on standard output, one JSON object per line."""
    watch(lifeline=True)
    spec = EncodeSpec.model_validate_json(Path(path).read_bytes())
    set_threads(spec.threads)
    events = take_output()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what is printed before a crash is in the log

    def say(kind: str, **values: Any) -> None:
        events.write(json.dumps({"kind": kind, **values}) + "\n")
        events.flush()

    def progress(step: int, total: int, values: Mapping[str, float]) -> None:
        finite = {name: value for name, value in values.items() if abs(value) < float("inf")}
        say("progress", step=step, total=total, values=finite)

    try:
        say("done", **_encode(spec, progress))
    except UsageError as error:
        say("failed", message=str(error), usage=True, known=True)
    except GsbenchError as error:
        say("failed", message=str(error), usage=False, known=True)
    except Exception as error:
        import traceback

        traceback.print_exc()
        say("failed", message=f"{type(error).__name__}: {error}", usage=False, known=False)
    return 0


def _encode(spec: EncodeSpec, progress: Progress) -> dict[str, Any]:
    import torch

    from gsbench import registry
    from gsbench.bench import stages
    from gsbench.bench.own_models import read_model
    from gsbench.hooks import load_plugins
    from gsbench.methods import MethodSpec

    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    load_plugins()
    known: MethodSpec = registry.methods.get(spec.method)
    state, base = spec.state, None
    if spec.model is not None:
        splats = read_model(spec.model)
        base = splats if known.base is not None else None
        state = spec.folder / _STATE
        state.mkdir()
        stages.adopt(spec, splats, state, progress)
    elif spec.base is not None:
        base = read_model(spec.base)
    if state is None:
        raise AssertionError("a model or a state is given")
    made = spec.folder / "artifact"
    made.mkdir()
    output = stages.encode(spec, spec.version, state, base, made)
    name = f"{made.name}/{stages.artifact_name(spec)}"
    return {"name": name, "result": dict(output.result), "seconds": output.seconds}


def _tail(log: Path) -> str:
    """The end of the log, to be put after a message."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return "\n  ".join(["; the end of what it printed:", *lines[-_TAIL_LINES:]]) if lines else ""
