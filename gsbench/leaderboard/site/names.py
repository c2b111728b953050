"""Names of files in a site, and numbers as data files have them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from gsbench.leaderboard.board import Entry, Value

_OTHER: Final = re.compile(r"[^a-z0-9._-]+")

#: Digits that data files keep of a number: more than any page shows.
_DIGITS: Final = 7


def slug(name: str) -> str:
    """`name` as a part of a path that every file system and address takes: lower-case letters, digits, ``. _ -``.

    Names that lose something get a hash, so that different names have different slugs.
    """
    cleaned = _OTHER.sub("-", name.lower()).strip("-.")[:60]
    if cleaned == name:
        return cleaned
    return f"{cleaned or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def entry_slug(entry: Entry) -> str:
    """Part of the names of an entry's files."""
    return slug(entry.key.replace("/", "-")) if entry.key.count("/") == 1 else slug(entry.key)


def href(path: PurePosixPath | str) -> str:
    """A path inside the site as an address: other characters than letters and digits are escaped where they must."""
    return quote(str(path), safe="/")


def number(value: float | int | None) -> float | int | None:
    """`value` with the digits that data files keep; integers and None as they are.

    Raises:
        ValueError: if it is not finite, for which JSON has no text.
    """
    if value is None or isinstance(value, int):
        return value
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be shown")
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def packed(value: Value) -> list[Any] | str:
    """A `Value` as pages read it: ``[mean, spread, seeds]``, or the reason why there is none."""
    if value.mean is None:
        return value.reason or "not recorded"
    if value.spread is None and value.seeds == 1:
        return [number(value.mean)]
    return [number(value.mean), number(value.spread), value.seeds]


def script(variable: str, value: Any) -> str:
    """A script that assigns `value` to ``window.<variable>``: what a page opened from disk can load."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # In a script of its own none of these can end it; line separators were no JavaScript before 2019.
    return f"window.{variable}={text};\n".replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def size_text(count: float) -> str:
    """Bytes for people: 10^3 and 10^6, as everywhere in gsbench."""
    if count >= 1e6:
        return f"{count / 1e6:,.2f} MB"
    return f"{count / 1e3:,.1f} kB" if count >= 1e3 else f"{count:,.0f} bytes"
