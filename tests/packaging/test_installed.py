"""The gsbench that runs the tests is the one of this repository, installed as gsbench-core."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gsbench
from gsbench.native import build_id, library_path

pytestmark = pytest.mark.light


def test_gsbench_comes_from_gsbench_core() -> None:
    """PyPI's ``gsbench`` is somebody else's project. An editable install holds no .py file, so it may claim none."""
    providers = set(importlib.metadata.packages_distributions().get("gsbench", ()))
    direct_url = importlib.metadata.distribution("gsbench-core").read_text("direct_url.json") or "{}"
    if json.loads(direct_url).get("dir_info", {}).get("editable"):
        assert providers <= {"gsbench-core"}
        assert Path(gsbench.__file__).parents[1].as_uri() in direct_url
    else:
        assert providers == {"gsbench-core"}


def test_the_command_is_installed() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="gsbench")
    assert script.value == "gsbench.cli:main"
    assert script.dist is not None
    assert script.dist.name == "gsbench-core"


def test_the_installed_version_is_that_of_the_sources(repository: Path) -> None:
    with (repository / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert importlib.metadata.version("gsbench-core") == version


def test_the_library_lies_where_the_distribution_is() -> None:
    located = importlib.metadata.distribution("gsbench-core").locate_file("gsbench/native/libgsbench_cpu.so")
    assert library_path() == Path(str(located))
    assert len(build_id()) == 16


@pytest.mark.parametrize("where", ["repository", "elsewhere"])
def test_the_library_is_found_from_any_working_directory(where: str, repository: Path, tmp_path: Path) -> None:
    """With the repository as working directory, ``gsbench`` is imported from the sources, which hold no library."""
    code = "import gsbench.native as n, gsbench; print(n.library_path()); print(n.build_id()); print(gsbench.__file__)"
    cwd = repository if where == "repository" else tmp_path
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    path, build, package = done.stdout.splitlines()
    assert path == str(library_path())
    assert build == build_id()
    if where == "repository":
        assert Path(package) == repository / "gsbench" / "__init__.py"
