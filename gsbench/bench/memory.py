"""Peak memory of a process, and what a machine has left."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

_STATUS: Final = Path("/proc/self/status")


def peak_host_bytes() -> int:
    """Largest resident memory of this process so far, or since `reset_peak`, in bytes."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak(device: torch.device) -> None:
    """Start measuring peaks anew. Where the kernel does not allow it, peaks stay those since the process started."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak_gpu_bytes(device: torch.device) -> int | None:
    """Largest memory that tensors took on a CUDA device, in bytes; None for the CPU."""
    if device.type != "cuda":
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))


class Peaks:
    """Peak memory of work that is done in parts: in several processes, or with something in between that does not
    count. Measuring begins with `restart`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._largest: dict[str, int | None] = {"peak_host_bytes": None, "peak_gpu_bytes": None}

    def restart(self) -> None:
        """Forget what was used since the last `take`."""
        reset_peak(self._device)

    def take(self) -> dict[str, int | None]:
        """The peaks of all parts until now, in bytes: "peak_host_bytes", and "peak_gpu_bytes" (None for the CPU)."""
        self.add({"peak_host_bytes": peak_host_bytes(), "peak_gpu_bytes": peak_gpu_bytes(self._device)})
        return dict(self._largest)

    def add(self, part: Mapping[str, int | None]) -> None:
        """Take account of what `take` returned in another process."""
        for name in self._largest:
            both = [value for value in (self._largest[name], part.get(name)) if value is not None]
            self._largest[name] = max(both, default=None)


def usable_cores() -> int:
    """CPU cores that this process may use: its affinity, and a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _control_groups("cpu"):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            if (folder / "cpu.max").is_file():
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            if quota != "max" and int(quota) > 0:
                cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def available_bytes() -> int | None:
    """Memory that can be taken without swapping, a container's limit included, in bytes; None if unknown."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        free = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if free:
            found.append(1024 * int(free[1]))
    for folder in _control_groups("memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with contextlib.suppress(OSError, ValueError):
                taken = int((folder / used).read_text()) - _reclaimable(folder)
                found.append(max(0, int((folder / limit).read_text()) - max(0, taken)))
    return min(found) if found else None


def _reclaimable(folder: Path) -> int:
    """Bytes of file cache that a control group counts as used and gives back when asked."""
    lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
    values = {fields[0]: int(fields[1]) for fields in lines if len(fields) == 2}
    return values.get("total_inactive_file", values.get("inactive_file", 0))


def _control_groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that limit this process, from its own to the root, in both versions."""
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            top = root if controllers == "" else root / controller
            for part in (PurePosixPath(path), *PurePosixPath(path).parents):
                yield top / part.relative_to("/")
