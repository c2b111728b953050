"""`--env`: methods whose dependencies clash run under interpreters of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsbench.bench.elsewhere import find_python
from gsbench.bench.known_methods import KnownMethods
from gsbench.errors import JobError, UsageError
from gsbench.testing import write_distribution
from gsbench.testing.new_plugin import write_plugin

#: What a user's variables would do to another interpreter: PYTHONPATH has version 1 of a package, the environment 2.
CLASHING = "clashing_dependency"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A virtual environment without this one's packages, except that it finds torch, gsbench and 3dgs here."""
    folder = tmp_path / "venv"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    site = site_of(folder)
    (site / "everything.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for place, version in ((site, 2), (tmp_path / "here", 1)):
        modules = {f"{CLASHING}.py": f"VERSION = {version}\n"}
        write_distribution(place, "clashing-dependency", modules, version=str(version))
    return folder


def site_of(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def install(name: str, kind: str, work: Path, site: Path, version: int) -> None:
    """A method that works only with that version of the dependency."""
    folder = write_plugin(name, kind, work)[0].parent
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    modules = {str(p.relative_to(folder)): p.read_text() for p in folder.glob("gsbench_*/*.py")}
    demand = f"\nimport {CLASHING}\n\nassert {CLASHING}.VERSION == {version}\n"
    (path,) = (path for path in modules if path.endswith("/method.py"))
    modules[path] += demand
    points = project["entry-points"]["gsbench"]
    write_distribution(site, project["name"], modules, entry_points=points, version=project["version"])


@pytest.fixture
def run(tmp_path: Path, capture: Path) -> Callable[..., tuple[int, Any, str]]:
    """A function that runs a verb with the options of a run; returns exit code, JSON and stderr."""

    def do(verb: str, *arguments: str | Path) -> tuple[int, Any, str]:
        variables = {**os.environ, "PYTHONPATH": str(tmp_path / "here"), "GSBENCH_ISOLATION": "audit-hook"}
        command = [sys.executable, "-m", "gsbench", verb, "--scenes", f"path:{capture}", "--metrics", "psnr", "--json"]
        command += ["--threads", "1", "--iterations", "10", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=280, check=False
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    return do


@pytest.mark.slow
def test_two_methods_that_cannot_live_together(run: Any, other: Path, tmp_path: Path) -> None:
    """One here and one there, both on the base 3dgs, which is trained here once."""
    install("here", "codec", tmp_path, tmp_path / "here", 1)
    install("there", "post-training", tmp_path, site_of(other), 2)
    options = ("--methods", "here,there", "--rates", "all", "--set", "there.position_bits=10")
    code, _, err = run("run", *options)
    assert code == 2
    assert "unknown method 'there'" in err
    code, plan, err = run("plan", *options, "--env", f"there={other}")
    assert code == 0, err
    states = {(job["description"]["method"], job["description"]["rate"]): job for job in plan["jobs"]}
    assert set(states) == {("3dgs", "default"), *((m, r) for m in ("here", "there") for r in ("low", "high"))}
    assert states["there", "low"]["missing"] == ["train", "encode", "decode", "score"]
    assert states["there", "low"]["description"]["interpreter"]["python"] == str(other / "bin" / "python")
    assert states["there", "low"]["description"]["config"]["position_bits"] == 10

    code, output, err = run("run", *options, "--env", f"there={other}", "--quiet")
    assert code == 0, err
    records = {(r["method"], r["rate"]): r for r in output["records"]}
    assert set(records) == set(states)
    for record in records.values():
        assert record["status"] == "ok", record["error"]
    base = records["3dgs", "default"]
    low = records["there", "low"]
    assert low["base"]["sha256"] == base["sha256"] == records["here", "low"]["base"]["sha256"]
    assert low["method_info"]["distribution"] == "gsbench-there"
    assert low["gaussians"] == base["gaussians"] - base["gaussians"] // 2
    assert (tmp_path / low["artifact"]).stat().st_size == low["bytes"]

    code, plan, _ = run("plan", *options, "--env", f"there={other}")
    assert [job["missing"] for job in plan["jobs"]] == [[]] * 5
    code, again, err = run("run", *options, "--env", f"there={other}")
    assert (code, again) == (0, output)
    assert "train done" not in err


@pytest.mark.slow
def test_a_base_from_another_environment(run: Any, other: Path, tmp_path: Path) -> None:
    """The Gaussians of a base that is not installed here arrive as tensors; a failure there is a row here."""
    install("basis2", "trained", tmp_path, site_of(other), 2)
    install("top", "post-training", tmp_path, tmp_path / "here", 1)
    plugin = tmp_path / "here" / "gsbench_top" / "plugin.py"
    plugin.write_text(plugin.read_text().replace('base="3dgs"', 'base="basis2"'))
    (tmp_path / "config.toml").write_text(f'methods = ["top"]\n\n[env]\nbasis2 = "{other}"\n')
    code, output, err = run("run", "--config", "config.toml", "--quiet")
    assert code == 0, err
    records = {r["method"]: r for r in output["records"]}
    assert records["top"]["base"]["sha256"] == records["basis2"]["sha256"]
    assert records["top"]["status"] == "ok"
    assert records["top"]["metrics"]["psnr"] is not None
    (site_of(other) / f"{CLASHING}.py").write_text("VERSION = 3\n")
    code, _, err = run("run", "--config", "config.toml", "--quiet", "--seeds", "3")
    assert code == 2
    assert "gsbench_basis2.method" in err


def test_environments_that_are_none(tmp_path: Path, other: Path) -> None:
    with pytest.raises(UsageError, match="expected a virtual environment"):
        find_python("a", tmp_path)
    with pytest.raises(UsageError, match="expected a virtual environment"):
        find_python("a", tmp_path / "missing")
    assert find_python("a", other) == other / "bin" / "python"
    assert find_python("a", other / "bin" / "python") == other / "bin" / "python"
    (site_of(other) / "everything.pth").unlink()
    with pytest.raises(UsageError, match="has no gsbench like this one; install the same version there"):
        KnownMethods({"a": other}, [])
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho oops >&2; exit 3\n")
    fake.chmod(0o755)
    with pytest.raises(JobError, match=r"(?s)exit status 3.*oops"):
        KnownMethods({"a": fake}, [])


def test_what_is_wrong_there_is_told_here(tmp_path: Path, other: Path) -> None:
    with pytest.raises(UsageError, match="venv/bin/python: unknown method 'nothing'"):
        KnownMethods({"nothing": other}, [])
    with pytest.raises(UsageError, match=r"there is no field 'x'"):
        KnownMethods({"3dgs": other}, ["3dgs.x=1"])
    known = KnownMethods({"3dgs": other}, ["3dgs.sh_degree=1"])
    spec = known.spec("3dgs")
    assert (spec.suffix, known.distribution("3dgs")) == (".ply", "gsbench-3dgs")
    config, encode_fields = known.config(spec, spec.rate("default"), [])
    assert (config["sh_degree"], encode_fields) == (1, [])
    interpreter = known.interpreter("3dgs")
    assert interpreter is not None
    assert not interpreter.here
    assert interpreter.prefix == str(other)
    with pytest.raises(UsageError, match="method '3dgs' is not part of this run"):
        known.require_used(["hac"])


def test_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    from gsbench.cli import main

    for text in ("3dgs", "=x", "3dgs="):
        assert main(["run", "--methods", "3dgs", "--scenes", "demo", "--env", text]) == 2
        assert f"--env {text}: expected METHOD=/path/to/venv" in capsys.readouterr().err
