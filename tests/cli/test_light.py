"""What the command line answers at once: help, lists, refusals. Nothing heavy may be imported for any of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from gsbench import __version__
from gsbench.cli import app as application
from gsbench.cli import main
from gsbench.cli.app import VERBS
from gsbench.errors import ArtifactError, UsageError, VerificationError

pytestmark = pytest.mark.light

HEAVY = ("torch", "pandas", "pydantic", "rich", "scipy", "PIL")
PUBLIC = [verb for verb in VERBS if verb != "job"]

#: Runs a command line and then prints what it imported, and the processor time it took.
PROBE = """
import json, sys, time
from gsbench.cli import main
code = main(sys.argv[1:])
sys.stdout.flush()
print(json.dumps({"code": code, "modules": sorted(sys.modules), "seconds": time.process_time()}), file=sys.stderr)
"""


def probe(folder: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    report: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return done.stdout, report


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["plugins"], ["plugins", "--json"], *([v, "--help"] for v in VERBS)]
)
def test_nothing_heavy_is_imported(arguments: list[str], tmp_path: Path) -> None:
    out, report = probe(tmp_path, *arguments)
    assert report["code"] == 0
    assert out
    assert not set(HEAVY) & set(report["modules"])


def test_help_takes_less_than_half_a_second(tmp_path: Path) -> None:
    """Processor time, the best of three: the machine may have other work."""
    assert min(probe(tmp_path, "--help")[1]["seconds"] for _ in range(3)) < 0.5


def test_help_names_every_verb_but_the_hidden_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    names = [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert names[: len(PUBLIC)] == PUBLIC
    assert "job" not in names


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: gsbench {verb}")
    assert len(out.splitlines()) > 5


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gsbench {__version__}\n"


def test_the_installed_command_is_this_one(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "gsbench"
    done = subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"gsbench {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "gsbench: error: unknown verb 'rnu'; did you mean 'run'"),
        (["jobb"], "unknown verb 'jobb'"),
        (["run", "--method", "3dgs"], "--method"),
        (["run", "--itertions", "5"], "--iterations"),
        (["run", "--iterations", "many"], "'many' is not a valid integer"),
        (["run", "--scenes", "demo"], "no method is given"),
        (["run", "--methods", "3dgs"], "no scene is given"),
        (["run", "extra"], "extra"),
        (["inspect"], "FILE"),
        (["inspect", "nothing.gsb"], "nothing.gsb does not exist"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gsbench: error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: gsbench")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("no such thing"), 2, "gsbench: error: no such thing\n"),
        (ArtifactError("section 'sh' is damaged"), 1, "gsbench: error: section 'sh' is damaged\n"),
        (VerificationError("29.1 is not 30.2"), 4, "gsbench: error: 29.1 is not 30.2\n"),
        (
            NotImplementedError("engine 'ray' comes later"),
            2,
            "gsbench: error: not available: engine 'ray' comes later\n",
        ),
        (click.UsageError("a plugin's complaint"), 2, "gsbench: error: a plugin's complaint\n"),
        (KeyboardInterrupt(), 130, "gsbench: interrupted; the same command goes on from here\n"),
        (click.Abort(), 130, "gsbench: interrupted; the same command goes on from here\n"),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _make_plugins_raise(error, monkeypatch)
    assert main(["plugins"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.lstrip().startswith(message)
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("error", [ValueError("shape mismatch"), NotImplementedError()])
def test_a_bug_is_told_with_its_traceback(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _make_plugins_raise(error, monkeypatch)
    assert main(["plugins"]) == 3
    captured = capsys.readouterr()
    assert "Traceback (most recent call last)" in captured.err
    assert f"gsbench: internal error: {type(error).__name__}: {error}" in captured.err
    assert "This is a bug in gsbench or in a plugin" in captured.err


def _make_plugins_raise(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the verb `plugins` end in `error`."""

    @click.command("plugins")
    def raising() -> None:
        raise error

    monkeypatch.setattr("gsbench.cli.plugins.command", raising)


def test_a_verb_returns_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("plugins")
    def failing() -> int:
        return 1

    monkeypatch.setattr("gsbench.cli.plugins.command", failing)
    assert main(["plugins"]) == 1


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from gsbench.cli import main; sys.exit(main(['plugins', '--json']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""


def test_plugins_add_verbs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def extend(app: click.Group) -> None:
        @app.command("hello")
        def hello() -> None:
            """Say hello."""
            click.echo("hello")

    monkeypatch.setattr("gsbench.hooks.extend_cli", extend)
    monkeypatch.setattr(application.app, "_plugins_asked", False)
    monkeypatch.setattr(application.app, "commands", {})
    assert main(["--help"]) == 0
    assert "Say hello." in capsys.readouterr().out
    assert main(["hello"]) == 0
    assert capsys.readouterr().out == "hello\n"
    assert main(["helo"]) == 2
    assert "did you mean 'hello'" in capsys.readouterr().err


def test_plugins_are_not_loaded_for_our_own_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    def extend(app: click.Group) -> None:
        raise AssertionError("plugins were asked")

    monkeypatch.setattr("gsbench.hooks.extend_cli", extend)
    monkeypatch.setattr(application.app, "_plugins_asked", False)
    assert main(["run", "--help"]) == 0


def test_plugins_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["schema"] == "gsbench.plugins/1"
    core = output["plugins"][0]
    assert core["distribution"] == "gsbench-core"
    assert core["status"] == "ok"
    assert "demo" in core["scenes"]
    assert "local" in core["engines"]


def test_plugins_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    out = click.unstyle(capsys.readouterr().out)
    assert out.splitlines()[0].split() == ["plugin", "version", "status", "note"]
    assert ["gsbench-core", __version__, "ok"] in [line.split()[:3] for line in out.splitlines()]
