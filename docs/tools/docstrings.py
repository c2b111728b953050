"""How the API reference reads gsbench's docstrings (an extension of griffe, which mkdocstrings uses).

* A section "Fields:" or "Shapes and units:" is what the parser knows as "Attributes:".
* ``Example::`` before an indented block loses one colon.
* A comment ``#:`` above a variable is its docstring.
* "width, height: pixels" keeps its names together.
* `Name` becomes a link where the reference has that name; so do ARCHITECTURE.md and the pages below docs/.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import griffe

_REFERENCE: Final = Path(__file__).resolve().parents[1] / "reference"
_CODE: Final = re.compile(r"(?<![`\[\w])`([A-Za-z_][\w.]*)`(?!`)")


@cache
def documented() -> dict[str, str]:
    """What the pages of the reference ask for: full names, and names alone where only one thing has them, each with the
    full name.
    """
    names = re.findall(r"^::: (\S+)$", "\n".join(p.read_text() for p in sorted(_REFERENCE.glob("*.md"))), re.MULTILINE)
    short = [name.rpartition(".")[2] for name in names]
    alone = {name.rpartition(".")[2]: name for name in names if short.count(name.rpartition(".")[2]) == 1}
    # A module's name alone is a word like any other.
    return {
        **{name: full for name, full in alone.items() if not name.islower() or "_" in name},
        **{n: n for n in names},
    }


def linked(text: str, own: str = "") -> str:
    """`text` with links from names that are set as code, but not from an object's own name."""
    known = documented()

    def link(match: re.Match[str]) -> str:
        name = match[1]
        target = known.get(name)
        if target is None and name.startswith("gsbench."):
            target = known.get(name.rpartition(".")[2])
        return match[0] if target is None or name == own else f"[`{name}`][{target}]"

    return _CODE.sub(link, text)


class Docstrings(griffe.Extension):
    """Brings docstrings into the form that the parser reads."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Called once a package is loaded."""
        _rewrite(pkg)


def _rewrite(obj: griffe.Object) -> None:
    """The docstrings of an object and of what is in it."""
    if obj.docstring is None and obj.is_attribute:
        text = _comment_above(obj)
        if text:
            obj.docstring = griffe.Docstring(text, lineno=obj.lineno, parent=obj)
    if obj.docstring is not None:
        text = re.sub(r"^(\s*)(Fields|Shapes and units):$", r"\1Attributes:", obj.docstring.value, flags=re.MULTILINE)
        text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
        text = re.sub(r"^( +)(\w+(?:, \w+)+):", lambda match: _together(match, obj), text, flags=re.MULTILINE)
        text = re.sub(r"\bdocs/([\w-]+)\.md\b", r"[\1](../\1.md)", text)
        text = re.sub(r"\bARCHITECTURE\.md\b", "[ARCHITECTURE.md](../architecture.md)", text)
        obj.docstring.value = linked(text, obj.name)
    for member in obj.members.values():
        if isinstance(member, griffe.Object):  # not an alias: what that stands for has its own turn
            _rewrite(member)


def _together(match: re.Match[str], obj: griffe.Object) -> str:
    """Several names before a colon: with blanks that the parser does not take for the end of the first one, and of a
    class's fields with their types, for it would show that of the item before.
    """
    names = match[2].split(", ")
    shown = ",\N{NO-BREAK SPACE}".join(names)
    fields = [obj.members.get(name) for name in names] if obj.is_class else []
    types = [str(field.annotation) for field in fields if isinstance(field, griffe.Attribute)]
    if len(types) != len(names):
        return f"{match[1]}{shown}:"
    return f"{match[1]}{shown} ({', '.join(dict.fromkeys(types))}):"


def _comment_above(obj: griffe.Object) -> str:
    """The text of the ``#:`` lines directly above a variable, "" if there are none."""
    if obj.lineno is None or isinstance(obj.filepath, list):
        return ""
    lines = obj.lines_collection[obj.filepath]
    found: list[str] = []
    for line in reversed(lines[: obj.lineno - 1]):
        text = line.strip()
        if not text.startswith("#:"):
            break
        found.insert(0, text.removeprefix("#:").strip())
    return "\n".join(found)
