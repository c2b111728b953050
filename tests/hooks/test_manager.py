"""Loading plugins: a broken one is a row with its reason, leaves nothing behind, and stops nobody else."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from gsbench import hooks, registry
from gsbench.errors import UsageError

METHOD = """
import gsbench
GSBENCH_API = 1

@gsbench.hookimpl
def gsbench_methods():
    return [gsbench.MethodSpec("{name}", "some.module:Class", "A method of {name}", base={base!r})]
"""


def method_plugin(name: str, base: str | None = None) -> str:
    return METHOD.format(name=name, base=base)


def snapshot() -> dict[str, list[tuple[str, str]]]:
    return {each.kind: [(entry.name, entry.origin) for entry in each.entries()] for each in registry.ALL}


HEAD = "import gsbench\nfrom gsbench import hookimpl, MethodSpec\nGSBENCH_API = 1\n"

#: What is wrong, the plugin's source, and a part of the reason.
BROKEN: dict[str, tuple[str, str]] = {
    "import error": (
        "import no_such_module_anywhere",
        "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
    ),
    "syntax error": ("def (:", "SyntaxError"),
    "raises at import": ("raise RuntimeError('bad day')", "cannot be imported: RuntimeError: bad day"),
    "exits at import": ("raise SystemExit(7)", "cannot be imported: SystemExit: 7"),
    "no API number": ("import gsbench\n@gsbench.hookimpl\ndef gsbench_methods(): return []", "GSBENCH_API = 1"),
    "newer API": ("GSBENCH_API = 2", "written for plugin API 2, but gsbench"),
    "API of another type": ("GSBENCH_API = True", "written for plugin API True"),
    "no hooks": ("GSBENCH_API = 1", "implements none of the hooks"),
    "hook not marked": (
        HEAD + "def gsbench_methods(): return []",
        "gsbench_methods is not marked with @gsbench.hookimpl",
    ),
    "unknown hook": (
        HEAD + "@hookimpl\ndef gsbench_method(): return []",
        "unknown hook 'gsbench_method'; did you mean 'gsbench_methods'",
    ),
    "unknown argument": (HEAD + "@hookimpl\ndef gsbench_methods(nonsense): return []", "nonsense"),
    "wrapper": (
        HEAD + "@hookimpl(wrapper=True)\ndef gsbench_methods():\n    return (yield)",
        "gsbench_methods is a hook wrapper",
    ),
    "hook raises": (
        HEAD + "@hookimpl\ndef gsbench_methods(): raise KeyError('lost')",
        "gsbench_methods raised KeyError: 'lost'",
    ),
    "hook exits": (HEAD + "@hookimpl\ndef gsbench_methods(): raise SystemExit", "gsbench_methods raised SystemExit"),
    "hook returns nothing": (
        HEAD + "@hookimpl\ndef gsbench_methods(): MethodSpec('x', 'a:B', 's')",
        "gsbench_methods: expected an iterable, got None",
    ),
    "hook returns a number": (HEAD + "@hookimpl\ndef gsbench_methods(): return 5", "expected an iterable, got int 5"),
    "hook returns text": (HEAD + "@hookimpl\ndef gsbench_methods(): return 'abc'", "expected an iterable, got str"),
    "hook returns other things": (
        HEAD + "@hookimpl\ndef gsbench_methods(): return ['x']",
        "expected gsbench.MethodSpec objects, got str 'x'",
    ),
    "generator raises midway": (
        HEAD + "@hookimpl\ndef gsbench_methods():\n    yield MethodSpec('half', 'a:B', 's')\n    raise OSError('disk')",
        "gsbench_methods raised OSError: disk",
    ),
    "generator never ends": (
        HEAD + "@hookimpl\ndef gsbench_methods():\n    while True: yield MethodSpec('half', 'a:B', 's')",
        "at most 10000",
    ),
    "bad method name": (HEAD + "@hookimpl\ndef gsbench_methods(): return [MethodSpec('A B', 'a:B', 's')]", "'A B'"),
    "the same name twice": (
        HEAD + "@hookimpl\ndef gsbench_methods(): return [MethodSpec('half', 'a:B', 's')] * 2",
        "method 'half' of broken is already registered by broken",
    ),
    "good methods, bad coder": (
        HEAD
        + "@hookimpl\ndef gsbench_methods(): return [MethodSpec('half', 'a:B', 's')]\n"
        + "@hookimpl\ndef gsbench_entropy_coders(): return [('c', 'not a target')]",
        "'not a target' is not of the form",
    ),
    "good methods, engine of the core": (
        HEAD
        + "@hookimpl\ndef gsbench_methods(): return [MethodSpec('half', 'a:B', 's')]\n"
        + "@hookimpl\ndef gsbench_engines(): return [('local', 'a:B')]",
        "engine 'local' of broken is already registered by gsbench-core",
    ),
    "bad pair": (
        HEAD + "@hookimpl\ndef gsbench_rasterizers(): return ['ab']",
        "expected (name, 'package.module:Class')",
    ),
    "name that leaves the folder": (
        HEAD + "@hookimpl\ndef gsbench_rasterizers(): return [('../up', 'a:B')]",
        "rasterizer name '../up': expected letters",
    ),
    "bad dataset": (HEAD + "@hookimpl\ndef gsbench_scenes(): return [{}]", "expected gsbench.scenes.DatasetSpec"),
    "bad metric": (HEAD + "@hookimpl\ndef gsbench_metrics(): return [1]", "expected gsbench.metrics.MetricSpec or"),
    "lists plugins at import": (
        "from gsbench.hooks import load_plugins\nload_plugins()",
        "cannot be listed while they are being loaded",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_a_row_and_leaves_nothing_behind(
    plugin_folder: Any, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, reason = BROKEN[case]
    plugin_folder.install("good-one", method_plugin("good"))
    plugin_folder.load()
    before = snapshot()
    plugin_folder.install("broken", source)
    rows = plugin_folder.load()
    assert rows["broken"].status == "failed"
    assert reason in (rows["broken"].reason or "")
    assert rows["good-one"].status == "ok"
    assert snapshot() == before
    assert rows["broken"].methods == rows["broken"].specs == rows["broken"].hooks == []
    registered = [getattr(plugin, "__name__", "") for plugin in hooks.plugin_manager().get_plugins()]
    assert "broken.plugin" not in registered
    assert "good_one.plugin" in registered
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert messages[0].startswith("plugin broken is not used: ")
    with pytest.raises(UsageError, match=r"not loaded: broken \(failed\); see: gsbench plugins"):
        registry.methods.get("half")


def test_a_keyboard_interrupt_is_not_swallowed(plugin_folder: Any) -> None:
    plugin_folder.install("impatient", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugin_folder.load()
    assert all(not len(each) for each in registry.ALL)


def test_loading_is_idempotent_and_unloading_empties_the_registries(plugin_folder: Any) -> None:
    plugin_folder.install("good-one", method_plugin("good"))
    plugin_folder.load()
    before = snapshot()
    rows = hooks.load_plugins()
    assert [row.distribution for row in rows] == [row.distribution for row in hooks.load_plugins()]
    assert snapshot() == before
    registry.methods.register("by-hand", "a:B", "notebook")
    hooks.unload_plugins()
    assert [entry.name for each in registry.ALL for entry in each.entries()] == ["by-hand"]
    registry.methods.unregister("by-hand")


def test_the_core_comes_first_and_supplies_its_own(plugin_folder: Any) -> None:
    plugin_folder.install("aaa", method_plugin("a"))
    plugin_folder.load()
    core = hooks.load_plugins()[0]
    assert (core.distribution, core.status, core.entry_point) == ("gsbench-core", "ok", "")
    assert core.rasterizers[0] == "cpu"
    assert set(core.rasterizers) <= {"cpu", "cuda", "gsplat", "inria"}
    assert core.engines == ["local"]
    assert core.protocols == ["gs1600", "shipped", "png4", "blender", "gs1600+first31"]
    assert "demo" in core.scenes
    assert {"psnr", "psnr_channelwise", "ssim"} <= set(core.metrics)


@pytest.mark.parametrize("reverse", [False, True])
def test_of_two_that_claim_a_name_the_first_by_name_wins_wherever_it_is_installed(
    plugin_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reverse: bool
) -> None:
    from gsbench.testing import write_distribution

    names = ["aaa-plugin", "Zzz_Plugin"]
    for name in reversed(names) if reverse else names:
        package = name.lower().replace("-", "_")
        folder = tmp_path / f"site-{package}"
        modules = {f"{package}/__init__.py": "", f"{package}/plugin.py": method_plugin("wanted")}
        write_distribution(folder, name, modules, entry_points={name: f"{package}.plugin"})
        monkeypatch.syspath_prepend(folder)
    rows = plugin_folder.load()
    assert rows["aaa-plugin"].status == "ok"
    assert rows["Zzz_Plugin"].status == "failed"
    assert rows["Zzz_Plugin"].reason == "method 'wanted' of Zzz_Plugin is already registered by aaa-plugin"
    assert registry.methods.entry("wanted").origin == "aaa-plugin"


def test_a_distribution_found_twice_counts_once(
    plugin_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gsbench.testing import write_distribution

    plugin_folder.install("twice.plugin", method_plugin("once"), version="1.0")
    # The same project again, as an editable install in its own source folder shows it: another spelling.
    modules = {"twice_plugin/__init__.py": "", "twice_plugin/plugin.py": method_plugin("once")}
    write_distribution(
        tmp_path / "again", "Twice-Plugin", modules, entry_points={"t": "twice_plugin.plugin"}, version="1.1"
    )
    monkeypatch.syspath_prepend(tmp_path / "again")
    rows = [row for row in plugin_folder.load().values() if row.distribution.lower().startswith("twice")]
    assert [(row.distribution, row.version, row.status) for row in rows] == [("Twice-Plugin", "1.1", "ok")]


def test_two_entry_points_are_two_rows_and_one_module_is_one_plugin(plugin_folder: Any) -> None:
    plugin_folder.install(
        "pair",
        method_plugin("first"),
        files={"other.py": method_plugin("second")},
        entry_points={"b": "pair.other", "a": "pair.plugin", "c": "pair.plugin"},
    )
    plugin_folder.load()
    rows = [row for row in hooks.load_plugins() if row.distribution == "pair"]
    assert [(row.label, row.status, row.methods) for row in rows] == [
        ("pair (a)", "ok", ["first"]),
        ("pair (b)", "ok", ["second"]),
        ("pair (c)", "failed", []),
    ]
    assert "already in use" in (rows[2].reason or "")


def test_damaged_metadata_hides_no_other_plugin(plugin_folder: Any) -> None:
    plugin_folder.install("good-one", method_plugin("good"))
    for number, text in enumerate(["[gsbench]\nno equals sign\n", "[other]\nno equals sign\n"]):
        info = plugin_folder.path / f"damaged_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: damaged-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(text)
    nameless = plugin_folder.path / "nameless-1.0.dist-info"
    nameless.mkdir()
    (nameless / "entry_points.txt").write_text("[gsbench]\nx = no.such\n")
    binary = plugin_folder.path / "binary-1.0.dist-info"
    binary.mkdir()
    (binary / "METADATA").write_text("Name: binary\nVersion: 1\n")
    (binary / "entry_points.txt").write_bytes(b"[gsbench]\n\xff\xfe = \x00\n")
    rows = plugin_folder.load()
    assert rows["good-one"].status == "ok"
    assert rows["damaged-0"].status == "failed"
    assert "entry_points.txt cannot be parsed" in (rows["damaged-0"].reason or "")
    assert "damaged-1" not in rows


@pytest.mark.parametrize("value", ["fragile-one", "Fragile_One", "other, fragile.one", "point", "all"])
def test_disabled_plugins_are_not_even_imported(
    plugin_folder: Any, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    plugin_folder.install("fragile-one", "raise RuntimeError", entry_points={"point": "fragile_one.plugin"})
    plugin_folder.install("other", method_plugin("other"))
    monkeypatch.setenv("GSBENCH_DISABLE_PLUGINS", value)
    rows = plugin_folder.load()
    assert rows["fragile-one"].status == "disabled"
    assert rows["fragile-one"].reason == "disabled by GSBENCH_DISABLE_PLUGINS"
    assert "fragile_one.plugin" not in sys.modules
    assert rows["gsbench-core"].status == "ok"
    assert (rows["other"].status == "disabled") == ("other" in value or value == "all")


def test_a_misspelled_disabled_name_is_reported(
    plugin_folder: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plugin_folder.install("good-one", method_plugin("good"))
    monkeypatch.setenv("GSBENCH_DISABLE_PLUGINS", "good-won")
    assert plugin_folder.load()["good-one"].status == "ok"
    assert "no installed plugin is called 'good-won'" in caplog.text


def test_warnings_about_a_base_that_nobody_supplies(plugin_folder: Any) -> None:
    plugin_folder.install("needs", method_plugin("derived", base="nowhere"))
    row = plugin_folder.load()["needs"]
    assert row.status == "ok"
    assert row.warnings == ["method 'derived' needs the base 'nowhere', which no plugin supplies"]
    plugin_folder.install("gives", method_plugin("nowhere"))
    assert plugin_folder.load()["needs"].warnings == []


def test_an_observer_that_raises_stops_neither_the_run_nor_the_others(
    plugin_folder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    observer = HEAD + "SEEN = []\n@hookimpl\ndef gsbench_job_failed(job, record):\n    SEEN.append(record)\n    {last}"
    for name, last in (("a-first", "pass"), ("b-bad", "raise OSError('down')"), ("c-exit", "exit(3)"), ("d", "pass")):
        plugin_folder.install(name, observer.format(last=last))
    plugin_folder.load()
    hooks.job_failed("job", "record one")  # type: ignore[arg-type]
    hooks.job_failed("job", "record two")  # type: ignore[arg-type]
    for package in ("a_first", "b_bad", "c_exit", "d"):
        assert sys.modules[f"{package}.plugin"].SEEN == ["record one", "record two"], package
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert messages == 2 * [
        "gsbench_job_failed of plugin b-bad raised OSError: down",
        "gsbench_job_failed of plugin c-exit raised SystemExit: 3",
    ]


VERBS = HEAD + "import click\n@hookimpl\ndef gsbench_cli(app):\n"


def test_verbs_of_a_broken_plugin_are_taken_out_again(plugin_folder: Any, caplog: pytest.LogCaptureFixture) -> None:
    plugin_folder.install("a-good", VERBS + "    app.add_command(click.Command('hello'))")
    plugin_folder.install("b-raises", VERBS + "    app.add_command(click.Command('half'))\n    raise OSError('no')")
    plugin_folder.install("c-clashes", VERBS + "    app.add_command(click.Command('hello'))")
    plugin_folder.install("d-replaces", VERBS + "    app.add_command(click.Command('run'))")
    plugin_folder.install("e-removes", VERBS + "    app.commands.clear()")
    plugin_folder.install("f-lazy", VERBS + "    app.add_command(click.Command('lazy'))")
    rows = plugin_folder.load()

    class Lazy(click.Group):
        """A group with a verb that is not in `commands` before it is asked for."""

        def list_commands(self, ctx: click.Context) -> list[str]:
            return sorted({*super().list_commands(ctx), "lazy"})

    run = click.Command("run")
    app = Lazy("app", commands={"run": run})
    hooks.extend_cli(app)
    assert sorted(app.commands) == ["hello", "run"]
    assert app.commands["run"] is run
    assert {name: row.warnings for name, row in rows.items() if name[1] == "-"} == {
        "a-good": [],
        "b-raises": ["its verbs are left out: OSError: no"],
        "c-clashes": ["its verbs are left out: 'hello' is already a verb"],
        "d-replaces": ["its verbs are left out: 'run' is already a verb"],
        "e-removes": ["its verbs are left out: 'hello', 'run' is already a verb"],
        "f-lazy": ["its verbs are left out: 'lazy' is already a verb"],
    }
    assert all(row.status == "ok" for row in rows.values())
    assert "plugin b-raises: its verbs are left out" in caplog.text


LISTING = """
import json, sys
from gsbench.hooks import load_plugins
rows = load_plugins()
print(json.dumps({"torch": "torch" in sys.modules, "rows": [row.to_json() for row in rows]}))
"""


def listing() -> Any:
    environment = {key: value for key, value in os.environ.items() if key != "GSBENCH_DISABLE_PLUGINS"}
    result = subprocess.run(
        [sys.executable, "-c", LISTING],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def test_listing_in_a_fresh_process_imports_no_torch(plugin_folder: Any) -> None:
    plugin_folder.install("good-one", method_plugin("good"))
    plugin_folder.install("broken", "import no_such_module_anywhere")
    result, errors = listing()
    assert not result["torch"]
    status = {row["distribution"]: row["status"] for row in result["rows"]}
    assert status["gsbench-core"] == status["good-one"] == "ok"
    assert status["broken"] == "failed"
    assert "Traceback" not in errors
    assert "plugin broken is not used" in errors


def test_a_plugin_that_imports_torch_at_its_top_gets_a_warning(plugin_folder: Any) -> None:
    (plugin_folder.path / "torch.py").write_text("")  # stands in for the real one, which takes seconds
    plugin_folder.install("heavy", "import torch\n" + method_plugin("heavy"))
    result, _ = listing()
    row = next(row for row in result["rows"] if row["distribution"] == "heavy")
    assert row["status"] == "ok"
    assert row["warnings"] == ["imports torch at its top, which slows down every gsbench command"]
