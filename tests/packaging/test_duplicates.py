"""No code stands in two places: a run of equal lines is one function that was not written."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.light

#: So many equal lines in a row, imports, comments and punctuation aside, are no coincidence.
RUN = 8
FOLDERS = ("gsbench", "plugins", "csrc", "benchmarks", "docs")
SUFFIXES = {".py", ".cpp", ".h", ".inc", ".cu", ".cuh"}
#: Lines that say little: blank, comments, imports, lone brackets and keywords, parameters of a signature.
THIN = re.compile(
    r"$|#|//|from |import |@|\"\"\"|[\W_]*$|(else|try|finally|return|pass|continue|break)\b.{0,8}$|\w+: .*,$"
)


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of what counts, white space folded."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = " ".join(line.split())
        if not THIN.match(text):
            yield number, text


def test_no_code_stands_in_two_places(repository: Path) -> None:
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((repository / folder).rglob("*")):
            if path.suffix in SUFFIXES and "build" not in path.parts:
                counted = list(lines(path))
                for start in range(len(counted) - RUN + 1):
                    window = counted[start : start + RUN]
                    name = path.relative_to(repository)
                    places[tuple(text for _, text in window)].append(f"{name}:{window[0][0]}-{window[-1][0]}")
    repeated = [" ~ ".join(found) for found in places.values() if len(found) > 1]
    assert not repeated, "\n".join(repeated)
