"""Methods whose dependencies clash with those of others: their jobs run under another interpreter (``--env``).

There, gsbench and the method are installed; here, the method need not be. What passes between the two: descriptions
(of methods and jobs) as JSON, and what lies in the results folder: records, artifacts, results of stages. The Gaussians
of a base are handed over as tensors in a file. Nothing is pickled, and no path of imports crosses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gsbench.bench.model import JOB_PROTOCOL, Interpreter, JobSpec
from gsbench.errors import JobError, PluginError, UsageError
from gsbench.records import Record

if TYPE_CHECKING:
    from gsbench.bench.store import StageResult, Store
    from gsbench.splats import Splats

#: What would make another interpreter import this one's packages.
_FOREIGN_VARIABLES: Final = ("PYTHONPATH", "PYTHONHOME", "PYTHONEXECUTABLE", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_CHILD: Final = "gsbench.bench.elsewhere_child"
_LINES: Final = 5


def this_interpreter() -> Interpreter:
    """The interpreter of this process, with its import path."""
    path = [entry or str(Path.cwd()) for entry in sys.path]
    return Interpreter(python=Path(sys.executable), prefix=sys.prefix, import_path=path)


def find_python(method: str, place: Path) -> Path:
    """The interpreter that ``--env METHOD=PLACE`` means: a virtual environment's, or `place` itself.

    Raises:
        UsageError: if there is none.
    """
    place = Path(os.path.abspath(place.expanduser()))  # noqa: PTH100 (an interpreter's links decide what it imports)
    candidates = [place / "bin" / "python", place / "Scripts" / "python.exe"] if place.is_dir() else [place]
    for python in candidates:
        if python.is_file() and os.access(python, os.X_OK):
            return python
    raise UsageError(f"--env {method}={place}: expected a virtual environment (with bin/python) or an interpreter")


def command(interpreter: Interpreter, module: str, *arguments: str) -> list[str]:
    """The command that runs a module's `command_line` under an interpreter."""
    if interpreter.import_path is None:
        # -P: the working directory is no place to import from.
        return [str(interpreter.python), "-P", "-m", module, *arguments]
    boot = (
        "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
        f"from {module} import command_line; sys.exit(command_line(sys.argv[1:]))"
    )
    return [str(interpreter.python), "-c", boot, json.dumps(interpreter.import_path), *arguments]


def environment(interpreter: Interpreter | None, variables: Mapping[str, str]) -> dict[str, str]:
    """`variables` without those that would lead an interpreter astray."""
    if interpreter is None or interpreter.here:
        return dict(variables)
    return {name: value for name, value in variables.items() if name not in _FOREIGN_VARIABLES}


