"""Every package that the code imports is one that pyproject.toml declares, and the other way round."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def projects() -> list[Path]:
    root = Path(__file__).resolve().parents[2]
    return [root, *sorted(p.parent for p in (root / "plugins").glob("*/pyproject.toml"))]


def imports(tree: ast.AST) -> Iterator[str]:
    """Top-level names of absolute imports, those for type checkers left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(other)
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        else:
            yield from imports(node)


def packages(project: Path) -> list[Path]:
    """The folders of a project's import packages."""
    found = [init.parent for base in (project, project / "src") for init in base.glob("*/__init__.py")]
    return [package for package in found if package.name not in ("tests", "docs")]


def imported(project: Path) -> dict[str, str]:
    """Top-level name -> a file that imports it, for names from outside the standard library and the project."""
    own = {package.name for package in packages(project)} | {"gsbench"}
    found: dict[str, str] = {}
    for package in packages(project):
        for path in sorted(package.rglob("*.py")):
            for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
                if name not in sys.stdlib_module_names and name not in own:
                    found[name] = str(path.relative_to(project))
    return found


def providers(name: str) -> set[str]:
    """The distributions that an import name comes from."""
    return {canonicalize_name(p) for p in importlib.metadata.packages_distributions().get(name, [name])}


def requirements(project: Path, *, extras: bool) -> set[str]:
    with (project / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    texts = [*table["dependencies"]]
    if extras:
        texts += [text for extra in table.get("optional-dependencies", {}).values() for text in extra]
    return {canonicalize_name(Requirement(text).name) for text in texts} - {"gsbench-core"}


@pytest.mark.parametrize("project", projects(), ids=lambda p: p.name)
def test_imports_are_declared(project: Path) -> None:
    assert packages(project)
    declared = requirements(project, extras=True)
    undeclared = {name: file for name, file in imported(project).items() if not providers(name) & declared}
    assert not undeclared, f"{project.name}: imported but not in pyproject.toml"


@pytest.mark.parametrize("project", projects(), ids=lambda p: p.name)
def test_what_is_declared_is_used(project: Path) -> None:
    used = {provider for name in imported(project) for provider in providers(name)}
    assert not requirements(project, extras=False) - used, f"{project.name}: declared but never imported"
