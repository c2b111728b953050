"""Any hook can be used by a third party: a run uses everything that tests/plugins/gsbench-everything brings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

from gsbench.hooks.contributions import HOOKS
from gsbench.testing import write_distribution

PROJECT = Path(__file__).parents[1] / "plugins" / "gsbench-everything"

RUN = (
    "run", "--methods", "any-points", "--scenes", "any-set", "--metrics", "any_error,psnr", "--engine", "any-engine",
    "--threads", "1", "--json",
)  # fmt: skip


def gsbench(python: Path | str, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "ANY_NOTES": str(folder / "notes"), "GSBENCH_ISOLATION": "audit-hook", "OMP_NUM_THREADS": "1",
        **variables,
    }  # fmt: skip
    return subprocess.run(
        [str(python), "-m", "gsbench", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def check(python: Path | str, folder: Path, **variables: str) -> None:
    """One run uses the method, the coder, the metric, the data set, the protocol, the rasterizer and the engine."""
    done = gsbench(python, folder, *RUN, **variables)
    assert done.returncode == 0, done.stderr + done.stdout
    records: dict[str, Any] = {r["scene"]: r for r in json.loads(done.stdout)["records"]}
    assert set(records) == {"ball", "small-ball"}
    for record in records.values():
        assert record["status"] == "ok", record["error"]
        assert (record["dataset"], record["protocol"]["id"], record["method"]) == (
            "any-set", "any-protocol", "any-points",
        )  # fmt: skip
        assert record["iterations"] == 12
        assert 0.0 < record["metrics"]["any_error"] < 0.5
        assert set(record["metrics"]) == {"any_error", "psnr"}
        assert record["method_info"]["distribution"] == "gsbench-everything"
        # 4 bytes say whose stream it is, then every symbol takes two.
        assert record["sections"]["colors"] == 4 + 2 * 3 * record["gaussians"]
    notes = (folder / "notes").read_text().splitlines()
    for scene in records:
        placed, started = notes.index(f"placed any-points {scene}"), notes.index(f"started any-points {scene}")
        assert placed < notes.index(f"finished any-points {scene} ok")
        assert started < notes.index(f"finished any-points {scene} ok")
    assert notes.count("rasterized") >= 2 * 12, "each step of both trainings"


def test_a_run_uses_every_hook(tmp_path: Path) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    modules = {str(p.relative_to(PROJECT)): p.read_text() for p in PROJECT.glob("gsbench_everything/*.py")}
    write_distribution(site, project["name"], modules, entry_points=project["entry-points"]["gsbench"])
    check(sys.executable, tmp_path, PYTHONPATH=str(site))


def test_the_plugin_implements_every_hook() -> None:
    source = (PROJECT / "gsbench_everything" / "plugin.py").read_text()
    assert [hook for hook in HOOKS if f"def {hook}(" not in source] == []


@pytest.mark.slow
def test_the_same_installed_by_pip(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    pytest.importorskip("pip")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "everything.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index",
         "--no-build-isolation", "--disable-pip-version-check", str(PROJECT)],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    check(python, tmp_path)
    said = gsbench(python, tmp_path, "any-verb")
    assert said.stdout == "of gsbench-everything\n"
    assert "any-verb" in gsbench(python, tmp_path, "--help").stdout
    (row,) = (
        row
        for row in json.loads(gsbench(python, tmp_path, "plugins", "--json").stdout)["plugins"]
        if row["distribution"] == "gsbench-everything"
    )
    assert (row["status"], row["warnings"]) == ("ok", [])
    assert row["hooks"] == sorted(HOOKS)
    assert (row["engines"], row["rasterizers"], row["entropy_coders"]) == (
        ["any-engine"],
        ["any-raster"],
        ["any-coder"],
    )
    assert (row["scenes"], row["metrics"], row["protocols"]) == (["any-set"], ["any_error"], ["any-protocol"])
