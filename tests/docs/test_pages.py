"""The pages of docs/: their commands exist, their files are accepted, their code runs, the generated one is current."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from types import ModuleType

import click
import pytest

from gsbench import registry
from gsbench.bench.settings import resolve_config
from gsbench.cli.app import VERBS, app
from gsbench.cli.options import config_defaults
from gsbench.hooks import load_plugins, method_class

#: Python blocks that other tests install and run, or that are sketches inside a text.
RUN_ELSEWHERE = ("plugins.md", "tutorial-model.md", "strategies.md", "hooks.md", "porting.md")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words after ``gsbench`` name, and what remains."""
    found: click.Command = app
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        inner = found.get_command(click.Context(found), words[0])
        assert inner is not None, f"no verb {words[0]}"
        found, words = inner, words[1:]
    return found, words


def test_the_command_line_page_is_current(pages: dict[str, str], cli_page: ModuleType) -> None:
    assert pages["cli.md"] == cli_page.page(), "run: python docs/tools/cli_page.py"


def test_the_command_line_page_has_every_option(pages: dict[str, str]) -> None:
    sections = dict(re.findall(r"^#+ (gsbench[\w -]*)\n(.*?)(?=^#|\Z)", pages["cli.md"], re.DOTALL | re.MULTILINE))
    count = 0
    for verb in VERBS:
        group = app.get_command(click.Context(app), verb)
        assert group is not None
        inner = group.commands if isinstance(group, click.Group) else {}
        for name, found in {verb: group, **{f"{verb} {n}": c for n, c in inner.items()}}.items():
            for param in found.params:
                for option in [*param.opts, *param.secondary_opts] if isinstance(param, click.Option) else []:
                    count += 1
                    assert re.search(rf"(`|<code>){re.escape(option)}[ `]", sections[f"gsbench {name}"]), (name, option)
                    assert param.help, f"{name} {option} has no help"
    assert count > 150


@pytest.mark.parametrize("place", ["code blocks", "running text"])
def test_every_command_of_the_pages_exists(pages: dict[str, str], place: str) -> None:
    """Verbs and options."""
    checked = 0
    for name, text in pages.items():
        code = blocks(text, "sh")
        running = re.findall(r"`(gsbench [a-z][^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for line in "\n".join(code).splitlines() if place == "code blocks" else running:
            words = shlex.split(line, comments=True)
            if not words or Path(words[0]).name != "gsbench":
                continue
            if words[1] in ("lab-journal", "-p", "VERB"):  # a plugin's; an option before the verb; any
                continue
            found, rest = command(words[1:])
            known = {o for param in found.params for o in [*param.opts, *param.secondary_opts]} | {"--help"}
            given = {word for word in rest if word.startswith("-")}
            assert given <= known, f"{name}: {line}"
            checked += 1
    assert checked > 40


def test_options_in_running_text_exist(pages: dict[str, str]) -> None:
    known = {"--help", "--strict", *(option for param in app.params for option in param.opts)}
    for verb in VERBS:
        found, _ = command([verb])
        for each in [found, *(found.commands.values() if isinstance(found, click.Group) else [])]:
            known |= {option for param in each.params for option in [*param.opts, *param.secondary_opts]}
    for name, text in pages.items():
        spans = re.findall(r"`(--[a-z][a-z-]*)[^`\n]*`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        assert set(spans) <= known, name


def test_configuration_files_are_accepted(pages: dict[str, str], tmp_path: Path) -> None:
    load_plugins()
    run, _ = command(["run"])
    (text,) = blocks(pages["running.md"], "toml")
    file = tmp_path / "bench.toml"
    file.write_text(text)
    assert set(config_defaults(file, run)) >= {"methods", "scenes", "settings", "envs", "memory_limit"}
    for method, fields in tomllib.loads(text)["set"].items():
        settings = [(field, str(value)) for field, value in fields.items()]
        assert method in registry.methods
        resolve_config(method, method_class(method).Config, {}, settings)


def test_settings_of_the_pages_exist(pages: dict[str, str]) -> None:
    """What follows --set, for methods that come with the repository."""
    load_plugins()
    checked = 0
    for text in pages.values():
        for method, field, value in re.findall(r"--set (\S+?)\.([a-z_]+)=(\S+)", text):
            if method in registry.methods:
                resolve_config(method, method_class(method).Config, {}, [(field, value.rstrip("`"))])
                checked += 1
    assert checked


def test_python_of_the_pages_compiles(pages: dict[str, str]) -> None:
    count = 0
    for name, text in pages.items():
        for block in blocks(text, "python"):
            if not block.startswith(
                "# gsbench_mygs/model.py\n    "
            ):  # a class in several blocks, which another test joins
                compile(block, f"docs/{name}", "exec")
                count += 1
    assert count > 20


def test_python_that_no_other_test_runs(pages: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the other pages, every block is a whole program."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GSBENCH_ISOLATION", "audit-hook")
    for name, text in pages.items():
        if name not in RUN_ELSEWHERE:
            for block in blocks(text, "python"):
                quick = block.replace("iterations=500", "iterations=5, max_width=64, threads=1")
                exec(compile(quick, f"docs/{name}", "exec"), {"__name__": "__main__"})


def test_links_of_the_pages_lead_to_files(pages: dict[str, str], repository: Path) -> None:
    """In the repository, where pages are read as files; the site's links are another test."""
    checked = 0
    for name, text in pages.items():
        folder = (repository / "docs" / name).parent
        for target in re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            if "://" not in target:
                assert (folder / target).is_file(), f"{name}: {target}"
                checked += 1
    assert checked > 40


def test_messages_that_troubleshooting_quotes_are_messages(pages: dict[str, str], repository: Path) -> None:
    sources = [path.read_text(encoding="utf-8") for path in (repository / "gsbench").rglob("*.py")]
    text = re.sub(r'"\n\s*f?"', "", "".join(sources))
    quoted = [span for bold in re.findall(r"^\*\*(.*?)\*\*", pages["troubleshooting.md"], re.MULTILINE)
              for span in re.findall(r"`([^`-][^`]* [^`]*)`", bold)]  # fmt: skip
    assert len(quoted) >= 6
    assert [message for message in quoted if message not in text] == []
