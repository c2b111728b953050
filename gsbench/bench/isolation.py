"""How a sealed decoder is isolated: by namespaces where they work, else by an audit hook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final, get_args

from gsbench.bench import sealed_child
from gsbench.errors import UsageError
from gsbench.records import Isolation

#: Chooses the isolation: auto (namespaces where they work), namespaces, or audit-hook.
ISOLATION_VARIABLE: Final = "GSBENCH_ISOLATION"


def child_command() -> list[str]:
    """The command that runs the sealed child: no variables, no site-packages, nothing from the working directory."""
    return [sys.executable, "-I", "-S", str(Path(sealed_child.__file__).resolve())]


def choose_isolation(wanted: str | None = None) -> Isolation:
    """The isolation to use.

    Raises:
        UsageError: if `wanted` (or the environment variable) is none of auto, namespaces and audit-hook, or asks for
            namespaces where they do not work.
    """
    wanted = wanted or os.environ.get(ISOLATION_VARIABLE) or "auto"
    if wanted not in ("auto", *get_args(Isolation)):
        raise UsageError(f"{ISOLATION_VARIABLE}={wanted!r}: expected auto, namespaces or audit-hook")
    if wanted == "audit-hook":
        return "audit-hook"
    problem = namespaces_unavailable()
    if problem is None:
        return "namespaces"
    if wanted == "namespaces":
        raise UsageError(f"{ISOLATION_VARIABLE}=namespaces: not available here: {problem}")
    return "audit-hook"


@cache
def namespaces_unavailable() -> str | None:
    """Why namespaces cannot be used here, or None if they can. Tried once per process (some 50 ms)."""
    if not sys.platform.startswith("linux"):
        return "they are a feature of Linux"
    if shutil.which("unshare") is None:
        return "the program unshare (util-linux) is not installed"
    with tempfile.TemporaryDirectory(prefix="gsbench-probe-") as name:
        for part in ("root", "input", "output"):
            (Path(name) / part).mkdir()
        command = [*child_command(), "--probe", name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env={})
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"unshare exited with {done.returncode}"
