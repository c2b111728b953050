"""README.md: its method is a method, its links lead somewhere, its options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch

from gsbench import hooks
from gsbench.artifact import ArtifactReader, ArtifactWriter
from gsbench.cli.app import VERBS, app
from gsbench.methods import Context
from gsbench.testing import random_splats, write_distribution


@pytest.fixture
def text(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def installed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files of the README's method, installed."""
    modules = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL))
    assert sorted(modules) == ["gsbench_plain/method.py", "gsbench_plain/plugin.py"]
    folder = tmp_path / "site"
    entry = {"plain": "gsbench_plain.plugin"}
    write_distribution(folder, "gsbench-plain", {"gsbench_plain/__init__.py": "", **modules}, entry_points=entry)
    monkeypatch.syspath_prepend(folder)
    hooks.unload_plugins()
    yield
    hooks.unload_plugins()


def test_the_method_is_twenty_lines(text: str) -> None:
    (body,) = re.findall(r"^class Plain.*?(?=```)", text, re.MULTILINE | re.DOTALL)
    assert len([line for line in body.splitlines() if line.strip()]) <= 20


def test_the_method_works(installed: None, tmp_path: Path) -> None:
    (row,) = [row for row in hooks.load_plugins() if row.distribution == "gsbench-plain"]
    assert (row.status, row.methods) == ("ok", ["plain"])
    cls = hooks.method_class("plain")
    config, base = cls.Config(), random_splats(300)
    context = Context(torch.device("cpu"), 1, 0, tmp_path, base=base)
    path = tmp_path / "plain.ply"
    with ArtifactWriter(path, "plain", "1.0") as out:
        cls().encode(cls().fit(None, config, context), config, out, context)  # type: ignore[arg-type]
    decoded = cls.decode(ArtifactReader(path), context).splats()
    assert decoded.sh_degree == 0
    assert torch.equal(decoded.means, base.means)


def test_links_lead_to_files(text: str, repository: Path) -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert len(targets) > 5
    for target in targets:
        assert (repository / target).exists(), target


def options_of(verb: str) -> set[str]:
    command = app.get_command(click.Context(app), verb)
    assert command is not None, verb
    return {name for param in command.params for name in param.opts}


def test_every_command_of_the_readme_exists(text: str) -> None:
    """Verbs and options, in code blocks and in running text."""
    code = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    running = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    commands = [match[1] for line in "\n".join([*code, *running]).splitlines()
                if (match := re.match(r"(?:\.venv/bin/)?gsbench ([a-z].*)", line))]  # fmt: skip
    assert len(commands) > 6
    for command in commands:
        verb, *words = shlex.split(command)
        assert {word for word in words if word.startswith("-")} <= options_of(verb), command
    mentioned = {span.split()[0] for span in running if span.startswith("--")}
    assert mentioned <= {name for verb in VERBS for name in options_of(verb)}


def test_the_picture_is_small(repository: Path) -> None:
    assert (repository / "docs" / "images" / "demo.png").stat().st_size < 300_000
