"""What a job may take: watched from outside, by the engine that started it.

An address-space limit (RLIMIT_AS) would not do: torch and CUDA map many times what they use. And control groups would
need rights that few users have. So the engine reads from /proc what the processes of a job hold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gsbench.errors import UsageError

#: How often the memory of running jobs is looked at, in seconds.
WATCH_SECONDS: Final = 0.25
#: How much of a log a failure repeats.
TAIL_LINES: Final = 10
_TAIL_BYTES: Final = 8192

_PROC: Final = Path("/proc")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_HELD: Final = re.compile(rb"^(?:RssAnon|RssShmem):\s*(\d+) kB", re.MULTILINE)


def parse_size(text: str) -> int:
    """Bytes that ``8G``, ``8 GB``, ``7.5GiB``, ``500M`` or ``1000000`` stand for; G is 10^9, Gi is 2^30.

    Raises:
        ValueError: if the text is none of these, or nothing remains.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size; expected a number of bytes, or such as 500M, 8G or 8GiB")
    number, unit, binary = found.groups()
    size = int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))
    if size < 1:
        raise ValueError(f"{text!r}: expected more than 0 bytes")
    return size


def shown_size(size: int) -> str:
    """A size for people, in GB or MB (10^9, 10^6 bytes)."""
    return f"{size / 1e9:.2f} GB" if size >= 10**9 else f"{size / 1e6:.1f} MB"


def require_memory_watch() -> None:
    """Refuse a memory limit where it cannot be kept.

    Raises:
        UsageError: if this system does not tell what processes hold.
    """
    if not _HELD.search(_read(_PROC / "self" / "status")):
        raise UsageError("--memory-limit: this system has no /proc that tells what memory processes hold")


def memory_of_job(process: int) -> int:
    """Bytes that a job holds: it, its process group, and what they started.

    What counts is memory that is not backed by files (RssAnon and RssShmem of /proc/PID/status): mapped libraries
    and photos are the system's to drop, and CUDA's mappings of device memory are no memory of the machine.

    Args:
        process: id of the job's process, which is also that of its process group.
    """
    return sum(
        1024 * int(size) for pid in family(process) for size in _HELD.findall(_read(_PROC / str(pid) / "status"))
    )


def family(process: int) -> set[int]:
    """The processes of a job: its process group, and what they started, other groups included.

    Args:
        process: as for `memory_of_job`.
    """
    parents: dict[int, int] = {}
    members: set[int] = set()
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        # "pid (name) state ppid pgrp ...", where the name may hold anything
        fields = _read(_PROC / entry.name / "stat").rpartition(b")")[2].split()
        if len(fields) > 2:
            parents[int(entry.name)] = int(fields[1])
            if int(fields[2]) == process:
                members.add(int(entry.name))
    return members | _descendants(members, parents)


def _descendants(roots: Iterable[int], parents: dict[int, int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    left = list(roots)
    while left:
        for child in children.get(left.pop(), ()):
            if child not in found:
                found.add(child)
                left.append(child)
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended meanwhile
        return b""


def log_tail(log: Path) -> list[str]:
    """The last lines of a log; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-TAIL_LINES:]


def with_tail(message: str, lines: list[str]) -> str:
    """A message about a failure, followed by the last lines of the log."""
    return "\n".join([message, "The last lines of its log:", *lines]) if lines else message
