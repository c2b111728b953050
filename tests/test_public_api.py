"""The package's public names: all resolve, all are typed, none costs anything before it is used."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import gsbench

NAMES = [name for name in gsbench.__all__ if name != "__version__"]

#: Names in the design's examples, which users type.
PROMISED = {
    "BaseGaussianModel", "CameraIterator", "DefaultStrategy", "LossPack", "Method", "MethodSpec", "ModelParams",
    "OptimizationParams", "PipelineParams", "RenderResult", "Scheduler", "Splats", "hookimpl", "rasterization", "task",
}  # fmt: skip

#: The packages whose names are imported when they are first used.
PACKAGES = [
    "gsbench", "gsbench.bench", "gsbench.fetch", "gsbench.methods", "gsbench.metrics", "gsbench.native",
    "gsbench.scenes", "gsbench.testing", "gsbench.training",
]  # fmt: skip


def test_the_promised_names_are_there() -> None:
    assert set(NAMES) >= PROMISED
    assert sorted(set(NAMES)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(gsbench, name)
    assert inspect.getdoc(value)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'gsbench' has no attribute 'rasterisation'"):
        gsbench.rasterisation  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_what_runs(package: str) -> None:
    """A package with lazy names imports each of them under TYPE_CHECKING too, from the same module."""
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == module._EXPORTS


@pytest.mark.parametrize("package", PACKAGES)
def test_lazy_names_are_listed_and_resolve_in_their_own_package(package: str) -> None:
    module = importlib.import_module(package)
    assert dir(module) == sorted(module.__all__)
    for name, home in module._EXPORTS.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)
        assert name in module.__all__
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'rasterise'"):
        _ = module.rasterise


def test_the_version_is_that_of_the_distribution() -> None:
    assert gsbench.__version__ == importlib.metadata.version("gsbench-core")


LIGHT = [
    "gsbench",
    "gsbench.cli",
    "gsbench.coding",
    "gsbench.errors",
    "gsbench.hooks",
    "gsbench.hooks.core",
    "gsbench.methods.spec",
    "gsbench.metrics",
    "gsbench.protocols",
    "gsbench.records",
    "gsbench.registry",
    "gsbench.scenes",
    "gsbench.testing",
]


def test_what_listing_needs_imports_no_torch() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {LIGHT!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
        "import gsbench\n"
        "dir(gsbench), gsbench.MethodSpec, gsbench.hookimpl, gsbench.field, gsbench.Method, gsbench.DatasetSpec\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
