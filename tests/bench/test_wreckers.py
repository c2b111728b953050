"""A plugin that breaks costs its own rows and nothing else: tests/plugins/gsbench-wreckers breaks in every way."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gsbench import hooks, registry
from gsbench.bench import limits
from gsbench.bench.model import Plan, RunRequest
from gsbench.bench.plan import build_plan
from gsbench.bench.run import run_plan
from gsbench.errors import UsageError
from gsbench.records import Record
from gsbench.testing import write_distribution

PROJECT = Path(__file__).parents[1] / "plugins" / "gsbench-wreckers"
#: Takes a process with torch's libraries, and some of what the method hoards.
LIMIT = 900_000_000


@pytest.fixture
def wreckers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GSBENCH_ISOLATION", "audit-hook")
    site = tmp_path / "site"
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    modules = {str(p.relative_to(PROJECT)): p.read_text() for p in PROJECT.glob("gsbench_wreckers/*.py")}
    write_distribution(site, project["name"], modules, entry_points=project["entry-points"]["gsbench"])
    monkeypatch.syspath_prepend(site)
    hooks.unload_plugins()
    yield site
    hooks.unload_plugins()
    for name in [name for name in sys.modules if name.startswith("gsbench_wreckers")]:
        del sys.modules[name]


def planned(capture: Path, out: Path, *rates: str, **options: Any) -> Plan:
    request = RunRequest(
        methods=["wreck"], scenes=[f"path:{capture}"], rates=list(rates), out=out, metrics=["psnr"], threads=1,
        **options,
    )  # fmt: skip
    return build_plan(request)


def failure(record: Record) -> tuple[str, list[str]]:
    """The first line of a failure, and the last lines of the log that follow it."""
    assert record.status == "failed"
    assert record.error is not None
    first, *rest = record.error.message.splitlines()
    assert not rest or rest[0] == "The last lines of its log:"
    return first, rest[1:]


def test_every_way_of_breaking_is_a_row(wreckers: Path, capture: Path, tmp_path: Path) -> None:
    plan = planned(capture, tmp_path / "runs", "all", jobs=4)
    bounds: dict[str, dict[str, Any]] = {"hang": {"timeout": 3.0}, "leak": {"memory_limit": LIMIT}}
    jobs = [job.model_copy(update=bounds.get(job.rate, {})) for job in plan.jobs if job.rate != "grandchild"]
    records = {r.rate: r for r in run_plan(plan.model_copy(update={"jobs": jobs}))}
    assert {rate for rate, record in records.items() if record.status == "ok"} == {"well"}
    says = {
        "raise": "RuntimeError: no convergence",
        "leave": "SystemExit: 5",
        "exit": "the job's process ended with exit status 0 and no record: about to exit",
        "segfault": "the job's process was ended by SIGSEGV",
        "hang": "the job took more than --timeout 3 s and was stopped",
        "leak": "the job held 9",
    }
    for rate, words in says.items():
        first, lines = failure(records[rate])
        assert words in first, first
        log = records[rate].error.log  # type: ignore[union-attr]
        assert log is not None
        assert (plan.out / log).is_file()
        # A job that hangs may be stopped before it has said anything.
        assert rate in ("exit", "hang") or lines
        assert rate != "leak" or f"about to {rate}" in lines
    assert "more than --memory-limit 900.0 MB, and was stopped" in failure(records["leak"])[0]


def test_what_a_job_started_counts_and_ends_with_it(wreckers: Path, capture: Path, tmp_path: Path) -> None:
    plan = planned(capture, tmp_path / "runs", "grandchild", memory_limit=LIMIT)
    begin = time.monotonic()
    (record,) = run_plan(plan)
    assert "more than --memory-limit" in failure(record)[0]
    assert time.monotonic() - begin < 60
    deadline = time.monotonic() + 10
    while (
        left := [pid for pid in commands() if "gsbench_wreckers" in commands()[pid]]
    ) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def commands() -> dict[int, str]:
    """The command lines of the processes that run code out of a test's folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
    return {pid: text for pid, text in found.items() if "hoard()" in text}


def test_broken_plugins_are_rows_of_the_list(wreckers: Path, caplog: pytest.LogCaptureFixture) -> None:
    import click

    caplog.set_level(logging.ERROR, logger="gsbench.hooks")
    rows = {row.entry_point: row for row in hooks.load_plugins() if row.distribution == "gsbench-wreckers"}
    status = {name: row.status for name, row in rows.items()}
    assert status == {
        "at-import": "failed",
        "at-import-exit": "failed",
        "at-registration": "failed",
        "endless": "failed",
        "taken": "failed",
        "wreck": "ok",
    }
    reasons = {name: str(row.reason) for name, row in rows.items()}
    assert "RuntimeError: broken on purpose" in reasons["at-import"]
    assert "SystemExit: 7" in reasons["at-import-exit"]
    assert "KeyError" in reasons["at-registration"]
    assert "expected at most" in reasons["endless"]
    assert "'local' of gsbench-wreckers is already registered by gsbench-core" in reasons["taken"]
    assert [name for name in registry.methods if name.startswith(("half-", "endless-"))] == []
    hooks.extend_cli(click.Group())
    assert any("no verb today" in warning for warning in rows["wreck"].warnings)


def test_the_memory_of_a_group_is_that_of_all_its_processes() -> None:
    code = "import sys; held = bytearray(60_000_000); held[::4096] = b'x' * len(held[::4096]); print(flush=True); {}"
    child = f"import subprocess; subprocess.run([sys.executable, '-c', {code.format('sys.stdin.read()')!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", code.format(child)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        assert 120_000_000 < limits.memory_of_job(process.pid) < 200_000_000
        process.communicate(b"")
    assert limits.memory_of_job(process.pid) == 0
    assert limits.memory_of_job(os.getpgrp()) > 10_000_000


def test_sizes() -> None:
    for text, size in {"1000": 1000, "8G": 8 * 10**9, "8 GB": 8 * 10**9, "1.5GiB": 3 << 29, "500m": 5 * 10**8}.items():
        assert limits.parse_size(text) == size
    for text in ("", "G", "-1", "8X", "0", "1e9", "0.1"):
        with pytest.raises(ValueError, match=r"no size|more than 0"):
            limits.parse_size(text)
    assert (limits.shown_size(1_230_000_000), limits.shown_size(5_600_000)) == ("1.23 GB", "5.6 MB")


def test_a_system_that_does_not_tell_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limits.require_memory_watch()
    monkeypatch.setattr(limits, "_PROC", tmp_path)
    with pytest.raises(UsageError, match="no /proc"):
        limits.require_memory_watch()
