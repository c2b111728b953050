"""gsplat 1.5 for the comparison, in a folder of its own: fetched, and compiled for this machine's GPU.

    python -m benchmarks.gsplat_build FOLDER [WHEELS]     what `benchmarks.cuda` runs, with a time limit

Nothing of the present environment is changed: what is missing goes into FOLDER, and so does what is in WHEELS. gsplat
compiles itself when it is first imported; the result lies in FOLDER too, and a second run finds it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

VERSION = "1.5.3"


@dataclass(frozen=True)
class Built:
    """What came of it.

    Fields:
        version: of gsplat, or None if it cannot be used.
        problem: why not.
        seconds: that it took.
    """

    version: str | None
    problem: str
    seconds: float


def wait_or_end(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status of a process that leads a session; None if it took longer, and was ended with all of its own."""
    try:
        return process.wait(timeout=max(0.0, seconds))
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


class Build:
    """gsplat being built by another process. `wheels` is a folder of wheels to take instead of an index."""

    def __init__(self, folder: Path, wheels: Path | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "build.log"
        self._began = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.gsplat_build", folder, *([] if wheels is None else [wheels])]
        with self._log.open("wb") as log:
            # A session of its own, so that compilers end with it.
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).resolve().parents[1],
                env={**os.environ, "TORCH_EXTENSIONS_DIR": str(folder.resolve() / "compiled")},
                start_new_session=True,
            )

    def finish(self, until: float) -> Built:
        """Wait until it is ready or `until`, a time of `time.monotonic`, and make it importable here."""
        status = wait_or_end(self._process, until - time.monotonic())
        if status is None:
            return self._without("was not compiled in the time there was")
        if status != 0:
            lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
            return self._without((lines or ["no message"])[-1].strip() + f" (all of it in {self._log})")
        os.environ["TORCH_EXTENSIONS_DIR"] = str(self.folder.resolve() / "compiled")
        _use(self.folder)
        return Built(importlib.metadata.version("gsplat"), "", time.monotonic() - self._began)

    def stop(self) -> None:
        """End it, if it still runs."""
        wait_or_end(self._process, 0.0)

    def _without(self, problem: str) -> Built:
        return Built(None, problem, time.monotonic() - self._began)


def _use(folder: Path) -> None:
    site = str(folder.resolve() / "site")
    if site not in sys.path:
        sys.path.insert(0, site)  # it holds gsplat and what else was missing
    importlib.invalidate_caches()


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip(folder: Path, wheels: Path | None, *arguments: str) -> None:
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-warn-conflicts"]
    command += ["--target", str(folder / "site"), "--upgrade", *source, *arguments]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(
            f"pip could not install {' '.join(a for a in arguments if not a.startswith('-'))}; its reason is above"
        )


def fetch(folder: Path, wheels: Path | None) -> None:
    """Install what is missing: gsplat, and what it needs, but never another torch."""
    _use(folder)
    found = _installed("gsplat")
    if found is None or not found.startswith("1.5") or (wheels is not None and not (folder / "site").exists()):
        _pip(folder, wheels, "--no-deps", f"gsplat=={VERSION}")
        importlib.invalidate_caches()
    needed = [re.match(r"[\w.-]+", text) for text in importlib.metadata.requires("gsplat") or () if ";" not in text]
    missing = [name[0] for name in needed if name is not None and name[0] != "torch" and _installed(name[0]) is None]
    if missing:
        _pip(folder, wheels, *missing)
        importlib.invalidate_caches()


def compile_it() -> None:
    """Import what compiles itself."""
    os.environ.setdefault("MAX_JOBS", str(len(os.sched_getaffinity(0))))
    # The compilers' driver, if pip put it into the folder.
    with contextlib.suppress(ImportError):
        os.environ["PATH"] += os.pathsep + importlib.import_module("ninja").BIN_DIR
    backend = importlib.import_module("gsplat.cuda._backend")
    if backend._C is None:
        sys.exit("gsplat found no CUDA toolkit (nvcc) to compile itself with")


def main() -> None:
    folder, *wheels = (Path(argument) for argument in sys.argv[1:])
    fetch(folder, wheels[0] if wheels else None)
    compile_it()


if __name__ == "__main__":
    main()
