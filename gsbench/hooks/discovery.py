"""Finding installed plugins: entry points of the group ``gsbench``, in an order that is always the same."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

#: The entry-point group of gsbench plugins.
GROUP: Final = "gsbench"

#: Distributions or entry points that are not to be loaded, separated by commas or spaces, or ``all``; ``+NAME`` makes
#: an exception. Gets a machine going on which a plugin does worse than fail (crash the interpreter, hang).
DISABLE_VARIABLE: Final = "GSBENCH_DISABLE_PLUGINS"

_log = logging.getLogger("gsbench.hooks")


@dataclass(frozen=True)
class Candidate:
    """An entry point that may become a plugin, or the reason (`problem`) why it cannot."""

    distribution: str
    version: str
    entry_point: importlib.metadata.EntryPoint | None
    problem: str | None = None

    @property
    def sort_key(self) -> tuple[str, str, str]:
        """Who comes first when two plugins claim a name: independent of where and when they were installed."""
        if self.entry_point is None:
            return canonical_name(self.distribution), "", ""
        return canonical_name(self.distribution), self.entry_point.name, self.entry_point.value


def canonical_name(name: str) -> str:
    """The name of a distribution as the packaging standards compare it: ``My.Plugin`` is ``my-plugin``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def discover() -> list[Candidate]:
    """Every entry point of the group ``gsbench``, sorted by distribution and name.

    A distribution that is found several times (an editable install whose source folder is also the working
    directory, say) counts once; the first on ``sys.path`` wins, as it does for imports. Metadata that cannot be
    read hides no other distribution.
    """
    found: list[Candidate] = []
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            candidates = _candidates(distribution)
        except Exception as error:
            _log.debug("skipping a distribution whose metadata cannot be read: %s", error)
            continue
        if candidates and (key := canonical_name(candidates[0].distribution)) not in seen:
            seen.add(key)
            found += candidates
    return sorted(found, key=lambda candidate: candidate.sort_key)


def _candidates(distribution: importlib.metadata.Distribution) -> list[Candidate]:
    text = distribution.read_text("entry_points.txt") or ""
    if not re.search(rf"^\s*\[\s*{GROUP}\s*\]", text, re.MULTILINE):
        return []
    name, version = distribution.metadata["Name"], distribution.metadata["Version"] or "unknown"
    if not name:
        return []
    try:
        entry_points = set(distribution.entry_points.select(group=GROUP))
    except Exception as error:
        problem = f"its entry_points.txt cannot be parsed: {type(error).__name__}: {error}"
        return [Candidate(name, version, None, problem)]
    return [Candidate(name, version, entry_point) for entry_point in entry_points]


def disabled_names() -> list[str]:
    """What `DISABLE_VARIABLE` lists, as it is written there."""
    return [name for name in re.split(r"[,\s]+", os.environ.get(DISABLE_VARIABLE, "")) if name]


def switched(disabled: str, wishes: Iterable[str]) -> str:
    """The value of `DISABLE_VARIABLE` that adds the wishes of a command line to an earlier value.

    Args:
        disabled: the earlier value.
        wishes: ``no:NAME`` for a plugin that is to be left out, ``NAME`` for one that is to be loaded although the
            earlier value leaves it out.
    """
    names = [name for name in re.split(r"[,\s]+", disabled) if name]
    for wish in wishes:
        name = wish.removeprefix("no:")
        same = canonical_name(name)
        names = [known for known in names if canonical_name(known.removeprefix("+")) != same or known == "all"]
        names.append(name if wish.startswith("no:") else f"+{name}")
    return ",".join(names)


def is_disabled(candidate: Candidate, disabled: Iterable[str]) -> bool:
    """Whether `disabled` (see `disabled_names`) covers this candidate."""
    names = {canonical_name(candidate.distribution)}
    if candidate.entry_point is not None:
        names.add(canonical_name(candidate.entry_point.name))
    listed = list(disabled)
    if any(name.startswith("+") and canonical_name(name[1:]) in names for name in listed):
        return False
    return any(name == "all" or canonical_name(name) in names for name in listed)


def warn_of_unknown(disabled: Sequence[str], candidates: Sequence[Candidate]) -> None:
    """Log a warning for every disabled name that fits no installed plugin: it is likely misspelled."""
    for name in (name.removeprefix("+") for name in disabled):
        if name != "all" and not any(is_disabled(candidate, [name]) for candidate in candidates):
            _log.warning("%s: no installed plugin is called %r", DISABLE_VARIABLE, name)
