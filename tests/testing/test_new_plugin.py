"""`gsbench new-plugin`: what it writes is clean, installs, passes its own tests, and runs as it stands."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

from gsbench.errors import StoreError, UsageError
from gsbench.testing import write_distribution
from gsbench.testing.new_plugin import KINDS, write_plugin

#: A long and a short name: line lengths and the order of imports must suit both.
NAMES = ("a-method-with-a-very-long-name-x", "q")


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_is_clean(kind: str, tmp_path: Path) -> None:
    for name in NAMES:
        write_plugin(name, kind, tmp_path)
    for tool in (["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        if shutil.which("ruff") is None:
            pytest.skip("ruff is not installed")
        done = run(*tool, "--no-cache", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_types_are_right(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    folder = write_plugin("mine", kind, tmp_path)[0].parent
    done = run(sys.executable, "-m", "mypy", "--strict", "gsbench_mine", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_say_what_they_should(kind: str, tmp_path: Path) -> None:
    files = write_plugin("my-method", kind, tmp_path)
    folder = tmp_path / "gsbench-my-method"
    assert {p for p in folder.rglob("*") if p.is_file()} == set(files)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "gsbench-my-method"
    assert project["dependencies"][0] == "gsbench-core>=0.1,<0.2"
    assert project["entry-points"]["gsbench"] == {"my-method": "gsbench_my_method.plugin"}
    assert not [path for path in files if "$" in path.read_text()], "no placeholder is left"
    readme = (folder / "README.md").read_text()
    for path in (folder / "gsbench_my_method").glob("*.py"):
        assert path.name == "__init__.py" or f"`gsbench_my_method/{path.name}`" in readme
    assert "gsbench check my-method" in (folder / ".github" / "workflows" / "test.yml").read_text()


def test_bad_names_and_places_are_refused(tmp_path: Path) -> None:
    for name in ("My", "a_b", "-a", "a--b", "a.b", "", "../x", "ä", "a" * 33):
        with pytest.raises(UsageError, match="cannot name a method"):
            write_plugin(name, "trained", tmp_path)
    with pytest.raises(UsageError, match="expected trained, post-training, codec"):
        write_plugin("a", "other", tmp_path)
    write_plugin("a", "trained", tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        write_plugin("a", "codec", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_plugin("a", "trained", tmp_path / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "gsbench-a"]


def test_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from gsbench.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "mine", "--kind", "codec"]) == 0
    printed = capsys.readouterr().out
    assert "gsbench-mine/gsbench_mine/file.py" in printed
    assert "pip install -e ./gsbench-mine" in printed
    assert main(["new-plugin", "3dgs"]) == 2
    assert "there is a method '3dgs' already, of gsbench-3dgs" in capsys.readouterr().err


def installed_like(folder: Path, site: Path) -> None:
    """What pip would make of a generated plugin, without pip."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    modules = {str(p.relative_to(folder)): p.read_text() for p in folder.glob("gsbench_*/*.py")}
    points = project["entry-points"]["gsbench"]
    write_distribution(site, project["name"], modules, entry_points=points, version=project["version"])


def write_capture(folder: Path) -> Path:
    from gsbench.testing.samples import tiny_scene, write_scene

    return write_scene(tiny_scene(), folder)


def test_each_kind_runs_as_it_stands(tmp_path: Path) -> None:
    for kind in KINDS:
        write_plugin(f"new-{kind}", kind, tmp_path)
        installed_like(tmp_path / f"gsbench-new-{kind}", tmp_path / "site")
    scene = write_capture(tmp_path / "tiny")
    names = [f"new-{kind}" for kind in KINDS]
    done = run(
        sys.executable, "-m", "gsbench", "run", "--methods", ",".join(names), "--scenes", f"path:{scene}",
        "--iterations", "30", "--metrics", "psnr", "--threads", "1", "--quiet", "--json",
        cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"), GSBENCH_ISOLATION="audit-hook",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records: dict[str, Any] = {r["method"]: r for r in json.loads(done.stdout)["records"]}
    assert set(records) == {*names, "3dgs"}
    for name in names:
        record = records[name]
        assert record["status"] == "ok", record["error"]
        # A fourth of what the .ply takes; the post-training kind leaves out a fifth of the Gaussians besides.
        assert record["bytes"] < 0.25 * 248 * record["gaussians"]
        assert record["metrics"]["psnr"] > records["3dgs"]["metrics"]["psnr"] - 0.5
    assert records["new-post-training"]["gaussians"] == round(0.8 * records["3dgs"]["gaussians"])


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The interpreter of a virtual environment without packages of its own, which sees what this one has installed."""
    folder = tmp_path / "venv"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    python = folder / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).stdout.strip()
    # site.addsitedir and not a bare path: editable installs are .pth files there.
    text = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(site) / "everything.pth").write_text(text)
    return python


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_pip_installs_it_and_its_own_tests_pass(kind: str, tmp_path: Path, fresh: Path) -> None:
    pytest.importorskip("hatchling")
    try:
        importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pip is not installed")
    folder = write_plugin("brand-new", kind, tmp_path)[0].parent
    installed = run(
        sys.executable, "-m", "pip", "--python", fresh, "install", "--quiet", "--no-index", "--no-build-isolation",
        "--disable-pip-version-check", folder,
        cwd=tmp_path,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    tested = run(fresh, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert tested.returncode == 0, tested.stdout[-4000:]
    listed = run(fresh, "-m", "gsbench", "plugins", "--json", cwd=tmp_path)
    rows = {row["distribution"]: row for row in json.loads(listed.stdout)["plugins"]}
    assert (rows["gsbench-brand-new"]["status"], rows["gsbench-brand-new"]["warnings"]) == ("ok", [])
    done = run(
        fresh, "-m", "gsbench", "run", "--methods", "brand-new", "--scenes", "demo", "--iterations", "30",
        "--rates", "all", "--metrics", "psnr", "--quiet", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sizes = {r["rate"]: r["bytes"] for r in json.loads(done.stdout)["records"] if r["method"] == "brand-new"}
    assert sizes["low"] < sizes["high"]


@pytest.mark.slow
def test_the_post_training_kind_takes_a_model_of_ones_own(tmp_path: Path) -> None:
    from gsbench import write_ply
    from gsbench.testing import random_splats

    write_plugin("pruner", "post-training", tmp_path)
    installed_like(tmp_path / "gsbench-pruner", tmp_path / "site")
    scene = write_capture(tmp_path / "tiny")
    write_ply(tmp_path / "mine.ply", random_splats(400))
    common = {"cwd": tmp_path, "PYTHONPATH": str(tmp_path / "site"), "GSBENCH_ISOLATION": "audit-hook"}
    done = run(
        sys.executable, "-m", "gsbench", "run", "--methods", "pruner", "--base", "mine.ply",
        "--scenes", f"path:{scene}", "--metrics", "psnr", "--quiet", "--json", **common,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["records"]
    assert record["base"]["own"]
    assert record["gaussians"] == 320
    refused = run(
        sys.executable, "-m", "gsbench", "run", "--methods", "3dgs", "--base", "mine.ply", "--scenes", f"path:{scene}",
        **common,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "methods that do: pruner" in refused.stderr
    encoded = run(sys.executable, "-m", "gsbench", "encode", "pruner", "mine.ply", "-o", "out.gsb", **common)
    assert encoded.returncode == 0, encoded.stderr
    assert (tmp_path / "out.gsb").stat().st_size == record["bytes"]
