"""How the API reference reads gsbench's docstrings (an extension of griffe, which mkdocstrings uses).

* a section "Fields:" is what the parser knows as "Attributes:";
* ``Example::`` before an indented block loses one colon;
* a comment ``#:`` above a variable is its docstring.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Brings docstrings into the form that the parser reads."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every object of a package that is loaded."""
        if obj.docstring is None and obj.is_attribute:
            text = _comment_above(obj)
            if text:
                obj.docstring = griffe.Docstring(text, lineno=obj.lineno, parent=obj)
        if obj.docstring is not None:
            value = re.sub(r"^(\s*)Fields:$", r"\1Attributes:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"::$", ":", value, flags=re.MULTILINE)


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
