"""The page of hooks: every one is documented with an example that is Python, and does something when implemented."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner

from gsbench import hooks, registry
from gsbench.hooks import hookspecs

HOOKS: dict[str, Callable[..., Any]] = {
    name: function for name, function in vars(hookspecs).items() if name.startswith("gsbench_")
}

EVERYTHING = """
import click
import gsbench
from gsbench.metrics import MetricSpec
from gsbench.protocols import Protocol
from gsbench.scenes import DatasetSpec

GSBENCH_API = 1
SEEN = []

@gsbench.hookimpl
def gsbench_methods():
    yield gsbench.MethodSpec("everything-method", "everything.code:Method", "From the test",
                             base="everything-base", suffix=".ply", paper="On Everything",
                             rates=(gsbench.RatePoint("low", {"q": 1}), gsbench.RatePoint("high", {"q": 9})))
    yield gsbench.MethodSpec("everything-base", "everything.code:Base", "Its base")

@gsbench.hookimpl
def gsbench_scenes():
    return [DatasetSpec(name="everything-data", scenes=("one", "two"), target="everything.code:load", summary="Data")]

@gsbench.hookimpl
def gsbench_metrics():
    return (
        MetricSpec(name="everything_metric", target="everything.code:metric", summary="M", higher_is_better=True),
        Protocol("everything-protocol", downscale=3.0),
    )

@gsbench.hookimpl
def gsbench_entropy_coders():
    return {("everything-coder", "everything.code:Coder")}

@gsbench.hookimpl
def gsbench_rasterizers():
    return [["everything-raster", "everything.code:Raster"]]

@gsbench.hookimpl
def gsbench_engines():
    return [("everything-engine", "everything.code:Engine")]

@gsbench.hookimpl
def gsbench_cli(app):
    @app.command()
    def everything():
        click.echo("all of it")

@gsbench.hookimpl
def gsbench_job_started(job):
    SEEN.append(("started", job))

@gsbench.hookimpl
def gsbench_job_finished(job, record):
    SEEN.append(("finished", job, record))

@gsbench.hookimpl
def gsbench_job_failed(record):  # an observer takes the arguments that it needs
    SEEN.append(("failed", record))
"""

CODE = """
class Raster: pass
class Engine: pass
class Coder: pass
def load(scene, options): pass
def metric(render, truth): pass
"""


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_documented_with_an_example_that_parses(name: str) -> None:
    text = inspect.getdoc(HOOKS[name])
    assert text is not None
    description, separator, example = text.partition("Example::")
    assert separator, f"{name} has no Example"
    assert len(description.strip()) > 20
    code = textwrap.dedent(example)
    ast.parse("def example():\n" + textwrap.indent(code, "    "))
    assert code.strip()


def test_the_module_docstring_shows_a_plugin() -> None:
    assert "GSBENCH_API = 1" in (hookspecs.__doc__ or "")
    assert hookspecs.API_VERSION == 1


def test_every_hook_is_effective(plugin_folder: Any, caplog: pytest.LogCaptureFixture) -> None:
    plugin_folder.install("everything", EVERYTHING, files={"code.py": CODE}, version="2.5")
    row = plugin_folder.load()["everything"]
    assert (row.status, row.reason, row.version, row.module) == ("ok", None, "2.5", "everything.plugin")
    assert row.hooks == sorted(HOOKS), "this plugin must implement every hook there is"
    assert row.methods == ["everything-method", "everything-base"]
    assert row.scenes == ["everything-data"]
    assert row.metrics == ["everything_metric"]
    assert row.protocols == ["everything-protocol"]
    assert row.entropy_coders == ["everything-coder"]
    assert row.rasterizers == ["everything-raster"]
    assert row.engines == ["everything-engine"]

    assert registry.methods.get("everything-method").rate("default").settings == {"q": 1}
    assert registry.scenes.get("everything-data").scenes == ("one", "two")
    assert registry.metrics.get("everything_metric").target == "everything.code:metric"
    assert registry.protocols.get("everything-protocol").downscale == 3.0
    for table, name, attribute in (
        (registry.entropy_coders, "everything-coder", "Coder"),
        (registry.rasterizers, "everything-raster", "Raster"),
        (registry.engines, "everything-engine", "Engine"),
    ):
        assert table.get(name).__name__ == attribute
        assert table.entry(name).origin == "everything"

    app = click.Group("app")
    hooks.extend_cli(app)
    assert CliRunner().invoke(app, ["everything"]).output == "all of it\n"

    plugin = next(p for p in hooks.plugin_manager().get_plugins() if getattr(p, "SEEN", None) == [])
    hooks.job_started("job")
    hooks.job_finished("job", "record")  # type: ignore[arg-type]
    hooks.job_failed("job", "record")  # type: ignore[arg-type]
    assert plugin.SEEN == [("started", "job"), ("finished", "job", "record"), ("failed", "record")]
    assert not caplog.records


def test_a_row_is_plain_json_with_the_methods_in_full(plugin_folder: Any) -> None:
    plugin_folder.install("everything", EVERYTHING, files={"code.py": CODE})
    row = json.loads(json.dumps(plugin_folder.load()["everything"].to_json()))
    assert row["methods"][0] == {
        "name": "everything-method",
        "summary": "From the test",
        "kind": "trained",
        "base": "everything-base",
        "rates": [{"name": "low", "settings": {"q": 1}}, {"name": "high", "settings": {"q": 9}}],
        "default_rate": "low",
        "suffix": ".ply",
        "paper": "On Everything",
        "pretrained": [],
    }
    assert row["scenes"] == ["everything-data"]
    assert row["status"] == "ok"
    assert row["warnings"] == []
