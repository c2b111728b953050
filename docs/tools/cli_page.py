"""Write docs/cli.md, the reference of the command line, from the parsers. A test sees that the page is current.

python docs/tools/cli_page.py
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from gsbench.cli.app import VERBS, app

PAGE: Final = Path(__file__).resolve().parents[1] / "cli.md"

HEAD: Final = """\
# Command line

Every verb with every option. This page is written from the program itself; `gsbench VERB --help` prints the same.
[Running benchmarks](running.md) shows how the verbs are used together.

Progress and messages go to stderr, results to stdout; `--json` prints them for machines. Options of a long command can
be kept in a [TOML file](running.md#a-file-instead-of-a-long-command).
"""

_DEFAULT: Final = re.compile(r"\s*\[default: (.*)\]\s*$", re.DOTALL)
#: What is code in help texts: commands, options, names of modules, variables.
_CODE: Final = re.compile(
    r"(?<![\w`.\[/-])("
    rf"gsbench (?:{'|'.join(VERBS)})(?: [A-Z]+\b)?(?: --?[a-z][\w-]*(?: [\w,:/]+)?)*"
    r"|--?[a-z][\w-]*|gsbench\.[\w.]+\w|\$?GSBENCH_[A-Z_]+|pip install '[^']+'"
    r")(?![\w`])"
)


def page() -> str:
    """The whole page."""
    parts = [HEAD, *_section(app, ["gsbench"], 2)]
    for name in VERBS:
        command = app.get_command(click.Context(app, info_name="gsbench"), name)
        if command is None:
            raise SystemExit(f"{name} is not a verb")
        parts += _section(command, ["gsbench", name], 2)
        if isinstance(command, click.Group):
            for verb in sorted(command.commands):
                parts += _section(command.commands[verb], ["gsbench", name, verb], 3)
    return "\n".join(parts)


def _section(command: click.Command, words: list[str], level: int) -> Iterator[str]:
    context = click.Context(command, info_name=words[-1])
    arguments = [_argument(param) for param in command.params if isinstance(param, click.Argument)]
    if isinstance(command, click.Group):
        arguments.append("VERB ...")
    usage = " ".join([*words, "[OPTIONS]", *arguments])
    yield f"{'#' * level} {' '.join(words)}\n"
    yield f"```text\n{usage}\n```\n"
    yield from _help(command.help or "")
    options = [param for param in command.params if isinstance(param, click.Option)]
    if options:
        yield "| option | meaning | default |\n|---|---|---|"
        for option in options:
            yield f"| {_names(option)} | {_meaning(option)} | {_default(option, context)} |"
        yield ""
    if command.epilog:
        yield _filled(command.epilog)


def _argument(param: click.Argument) -> str:
    name = param.metavar or (param.name or "").upper()
    if param.nargs != 1 and not name.rstrip("]").endswith("..."):
        name += "..."
    return name if param.required or name.startswith("[") else f"[{name}]"


def _help(text: str) -> Iterator[str]:
    """Paragraphs; those that click is to leave as they are become commands."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        if lines[0] == "\b":
            yield "```sh\n" + "\n".join(lines[1:]) + "\n```\n"
        else:
            yield _filled(" ".join(lines))


def _names(option: click.Option) -> str:
    value = "" if option.is_flag else f" {_value(option)}"
    names = sorted(option.opts, key=len)
    shown = [f"{name}{value if name == names[-1] else ''}" for name in names]
    return ", ".join(map(_code, [*shown, *option.secondary_opts]))


def _code(text: str) -> str:
    """Code in a cell. A bar ends the cell, and as an escaped one in backticks not all readers of Markdown take it."""
    return f"`{text}`" if "|" not in text else f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _value(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(str(choice) for choice in option.type.choices)
    if isinstance(option.type, click.Path):
        return "PATH" if option.type.file_okay else "DIR"
    return {"INTEGER RANGE": "N", "FLOAT RANGE": "X"}.get(option.type.name.upper(), option.type.name.upper())


def _meaning(option: click.Option) -> str:
    text = _DEFAULT.sub("", option.help or "").strip()
    limits = _limits(option.type)
    return _cell(text + (f" {limits}" if limits else ""))


def _limits(kind: object) -> str:
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    if kind.min is not None and kind.max is not None:
        return f"({kind.min} to {kind.max})"
    if kind.min is None or (kind.min == 0 and not kind.min_open):
        return ""
    return f"({'above' if kind.min_open else 'at least'} {kind.min})"


def _default(option: click.Option, context: click.Context) -> str:
    stated = _DEFAULT.search(option.help or "")
    if stated:
        return _cell(" ".join(stated[1].split()))
    if option.required:
        return "*required*"
    value = option.get_default(context, call=False)
    if option.is_flag:
        if option.secondary_opts:
            return f"`{(option.opts if value else option.secondary_opts)[0]}`"
        return "off" if option.expose_value else ""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        return ""
    return f"`{value}`"


def _filled(text: str) -> str:
    """A paragraph."""
    return textwrap.fill(_marked(text), 120, break_long_words=False, break_on_hyphens=False) + "\n"


def _cell(text: str) -> str:
    return _marked(" ".join(text.split())).replace("|", "\\|")


def _marked(text: str) -> str:
    """Text with what is typed set as code."""
    return _CODE.sub(lambda match: f"`{match[0]}`", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
