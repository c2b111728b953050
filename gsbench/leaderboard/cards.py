"""What is known of the methods of a board."""

from __future__ import annotations

import importlib.metadata
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gsbench import registry
from gsbench.leaderboard.board import MethodCard, Section
from gsbench.leaderboard.rerun import rerun_command

if TYPE_CHECKING:
    from gsbench.methods import MethodSpec


def method_cards(sections: Sequence[Section]) -> dict[str, MethodCard]:
    """Name -> card of every method with an entry, by name. Plugins are loaded before."""
    names = sorted({entry.method for section in sections for entry in section.entries})
    return {name: _card(name, sections) for name in names}


def _card(name: str, sections: Sequence[Section]) -> MethodCard:
    spec: MethodSpec | None = registry.methods.get(name) if name in registry.methods else None
    entries = [entry for section in sections for entry in section.entries if entry.method == name]
    results = [r for e in entries for s in e.scenes for r in (*s.results, *s.failed)]
    infos = sorted({(r.record.method_info.distribution, r.record.method_info.version) for r in results})
    distribution = infos[-1][0]
    license_, homepage = _metadata(distribution)
    sized = sorted((e.bytes.mean if e.bytes.mean is not None else float("inf"), e.rate) for e in entries)
    return MethodCard(
        name=name,
        summary="" if spec is None else spec.summary,
        paper="" if spec is None else spec.paper,
        kind="" if spec is None else spec.kind,
        base=_base(spec, [r.record.base.name for r in results if r.record.base is not None and not r.record.base.own]),
        distribution=distribution,
        versions=tuple(version for _, version in infos),
        license=license_,
        homepage=homepage,
        rates=tuple(dict.fromkeys(rate for _, rate in sized)),
        iterations=tuple(sorted({e.iterations for e in entries if e.iterations is not None})),
        install=f"pip install {shlex.quote(distribution)}",
        rerun=_reruns(name, sections),
    )


def _base(spec: MethodSpec | None, recorded: Sequence[str]) -> str | None:
    if spec is not None:
        return spec.base
    return min(recorded) if recorded else None


def _metadata(distribution: str) -> tuple[str, str]:
    """License and address that an installed distribution states."""
    try:
        found = importlib.metadata.metadata(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "", ""

    def first(*names: str) -> str:
        return next((str(value) for name in names for value in found.get_all(name) or [] if value), "")

    license_ = first("License-Expression", "License")
    urls = [url.partition(",") for url in found.get_all("Project-URL") or []]
    named = {label.strip().lower(): address.strip() for label, _, address in urls}
    homepage = next((named[key] for key in ("homepage", "repository", "source") if key in named), "")
    return license_.splitlines()[0] if license_ else "", first("Home-page") or homepage


def _reruns(name: str, sections: Sequence[Section]) -> Mapping[str, str]:
    """Section -> commands that repeat all of a method's results there, one per line: one for all rate points whose
    other settings are those that the rate points have.
    """
    found = {}
    for section in sections:
        commands: dict[str, list[str]] = {}
        for entry in section.entries:
            records = [r.record for s in entry.scenes for r in s.results]
            if entry.method != name or not records:
                continue
            words = shlex.split(rerun_command(records))
            rate = words.pop(words.index("--rates") + 1) if "--rates" in words else ""
            commands.setdefault(shlex.join(words), []).append(rate)
        lines = []
        for command, rates in commands.items():
            words = shlex.split(command)
            if "--rates" in words:
                words.insert(words.index("--rates") + 1, ",".join(rates))
            lines.append(shlex.join(words))
        if lines:
            found[section.slug] = "\n".join(lines)
    return found
