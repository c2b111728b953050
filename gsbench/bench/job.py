"""The process of one job: ``gsbench job JOB.json``, or ``python -m gsbench.bench.job JOB.json``.

Events are written to standard output, one JSON object per line; whatever else is printed goes to standard error, or to
the log of the stage that printed it. The exit code is 0 if the record says "ok", 1 if it says "failed".
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final, TextIO

from gsbench.bench.threads import set_threads
from gsbench.errors import UsageError

#: Tells the process to end when its standard input is closed, as it is when the driver dies.
LIFELINE: Final = "--lifeline"


def main(path: Path, *, lifeline: bool = False) -> int:
    """Run the job that the file at `path` describes.

    Args:
        path: of the JSON of a `gsbench.bench.JobSpec`.
        lifeline: end, with all child processes, when standard input is closed.

    Returns:
        0 if the job succeeded, 1 if it failed.

    Raises:
        UsageError: if the file is not the description of a job, or of another version.
        StoreError: if the results folder cannot be used.
    """
    from pydantic import ValidationError

    from gsbench.bench.model import JOB_PROTOCOL, JobEvent, JobSpec

    watch(lifeline=lifeline)
    try:
        text = path.read_text(encoding="utf-8")
        number = json.loads(text).get("job_protocol")
        if number != JOB_PROTOCOL:
            raise UsageError(f"{path} speaks job protocol {number}, this gsbench {JOB_PROTOCOL}; use one version")
        spec = JobSpec.model_validate_json(text)
    except (OSError, ValidationError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} does not describe a job: {error}") from error
    set_threads(spec.threads)
    events = take_output()

    def emit(event: JobEvent) -> None:
        events.write(event.model_dump_json(exclude_defaults=True) + "\n")
        events.flush()

    import torch

    from gsbench.bench.runner import run_job

    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    emit(JobEvent(job=spec.id, kind="job-started"))
    record = run_job(spec, emit)
    emit(JobEvent(job=spec.id, kind="job-finished", record=record))
    return 1 if record.status == "failed" else 0


def watch(*, lifeline: bool) -> None:
    """Let crashes leave a traceback; with `lifeline`, end when standard input is closed."""
    if not faulthandler.is_enabled():
        faulthandler.enable(2)
    if lifeline:
        threading.Thread(target=_end_with_driver, daemon=True).start()


def take_output() -> TextIO:
    """Standard output, for events alone: whatever else is printed goes to standard error from now on."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    sys.stdout.flush()
    os.dup2(2, 1)
    return events


def _end_with_driver() -> None:
    """Wait until standard input is closed; then end this process and what it started."""
    while os.read(0, 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def command_line(arguments: list[str]) -> int:
    """Run as a program of its own; errors become a message and an exit code."""
    import logging

    from gsbench.errors import GsbenchError

    logging.basicConfig(format="gsbench: %(levelname)s: %(message)s", level=logging.WARNING)
    names = [argument for argument in arguments if argument != LIFELINE]
    try:
        if len(names) != 1:
            raise UsageError("expected one argument, the file that describes the job")
        return main(Path(names[0]), lifeline=LIFELINE in arguments)
    except GsbenchError as error:
        sys.stderr.write(f"gsbench: error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(command_line(sys.argv[1:]))
