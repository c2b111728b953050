"""docs/plugins.md: its code is installed as it stands, and works."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gsbench.testing import write_distribution


@pytest.fixture(scope="module")
def files(repository: Path) -> dict[str, str]:
    """The code blocks that begin with a comment naming their file."""
    text = (repository / "docs" / "plugins.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == len(dict(blocks)) == 4
    return dict(blocks)


@pytest.fixture(scope="module")
def installed(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution that the guide describes, installed; its tests beside it."""
    folder = tmp_path_factory.mktemp("guide")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    modules = {"gsbench_half/__init__.py": ""}
    modules |= {name: text for name, text in files.items() if name.startswith("gsbench_half/")}
    points = project["entry-points"]["gsbench"]
    write_distribution(folder / "site", project["name"], modules, entry_points=points, version=project["version"])
    (folder / "tests").mkdir()
    (folder / "tests" / "test_half.py").write_text(files["tests/test_half.py"])
    return folder


def environment(installed: Path) -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    entries = [str(installed / "site"), *([inherited] if inherited else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entries)}


def test_the_method_is_about_as_short_as_promised(files: dict[str, str]) -> None:
    body = files["gsbench_half/method.py"].partition("class Half")[2]
    assert len([line for line in body.splitlines() if line.strip()]) <= 30


def test_the_dependency_is_on_this_core(files: dict[str, str]) -> None:
    assert tomllib.loads(files["pyproject.toml"])["project"]["dependencies"] == ["gsbench-core>=0.1,<0.2"]


def test_the_method_of_the_guide_conforms(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests"],
        cwd=installed,
        env=environment(installed),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\b16 passed", done.stdout), done.stdout[-500:]


ROUND_TRIP = """
import sys
from pathlib import Path
import torch
from gsbench import ArtifactReader, ArtifactWriter, Context, SplatsModel, inspect_artifact
from gsbench.hooks import method_class, method_origin
from gsbench.testing import random_splats

folder = Path(sys.argv[1])
cls = method_class("half")
context = Context(torch.device("cpu"), 1, 0, folder, base=random_splats(500))
sizes = {}
for degree in (0, 3):
    path = folder / f"{degree}.gsb"
    config = cls.Config(sh_degree=degree)
    with ArtifactWriter(path, "half", method_origin("half")[1]) as out:
        cls().encode(cls().fit(None, config, context), config, out, context)
    decoded = cls.decode(ArtifactReader(path), context).splats()
    assert decoded.sh_degree == degree
    expected = context.base.means.half().float()
    assert torch.equal(decoded.means, expected)
    assert torch.equal(decoded.sh, context.base.sh[:, : (degree + 1) ** 2].half().float())
    sizes[degree] = path.stat().st_size
assert sizes[0] < sizes[3] < 2 * 59 * 500, sizes
print("half", *method_origin("half"))
"""


def test_the_method_of_the_guide_encodes_and_decodes(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ROUND_TRIP, str(tmp_path)],
        env=environment(installed),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["half", "gsbench-half", "1.0"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="builds with setuptools, which is missing")
def test_pip_installs_the_project_of_the_guide(files: dict[str, str], tmp_path: Path) -> None:
    for name, text in {**files, "gsbench_half/__init__.py": ""}.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    prefix = tmp_path / "prefix"
    subprocess.run([*pip, "--prefix", str(prefix), str(tmp_path / "project")], check=True, timeout=300)
    (site,) = prefix.glob("lib*/python*/site-packages")
    done = subprocess.run(
        [sys.executable, "-c", "from gsbench.cli import main; raise SystemExit(main(['plugins', '--json']))"],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    rows = {row["distribution"]: row for row in json.loads(done.stdout)["plugins"]}
    assert rows["gsbench-half"]["status"] == "ok"
    (method,) = rows["gsbench-half"]["methods"]
    assert [rate["name"] for rate in method["rates"]] == ["low", "high"]
    assert method["default_rate"] == "high"
