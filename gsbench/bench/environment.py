"""The machine and the versions that computed a result."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path

import torch

from gsbench import __version__, native
from gsbench.records import Environment

__all__ = ["machine_environment"]


def machine_environment(device: torch.device | str = "cpu", threads: int | None = None) -> Environment:
    """What a record says about where its numbers come from.

    Args:
        device: that the work was done on; `gpu` and `driver` are None for the CPU.
        threads: CPU threads; None for those that torch uses now.
    """
    gpu = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None
    return Environment(
        cpu=cpu_model(),
        isa=native.cpu_isa(),
        threads=torch.get_num_threads() if threads is None else threads,
        gpu=gpu,
        driver=_nvidia_driver() if gpu is not None else None,
        torch=torch.__version__,
        python=platform.python_version(),
        gsbench=__version__,
        native_build=native.build_id(),
        commit=source_commit(),
    )


@cache
def source_commit() -> str | None:
    """The Git commit of gsbench's sources, with "-dirty" where tracked files differ from it: of the checkout that it
    runs from, or that it was built in. None where it was built from other sources, or Git is not there.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # a repository further up is that of somebody who installed gsbench inside it
        with contextlib.suppress(OSError, ValueError):
            return _commit((root / "gsbench" / "commit.txt").read_text(encoding="ascii"))
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
        )
        if done.returncode == 0:
            return _commit(done.stdout)
    return None


def _commit(text: str) -> str | None:
    found = re.fullmatch(r"[0-9a-f]{40}(-dirty)?", text.strip())
    return found and found[0]


@cache
def cpu_model() -> str:
    """The processor's name as the system gives it."""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    return platform.processor() or platform.machine() or "unknown"


@cache
def _nvidia_driver() -> str | None:
    """Version of the loaded NVIDIA driver."""
    with contextlib.suppress(OSError):
        found = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)", _driver_text())
        return found[1] if found else None
    return None


def _driver_text() -> str:
    return Path("/proc/driver/nvidia/version").read_text()
