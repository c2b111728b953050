"""`build_board`: from paths of records to a `Board`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gsbench import __version__, registry
from gsbench.errors import UsageError
from gsbench.hooks import load_plugins
from gsbench.leaderboard.aggregate import make_entries, metric_columns
from gsbench.leaderboard.bdrate import MIN_POINTS, Curve, bd_rate, pareto_curve
from gsbench.leaderboard.board import BdRate, Board, Entry, MetricColumn, Provenance, Reported, Result, Section
from gsbench.leaderboard.cards import method_cards
from gsbench.leaderboard.load import Loaded, load_records
from gsbench.leaderboard.rerun import rerun_command
from gsbench.registry import did_you_mean
from gsbench.scenes.spec import PATH_DATASET, DatasetSpec

#: BD-rates of every curve against every other are computed up to this many interpolations; beyond, against the anchor
#: only.
_MAX_BD_RATES: Final = 6000
#: Protocols that come first.
_FIRST_PROTOCOLS: Final = ("gs1600", "shipped", "png4", "blender")


def build_board(
    paths: Iterable[Path],
    *,
    title: str = "gsbench leaderboard",
    anchor: str | None = None,
    reported: Sequence[Reported] = (),
) -> Board:
    """A board of the records that `paths` mean (files, or folders with all below them).

    Args:
        paths: see `gsbench.leaderboard.load.find_records`.
        title: for people.
        anchor: the curve (a method, or ``method (variant)``) that BD-rates are against by default; None for the one
            with the most rate points.
        reported: rows from publications.

    Raises:
        UsageError: if there are no records, or no section has the anchor.
        RecordError: if a record is refused; see `gsbench.leaderboard.load.load_records`.
    """
    load_plugins()
    loaded = load_records(paths)
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for item in loaded:
        record = item.record
        groups.setdefault((record.protocol.id, record.protocol.hash, record.dataset), []).append(_result(item))
    slugs = _slugs(list(groups))
    sections = [
        _section(slugs[key], *key, results, anchor)
        for key, results in sorted(groups.items(), key=lambda group: _order(*group[0]))
    ]
    if anchor is not None and all(anchor not in section.curves for section in sections):
        known = sorted({curve for section in sections for curve in section.curves})
        raise UsageError(f"anchor {anchor!r}: no section has such a curve{did_you_mean(anchor, known)}")
    return Board(
        title=title,
        sections=tuple(sections),
        methods=method_cards(sections),
        reported=tuple(reported),
        gsbench=__version__,
        records=len(loaded),
    )


def _result(item: Loaded) -> Result:
    record = item.record
    environment = record.environment
    stages = item.root / "stages"
    return Result(
        record=record,
        name=item.name,
        path=item.path,
        artifact=item.artifact,
        provenance=Provenance(
            trust=item.trust,
            record_sha256=item.sha256,
            artifact_sha256=record.sha256,
            artifact_bytes=record.bytes,
            artifact_checked=item.artifact is not None,
            decoded_sha256=record.decoded_sha256,
            scene_hash=record.scene_hash,
            environment=environment,
            commit=None if environment is None else environment.commit,
            distribution=record.method_info.distribution,
            version=record.method_info.version,
            digest=record.method_info.digest,
            isolation=record.isolation,
            verification=item.verification,
        ),
        rerun=rerun_command([record]),
        stages=stages if stages.is_dir() else None,
    )


def _section(
    slug: str, protocol: str, protocol_hash: str, dataset: str, results: Sequence[Result], anchor: str | None
) -> Section:
    spec: DatasetSpec | None = registry.scenes.get(dataset) if dataset in registry.scenes else None
    present = sorted({result.record.scene for result in results})
    scenes = present if spec is None else [*spec.scenes, *(name for name in present if name not in spec.scenes)]
    metrics = metric_columns(results)
    entries = make_entries(results, scenes, metrics)
    curves = tuple(dict.fromkeys(entry.curve for entry in entries))
    chosen = anchor if anchor in curves else _anchor(entries)
    bases = {result.record.base.name for result in results if result.record.base and not result.record.base.own}
    notes = []
    if spec is None and dataset != PATH_DATASET:
        notes.append(f"gsbench knows no data set {dataset!r} here; the mean is over the scenes that have a record")
    return Section(
        slug=slug,
        protocol=protocol,
        protocol_hash=protocol_hash,
        dataset=dataset,
        dataset_title=dataset if spec is None else f"{dataset}: {spec.summary}",
        scenes=tuple(scenes),
        known_dataset=spec is not None,
        metrics=metrics,
        entries=entries,
        curves=curves,
        anchor=chosen,
        bd_rates=tuple(_bd_rates(entries, curves, metrics, scenes, chosen)),
        failed=tuple(sorted((r for r in results if r.record.status != "ok"), key=lambda r: r.name)),
        base_entries=tuple(entry.key for entry in entries if entry.method in bases),
        notes=tuple(notes),
    )


def _anchor(entries: Sequence[Entry]) -> str | None:
    """The curve with the most rate points that every scene has; of equals the first by name."""
    points: dict[str, int] = {}
    for entry in entries:
        points[entry.curve] = points.get(entry.curve, 0) + (1 if entry.complete else 0)
    best = max(points.values(), default=0)
    return min(curve for curve, count in points.items() if count == best) if best >= MIN_POINTS else None


def _bd_rates(
    entries: Sequence[Entry],
    curves: Sequence[str],
    metrics: Sequence[MetricColumn],
    scenes: Sequence[str],
    anchor: str | None,
) -> list[BdRate]:
    if anchor is None:
        return []
    made: list[BdRate] = []
    by_metric = {metric.name: _curves(entries, metric) for metric in metrics}
    anchors = [curve for curve in curves if any(_is_anchor(found[curve]) for found in by_metric.values())]
    if len(anchors) ** 2 * len(metrics) * len(scenes) > _MAX_BD_RATES:
        anchors = [anchor]
    for against in anchors:
        for metric in metrics:
            found = by_metric[metric.name]
            made += [
                bd_rate(curve, against, metric.name, metric.higher_is_better, found[curve], found[against], scenes)
                for curve in curves
                if curve != against
            ]
    return made


def _is_anchor(curve: Mapping[str, Curve]) -> bool:
    """Whether other curves can be compared with this one (scene -> its front) anywhere."""
    return any(len(front.rates) >= MIN_POINTS for front in curve.values())


def _curves(entries: Sequence[Entry], metric: MetricColumn) -> Mapping[str, Mapping[str, Curve]]:
    """Curve -> scene -> its Pareto front."""
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for entry in entries:
        of_curve = points.setdefault(entry.curve, {})
        for scene in entry.scenes:
            size, quality = scene.bytes.mean, scene.metrics[metric.name].mean
            if size is not None and size > 0 and quality is not None:
                of_curve.setdefault(scene.scene, []).append((size, quality))
    return {
        curve: {scene: pareto_curve(found, metric.higher_is_better) for scene, found in scenes.items()}
        for curve, scenes in points.items()
    }


def _slugs(keys: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    """A name for each section that differs from the others'."""
    found: dict[tuple[str, str, str], str] = {}
    plain = {key: _slug(f"{key[0]}-{key[2]}") for key in keys}
    for key, slug in plain.items():
        twice = sum(1 for other in plain.values() if other == slug) > 1
        found[key] = f"{slug}-{_slug(key[1])}" if twice else slug
    taken: dict[str, int] = {}
    for key in sorted(found):
        count = taken[found[key]] = taken.get(found[key], 0) + 1
        if count > 1:
            found[key] = f"{found[key]}-{count}"
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"


def _order(protocol: str, protocol_hash: str, dataset: str) -> tuple[int, str, str, str]:
    first = _FIRST_PROTOCOLS.index(protocol) if protocol in _FIRST_PROTOCOLS else len(_FIRST_PROTOCOLS)
    return first, protocol, dataset, protocol_hash
