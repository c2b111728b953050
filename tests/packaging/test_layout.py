"""The shape of the repository: what lies where, and that the files that describe it agree with each other."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gsbench

pytestmark = pytest.mark.light

#: A file that a person reads in one sitting.
MAX_LINES = 600
SOURCE = {".py", ".cpp", ".h", ".inc", ".cu", ".cuh"}


def tracked_files(repository: Path) -> list[Path]:
    """What git tracks or would track."""
    if not (repository / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        check=True,
        text=True,
    )
    files = [repository / name for name in listed.stdout.split("\0") if name]
    return [f for f in files if f.is_file()]


def toml(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)


def plugin_folders(repository: Path) -> list[Path]:
    return sorted(f for f in (repository / "plugins").iterdir() if not f.name.startswith("."))


def pins(repository: Path) -> dict[str, Version]:
    """constraints.txt as name -> version."""
    found = {}
    for line in (repository / "constraints.txt").read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text:
            name, separator, version = text.partition("==")
            assert separator, f"constraints.txt: {line!r} is not of the form name==version"
            found[str(canonicalize_name(name))] = Version(version)
    return found


def requirements(project: dict[str, Any]) -> list[Requirement]:
    """Dependencies and extras of a [project] table."""
    extras = project.get("optional-dependencies", {})
    return [Requirement(text) for text in [*project.get("dependencies", []), *(r for e in extras.values() for r in e)]]


def readme_commands(repository: Path) -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("readme_command", repository / ".ci" / "readme_command.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    commands: dict[str, str] = module.commands((repository / "README.md").read_text(encoding="utf-8"))
    return commands


def test_plugins_folder_holds_distributions_only(repository: Path) -> None:
    """``pip install . ./plugins/*`` takes every entry of the folder for a distribution."""
    folders = plugin_folders(repository)
    assert folders
    for folder in folders:
        assert folder.is_dir(), f"{folder} is not a distribution; pip install ./plugins/* would fail on it"
        project = toml(folder / "pyproject.toml")["project"]
        assert project["name"] == folder.name


def test_plugins_require_this_core(repository: Path) -> None:
    for folder in plugin_folders(repository):
        project = toml(folder / "pyproject.toml")["project"]
        core = [r for r in requirements(project) if canonicalize_name(r.name) == "gsbench-core"]
        assert [str(r.specifier) for r in core] == ["<0.2,>=0.1"], folder.name
        assert not any(canonicalize_name(r.name) == "gsbench" for r in requirements(project)), (
            f"{folder.name}: the package gsbench on PyPI is another project"
        )
        assert project["entry-points"]["gsbench"]
        assert project["license"] == "Apache-2.0"


def test_every_plugin_has_its_own_tox_environment(repository: Path) -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(repository / "tox.ini")
    listed = re.search(r"plugin-\{([^}]*)\}", tox["tox"]["env_list"])
    assert listed is not None
    names = {f"gsbench-{name.strip()}" for name in listed[1].split(",")}
    assert names == {folder.name for folder in plugin_folders(repository)}


def test_no_file_is_too_long_to_read(repository: Path) -> None:
    long = {
        str(path.relative_to(repository)): count
        for path in tracked_files(repository)
        if path.suffix in SOURCE and (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long, f"files of more than {MAX_LINES} lines: {long}"


def test_no_file_names_a_place_on_somebodys_machine(repository: Path) -> None:
    """A path of the checkout or of a home folder works on one machine only."""
    places = [re.escape(str(repository)), re.escape(str(Path.home())), r"/home/\w+", r"/Users/\w+", "/root", "/work"]
    pattern = re.compile(rf"(?<![\w.])({'|'.join(places)})/")
    guilty = []
    for path in tracked_files(repository):
        if path == Path(__file__):
            continue
        data = path.read_bytes()
        if b"\0" not in data and pattern.search(data.decode("utf-8", errors="replace")):
            guilty.append(str(path.relative_to(repository)))
    assert not guilty


def test_building_needs_no_torch(repository: Path) -> None:
    for file in [repository / "pyproject.toml", *(f / "pyproject.toml" for f in plugin_folders(repository))]:
        names = {canonicalize_name(Requirement(text).name) for text in toml(file)["build-system"]["requires"]}
        assert not names & {"torch", "numpy"}, file


def test_constraints_pin_every_requirement_to_a_version_it_allows(repository: Path) -> None:
    pinned = pins(repository)
    for file in [repository / "pyproject.toml", *(f / "pyproject.toml" for f in plugin_folders(repository))]:
        for requirement in requirements(toml(file)["project"]):
            name = canonicalize_name(requirement.name)
            if name == "gsbench-core":
                continue
            assert name in pinned, f"{name} of {file.relative_to(repository)} is not in constraints.txt"
            assert requirement.specifier.contains(pinned[name]), f"constraints.txt: {name}=={pinned[name]}"
    assert str(pinned["torch"]) == "2.13.0"


def test_constraints_name_no_index(repository: Path) -> None:
    """Where packages come from is the reader's business, and a host in this file would outlive it."""
    text = (repository / "constraints.txt").read_text()
    assert "://" not in text
    assert not [line for line in text.splitlines() if line.startswith("-")]


def test_versions_agree(repository: Path) -> None:
    version = toml(repository / "pyproject.toml")["project"]["version"]
    assert gsbench.__version__ == version
    assert re.search(rf"^## \[{re.escape(version)}\]", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_readme_has_the_two_commands_that_ci_runs(repository: Path) -> None:
    commands = readme_commands(repository)
    assert set(commands) == {"run", "test"}
    for text in commands.values():
        assert "python3 -m venv .venv" in text, "each command makes or uses its own environment"
        assert "-c constraints.txt" in text, "an unpinned torch would fetch gigabytes"
        subprocess.run(["bash", "-n", "-c", text], check=True)
    ci = (repository / ".ci" / "run").read_text()
    assert "readme run" in ci
    assert "readme test" in ci


def test_pip_is_never_called_without_the_constraints(repository: Path) -> None:
    """An unpinned torch fetches several GB."""
    for name in (".ci/run", "tox.ini", "README.md", "CONTRIBUTING.md"):
        for line in (repository / name).read_text().splitlines():
            installs = re.search(r"pip install\b.*[ '](\.|\./plugins|gsbench)", line) and "`" not in line
            if installs and "--no-deps" not in line:
                assert "-c constraints.txt" in line, f"{name}: {line.strip()}"