def ask(interpreter: Interpreter, verb: str, request: Mapping[str, Any]) -> Any:
    """Have another interpreter answer a question (`gsbench.bench.elsewhere_child`).

    Raises:
        UsageError, PluginError, JobError: as it says.
    """
    try:
        done = subprocess.run(
            command(interpreter, _CHILD, verb),
            input=json.dumps({"job_protocol": JOB_PROTOCOL, **request}),
            env=environment(interpreter, os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise UsageError(f"{interpreter.python} cannot be run: {error.strerror or error}") from error
    try:
        answer = json.loads(done.stdout)
        problem, value = answer["error"], answer["value"]
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.strip().splitlines()[-_LINES:]
        if any("No module named" in line and "gsbench" in line for line in lines):
            raise UsageError(
                f"{interpreter.python} has no gsbench like this one; install the same version there, and the method"
            ) from None
        told = "\n  ".join(["; the end of what it printed:", *lines]) if lines else ""
        raise JobError(f"{interpreter.python} ended with exit status {done.returncode}{told}") from None
    if problem is not None:
        kinds = {"UsageError": UsageError, "PluginError": PluginError}
        raise kinds.get(problem["type"], JobError)(f"{interpreter.python}: {problem['message']}")
    return value


def describe(method: str, python: Path, settings: Sequence[str]) -> dict[str, Any]:
    """What a planner needs to know of a method that is installed elsewhere.

    Returns:
        ``spec`` (the fields of its MethodSpec), ``distribution``, ``configs`` (the resolved Config by rate point),
        ``encode_fields``, ``prefix``.

    Raises:
        UsageError: if the interpreter has no gsbench of this version, or not the method, or a setting is wrong.
        PluginError: if the method is broken there.
    """
    asked = Interpreter(python=python, prefix="")
    found: dict[str, Any] = ask(asked, "describe", {"method": method, "settings": list(settings)})
    return found


def finished_elsewhere(jobs: Sequence[JobSpec]) -> dict[str, Record]:
    """The records of those jobs of other interpreters of which nothing is missing, by id."""
    found: dict[str, Record] = {}
    for interpreter, group in _grouped(jobs):
        answers = ask(interpreter, "finished", {"jobs": [job.model_dump(mode="json") for job in group]})
        for job, answer in zip(group, answers, strict=True):
            if answer is not None:
                found[job.id] = Record.model_validate(answer)
    return found


def stages_there(job: JobSpec) -> list[str] | None:
    """Which stages of a job of another interpreter are there; None if nothing is missing."""
    if job.interpreter is None:
        raise AssertionError(f"{job.id} is a job of this interpreter")
    there: list[str] | None = ask(job.interpreter, "there", {"job": job.model_dump(mode="json")})
    return there


def _grouped(jobs: Sequence[JobSpec]) -> list[tuple[Interpreter, list[JobSpec]]]:
    groups: dict[Path, tuple[Interpreter, list[JobSpec]]] = {}
    for job in jobs:
        if job.interpreter is not None and not job.here:
            groups.setdefault(job.interpreter.python, (job.interpreter, []))[1].append(job)
    return list(groups.values())


class BaseElsewhere:
    """A base whose method is installed under another interpreter: what `gsbench.bench.runner.Job` asks of a base.

    Args:
        spec: the base's job.
        store: the results folder, which both share.
        execute: whether to compute what is missing.
    """

    def __init__(self, spec: JobSpec, store: Store, *, execute: bool) -> None:
        if spec.interpreter is None:
            raise AssertionError(f"{spec.id} is a job of this interpreter")
        self.spec: Final = spec
        self._interpreter: Final = spec.interpreter
        self._store = store
        self._execute = execute
        self._images = False

    def encoded(self) -> StageResult:
        """See `Job.encoded`."""
        return self._stage("encode", self._keys["encode"])

    def decoded(self, *, images: bool = False) -> StageResult:
        """See `Job.decoded`."""
        if images and not self._images:
            self._images = True
            self.__dict__.pop("_keys", None)
        return self._stage("decode", self._keys["decode"])

    def splats(self, folder: Path) -> Splats:
        """The decoded Gaussians, which arrive as a file in the new folder `folder`."""
        from gsbench.bench.model_files import load_state
        from gsbench.splats import Splats

        folder.mkdir()
        self._ask("splats", {"folder": str(folder)})
        return Splats(**load_state(folder))

    @cached_property
    def _keys(self) -> dict[str, str]:
        keys: dict[str, str] = self._ask("base", {"execute": self._execute, "images": self._images})
        return keys

    def _ask(self, verb: str, request: Mapping[str, Any]) -> Any:
        from gsbench.bench.runner import StageFailedError, StageMissingError

        answer = ask(self._interpreter, verb, {"job": self.spec.model_dump(mode="json"), **request})
        if "missing" in answer:
            raise StageMissingError(answer["missing"])
        if "failed" in answer:
            failed = answer["failed"]
            log = None if failed["log"] is None else self._store.root / failed["log"]
            raise StageFailedError(f"base {failed['stage']}", failed["message"], log)
        return answer["done"]

    def _stage(self, stage: str, key: str) -> StageResult:
        found = self._store.find(stage, key)
        if found is None:
            raise JobError(f"{self._interpreter.python} left no result of the stage {stage} of {self.spec.id}")
        return found
