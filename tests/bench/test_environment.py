"""The machine: what records say of it, and what a run may take of it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gsbench
from gsbench import native
from gsbench.bench import environment, memory
from gsbench.bench.environment import machine_environment


def test_the_environment_of_a_result() -> None:
    found = machine_environment("cpu", 3)
    assert (found.threads, found.gpu, found.driver) == (3, None, None)
    assert (found.torch, found.python, found.gsbench) == (
        torch.__version__,
        platform.python_version(),
        gsbench.__version__,
    )
    assert (found.isa, found.native_build) == (native.cpu_isa(), native.build_id())
    assert found.cpu
    assert found.cpu == " ".join(found.cpu.split())
    torch.set_num_threads(2)
    assert machine_environment().threads == 2


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build", "570.86.15"),
        ("something else", None),
    ],
)
def test_the_driver(monkeypatch: pytest.MonkeyPatch, text: str, version: str | None) -> None:
    monkeypatch.setattr(environment, "_driver_text", lambda: text)
    assert environment._nvidia_driver.__wrapped__() == version


def test_peak_memory_is_seen_and_reset() -> None:
    """In a process of its own, whose peak nothing else moves."""
    program = """
import torch
from gsbench.bench.memory import Peaks, peak_gpu_bytes, peak_host_bytes, reset_peak
device = torch.device("cpu")
before = peak_host_bytes()
block = torch.ones(64 << 20, dtype=torch.uint8)
high = peak_host_bytes()
assert high - before > 50 << 20, (before, high)
del block
assert peak_host_bytes() > high - (8 << 20)  # the kernel counts in batches
reset_peak(device)
assert peak_host_bytes() < high - (40 << 20), "only where the kernel allows it"
assert peak_gpu_bytes(device) is None
peaks = Peaks(device)
first = peaks.take()["peak_host_bytes"]
block = torch.ones(64 << 20, dtype=torch.uint8)  # does not count
del block
peaks.restart()
again = peaks.take()["peak_host_bytes"]
assert first <= again < first + (20 << 20), (first, again)
peaks.add({"peak_host_bytes": 1 << 50, "peak_gpu_bytes": 7})
assert peaks.take() == {"peak_host_bytes": 1 << 50, "peak_gpu_bytes": 7}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "only where the kernel allows it" in done.stderr, done.stderr


def test_cores_and_memory_of_this_machine() -> None:
    assert 1 <= memory.usable_cores() <= (os.cpu_count() or 1)
    free = memory.available_bytes()
    assert free is None or 1 << 20 < free < 1 << 50


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Of the process's own control group and of those above it, in both layouts."""
    names = {
        2: {"memory.max": "3000\n", "memory.current": "1500\n", "memory.stat": "anon 5\ninactive_file 500\n"},
        1: {
            "memory.limit_in_bytes": "3000\n",
            "memory.usage_in_bytes": "1500\n",
            "memory.stat": "inactive_file 1\ntotal_inactive_file 500\n",
        },
    }[version]
    quota = {2: {"cpu.max": "150000 100000\n"}, 1: {"cpu.cfs_quota_us": "150000\n", "cpu.cfs_period_us": "100000\n"}}
    own = {2: {"cpu.max": "max 100000\n"}, 1: {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}}
    top, below = tmp_path / "group", tmp_path / "group" / "job"
    below.mkdir(parents=True)
    for folder, files in ((top, {**names, **quota[version]}), (below, own[version])):
        for name, text in files.items():
            (folder / name).write_text(text)
    monkeypatch.setattr(memory, "_control_groups", lambda controller: iter([below, top]))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert memory.usable_cores() == 1
    assert memory.available_bytes() == 3000 - (1500 - 500)


def test_control_groups_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "9:name=systemd:/\n4:memory,pids:/a/b\n1:cpu,cpuacct:/\n0::/a\n"
    real = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a, **k: text if str(self) == "/proc/self/cgroup" else real(self, *a, **k)
    )
    root = "/sys/fs/cgroup"
    assert [str(p) for p in memory._control_groups("memory")] == [
        f"{root}/memory/a/b",
        f"{root}/memory/a",
        f"{root}/memory",
        f"{root}/a",
        root,
    ]


def test_the_commit_is_that_of_a_checkout_and_says_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    source = tmp_path / "gsbench" / "bench" / "environment.py"
    source.parent.mkdir(parents=True)
    source.write_text("first\n")
    monkeypatch.setattr(environment, "__file__", str(source))
    found = environment.source_commit.__wrapped__
    assert found() is None, "not a checkout"
    for built, wanted in (
        ("0123456789abcdef" * 2 + "01234567-dirty\n", "0123456789abcdef" * 2 + "01234567-dirty"),
        ("\n", None),
    ):
        (tmp_path / "gsbench" / "commit.txt").write_text(built)
        assert found() == wanted, "built in a checkout, or elsewhere"
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert found() == head
    source.write_text("second\n")
    assert found() == f"{head}-dirty"
