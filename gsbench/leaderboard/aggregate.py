"""From records to the entries of a section: means and spreads over seeds and scenes, by pandas."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gsbench.leaderboard.board import (
    METRIC_COLUMNS,
    Entry,
    MetricColumn,
    Result,
    SceneEntry,
    Trust,
    Value,
    metric_column,
    within_spread,
)
from gsbench.records import Record

if TYPE_CHECKING:
    import pandas as pd

#: Columns that are no metrics: name -> what a record has of it.
_NUMBERS: Final[Mapping[str, Any]] = {
    "bytes": lambda r: r.bytes,
    "gaussians": lambda r: r.gaussians,
    "anchors": lambda r: r.anchors,
    "train_seconds": lambda r: r.seconds.train,
    "encode_seconds": lambda r: r.seconds.encode,
    "decode_seconds": lambda r: r.seconds.decode,
    "render_ms": lambda r: None if r.render_ms is None else r.render_ms.median,
    "fps": lambda r: None if r.render_ms is None or r.render_ms.median <= 0 else 1000.0 / r.render_ms.median,
    "peak_host_bytes": lambda r: r.peak_host_bytes,
    "peak_gpu_bytes": lambda r: r.peak_gpu_bytes,
}
_NOT_RECORDED: Final = "not in the records"
_TRUST_ORDER: Final[tuple[Trust, ...]] = ("claimed", "decoded", "reproduced")

#: One method at one rate point with one set of settings.
_Key = tuple[str, str, str]


def metric_columns(results: Iterable[Result]) -> tuple[MetricColumn, ...]:
    """The metrics that any record has: gsbench's own in their order, then others by name."""
    names = {name for result in results for name in result.record.metrics}
    known = [column.name for column in METRIC_COLUMNS if column.name in names]
    return tuple(metric_column(name) for name in [*known, *sorted(names - set(known))])


def make_entries(
    results: Sequence[Result], scenes: Sequence[str], metrics: Sequence[MetricColumn]
) -> tuple[Entry, ...]:
    """The entries of a section.

    Args:
        results: its records, failed ones included.
        scenes: all scenes of the data set, in order.
        metrics: its metrics.
    """
    groups: dict[_Key, list[Result]] = {}
    for (method, rate), same in _grouped(results).items():
        for variant, members in _variants(same).items():
            groups[method, rate, variant] = members
    names = [column.name for column in metrics]
    tables = _Tables(groups, names, scenes)
    entries = [_entry(key, members, scenes, names, tables) for key, members in groups.items()]
    entries.sort(key=lambda e: (e.method, e.variant, _size(e), e.rate))
    return _with_ranks(entries, metrics)


def _grouped(results: Sequence[Result]) -> dict[tuple[str, str], list[Result]]:
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in sorted(results, key=lambda r: r.name):
        groups.setdefault((result.record.method, result.record.rate), []).append(result)
    return groups


def _variants(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The records by what tells their settings apart; "" where nothing does.

    Failed jobs belong to whatever has their settings too.
    """
    parts = {result.name: _settings(result.record) for result in results}
    distinct = sorted(set(parts.values()))
    if len(distinct) == 1:
        return {"": list(results)}
    steps, own, rest = (len({part[i] for part in distinct}) > 1 for i in range(3))
    labels: dict[tuple[int, bool, str], str] = {}
    for part in distinct:
        words = []
        if steps:
            words.append(f"{part[0]:,} steps" if part[0] >= 0 else "no steps")
        if own and part[1]:
            words.append("own base")
        if rest and len({p[2] for p in distinct if p[:2] == part[:2]}) > 1:
            words.append(f"settings {part[2][:4]}")
        labels[part] = ", ".join(words) or "as published"
    if len(set(labels.values())) < len(labels):  # four digits were not enough
        labels = {part: f"{label} {part[2][:12]}" for part, label in labels.items()}
    found: dict[str, list[Result]] = {}
    for part in distinct:
        found[labels[part]] = [result for result in results if parts[result.name] == part]
    return found


def _settings(record: Record) -> tuple[int, bool, str]:
    """What results must share to be averaged: steps, kind of base, and a digest of everything else."""
    config = shared_config(record)
    text = json.dumps([config, record.pretrained, record.base is not None], sort_keys=True)
    own = record.base is not None and record.base.own
    steps = -1 if record.iterations is None else record.iterations
    return steps, own, hashlib.sha256(text.encode()).hexdigest()


def shared_config(record: Record) -> dict[str, Any]:
    """The settings of a record without those that were chosen for its scene (dotted names reach into tables)."""
    return _without(record.config, record.per_scene_settings)


def _without(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if key in names:
            continue
        inner = [name.removeprefix(f"{key}.") for name in names if name.startswith(f"{key}.")]
        kept[key] = _without(value, inner) if inner and isinstance(value, Mapping) else value
    return kept


@dataclass(frozen=True)
class _Number:
    """A mean, the sample standard deviation (None with one number), and how many."""

    mean: float
    spread: float | None
    count: int


class _Tables:
    """Means and spreads of every column, by entry and scene, and by entry over the data set."""

    def __init__(self, groups: Mapping[_Key, Sequence[Result]], metrics: Sequence[str], scenes: Sequence[str]) -> None:
        import pandas as pd

        self.columns = [*_NUMBERS, *(f"metric {name}" for name in metrics)]
        rows = []
        for index, members in enumerate(groups.values()):
            for result in members:
                record = result.record
                if record.status == "ok":
                    numbers = [read(record) for read in _NUMBERS.values()]
                    scores = [record.metrics.get(name) for name in metrics]
                    rows.append((index, record.scene, record.seed, *numbers, *scores))
        frame = pd.DataFrame(rows, columns=["entry", "scene", "seed", *self.columns])
        frame[self.columns] = frame[self.columns].astype("float64")
        self._indices = {key: index for index, key in enumerate(groups)}
        self._scenes = self._by_scene(frame)
        self._sets = self._by_entry(frame, len(scenes))

    def scene(self, key: _Key, scene: str) -> Mapping[str, _Number]:
        """Column -> number of an entry on a scene, over seeds; columns without any number are not there."""
        return self._scenes.get((self._indices[key], scene), {})

    def whole(self, key: _Key) -> Mapping[str, _Number]:
        """Column -> number of an entry on the data set; columns that miss a scene are not there."""
        return self._sets.get(self._indices[key], {})

    def _by_scene(self, frame: pd.DataFrame) -> dict[tuple[int, str], dict[str, _Number]]:
        grouped = frame.groupby(["entry", "scene"], sort=False)[self.columns]
        means, spreads, counts = grouped.mean(), grouped.std(ddof=1), grouped.count()
        return {
            (int(label[0]), str(label[1])): _numbers(self.columns, mean, spread, count)
            for label, mean, spread, count in zip(
                means.index, means.to_numpy(), spreads.to_numpy(), counts.to_numpy(), strict=True
            )
        }

    def _by_entry(self, frame: pd.DataFrame, needed: int) -> dict[int, dict[str, _Number]]:
        per_scene = frame.groupby(["entry", "scene"], sort=False)[self.columns]
        over_seeds = per_scene.mean().groupby("entry", sort=False)
        means, scenes = over_seeds.mean(), over_seeds.count()
        fewest = per_scene.count().groupby("entry", sort=False).min()
        per_seed = frame.groupby(["entry", "seed"], sort=False)[self.columns]
        # The mean over the data set that each seed gives, where it has all scenes.
        complete = per_seed.mean().where(per_seed.count() == needed).groupby("entry", sort=False)
        spreads = complete.std(ddof=1).reindex(means.index)
        found: dict[int, dict[str, _Number]] = {}
        for label, mean, spread, count, present in zip(
            means.index, means.to_numpy(), spreads.to_numpy(), fewest.to_numpy(), scenes.to_numpy(), strict=True
        ):
            numbers = _numbers(self.columns, mean, spread, count)
            enough = dict(zip(self.columns, present, strict=True))
            found[int(label)] = {name: number for name, number in numbers.items() if enough[name] == needed}
        return found


def _numbers(columns: Sequence[str], means: Any, spreads: Any, counts: Any) -> dict[str, _Number]:
    return {
        name: _Number(float(mean), None if math.isnan(spread) else float(spread), int(count))
        for name, mean, spread, count in zip(columns, means, spreads, counts, strict=True)
        if not math.isnan(mean)
    }


def _entry(
    key: _Key, members: Sequence[Result], scenes: Sequence[str], metrics: Sequence[str], tables: _Tables
) -> Entry:
    method, rate, variant = key
    by_scene: dict[str, list[Result]] = {}
    for result in members:
        by_scene.setdefault(result.record.scene, []).append(result)
    made = tuple(_scene(key, scene, by_scene[scene], metrics, tables) for scene in scenes if scene in by_scene)
    good = [scene for scene in made if scene.results]
    seeds = set.intersection(*({r.seed for r in scene.results} for scene in good)) if good else set()
    found = tables.whole(key)
    missing = f"{len(good)}/{len(scenes)} scenes"

    def value(column: str) -> Value:
        if len(good) < len(scenes):
            return Value(None, seeds=0, reason=missing)
        if column in found:
            return Value(found[column].mean, found[column].spread, found[column].count)
        return Value(None, seeds=0, reason=_why_missing(column, good))

    first = min(members, key=lambda r: (r.record.status != "ok", r.name)).record
    label = f"{method} {rate}" if rate != "default" else method
    fps = value("fps")
    render_ms = value("render_ms")
    if render_ms.mean:
        fps = replace(fps, mean=1000.0 / render_ms.mean)
    return Entry(
        key="/".join([method, rate, *([variant] if variant else [])]),
        method=method,
        rate=rate,
        variant=variant,
        label=f"{label} ({variant})" if variant else label,
        iterations=first.iterations,
        per_scene_settings=tuple(sorted({name for r in members for name in r.record.per_scene_settings})),
        pretrained=first.pretrained,
        config=shared_config(first),
        scenes=made,
        scenes_present=len(good),
        scenes_needed=len(scenes),
        seeds=tuple(sorted(seeds)),
        bytes=value("bytes"),
        metrics={name: value(f"metric {name}") for name in metrics},
        gaussians=value("gaussians"),
        anchors=value("anchors"),
        train_seconds=value("train_seconds"),
        encode_seconds=value("encode_seconds"),
        decode_seconds=value("decode_seconds"),
        fps=fps,
        peak_host_bytes=value("peak_host_bytes"),
        peak_gpu_bytes=value("peak_gpu_bytes"),
        trust=_weakest(result for scene in good for result in scene.results),
        pareto={},
        ties={},
        notes=_notes(members, good),
    )


def _scene(key: _Key, scene: str, members: Sequence[Result], metrics: Sequence[str], tables: _Tables) -> SceneEntry:
    results = tuple(sorted((r for r in members if r.record.status == "ok"), key=lambda r: r.seed))
    failed = tuple(sorted((r for r in members if r.record.status != "ok"), key=lambda r: r.seed))
    found = tables.scene(key, scene)

    def value(column: str) -> Value:
        if column in found:
            return Value(found[column].mean, found[column].spread, found[column].count)
        return Value(None, seeds=0, reason=_why_not(column, results, failed))

    fps, render_ms = value("fps"), value("render_ms")
    if render_ms.mean:
        fps = replace(fps, mean=1000.0 / render_ms.mean)
    sections: dict[str, float] = {}
    for result in results:
        for name, count in result.record.sections.items():
            sections[name] = sections.get(name, 0.0) + count / len(results)
    return SceneEntry(
        scene=scene,
        results=results,
        failed=failed,
        bytes=value("bytes"),
        metrics={name: value(f"metric {name}") for name in metrics},
        gaussians=value("gaussians"),
        anchors=value("anchors"),
        train_seconds=value("train_seconds"),
        encode_seconds=value("encode_seconds"),
        decode_seconds=value("decode_seconds"),
        render_ms=render_ms,
        fps=fps,
        peak_host_bytes=value("peak_host_bytes"),
        peak_gpu_bytes=value("peak_gpu_bytes"),
        sections=sections,
    )


def _why_not(column: str, results: Sequence[Result], failed: Sequence[Result]) -> str:
    """Why a scene has no value of a column."""
    if not results:
        error = failed[0].record.error if failed else None
        return f"{failed[0].record.status}: {error.stage}: {error.message}" if error else "not run"
    name = column.removeprefix("metric ")
    reasons = [result.record.reasons[name] for result in results if name in result.record.reasons]
    return reasons[0] if reasons else _NOT_RECORDED


def _why_missing(column: str, scenes: Sequence[SceneEntry]) -> str:
    """Why a data set has no mean of a column, though every scene has a record."""
    name = column.removeprefix("metric ")
    without = [s for s in scenes if getattr(s, column, s.metrics.get(name, Value(None))).mean is None]
    reason = _why_not(column, without[0].results, without[0].failed) if without else _NOT_RECORDED
    return reason if len(without) in (0, len(scenes)) else f"{without[0].scene}: {reason}"


def _notes(members: Sequence[Result], good: Sequence[SceneEntry]) -> tuple[str, ...]:
    notes = []
    versions = {(r.record.method_info.version, r.record.method_info.digest) for r in members if r.record.status == "ok"}
    if len(versions) > 1:
        notes.append(f"from {len(versions)} versions of the plugin")
    counts = {len(scene.results) for scene in good}
    if len(counts) > 1:
        notes.append(f"{min(counts)} to {max(counts)} seeds per scene")
    hashes = {scene.scene for scene in good if len({r.record.scene_hash for r in scene.results}) > 1}
    if hashes:
        notes.append(f"input files differ between seeds on {', '.join(sorted(hashes))}")
    machines = {(e.cpu, e.gpu) for r in members if (e := r.record.environment) is not None}
    if len(machines) > 1:
        notes.append(f"times are from {len(machines)} kinds of machine")
    absent = sum(1 for scene in good for result in scene.results if result.artifact is None)
    if absent:
        notes.append(f"{absent} artifact{'' if absent == 1 else 's'} not published here")
    return tuple(notes)


def _weakest(results: Iterable[Result]) -> Trust:
    levels = [_TRUST_ORDER.index(result.provenance.trust) for result in results]
    return _TRUST_ORDER[min(levels, default=0)]


def _size(entry: Entry) -> float:
    """Bytes by which entries are in order; those without a mean by that of the scenes they have."""
    if entry.bytes.mean is not None:
        return entry.bytes.mean
    known = [scene.bytes.mean for scene in entry.scenes if scene.bytes.mean is not None]
    return sum(known) / len(known) if known else math.inf


def _with_ranks(entries: Sequence[Entry], metrics: Sequence[MetricColumn]) -> tuple[Entry, ...]:
    """The entries with `pareto` and `ties`, which say how they stand to each other."""
    pareto: dict[str, dict[str, bool]] = {entry.key: {} for entry in entries}
    ties: dict[str, dict[str, tuple[str, ...]]] = {entry.key: {} for entry in entries}
    for metric in metrics:
        front = _front(entries, metric)
        for entry in entries:
            pareto[entry.key][metric.name] = entry.key in front
    for name in ["bytes", *(metric.name for metric in metrics)]:
        ranked = sorted(
            ((value, entry) for entry in entries if (value := _value(entry, name)).mean is not None),
            key=lambda pair: (pair[0].mean, pair[1].key),
        )
        found: dict[str, list[str]] = {}
        for (a, first), (b, second) in itertools.pairwise(ranked):
            if within_spread(a, b):
                found.setdefault(first.key, []).append(second.key)
                found.setdefault(second.key, []).append(first.key)
        for entry in entries:
            ties[entry.key][name] = tuple(found.get(entry.key, ()))
    return tuple(replace(entry, pareto=pareto[entry.key], ties=ties[entry.key]) for entry in entries)


def _value(entry: Entry, name: str) -> Value:
    return entry.bytes if name == "bytes" else entry.metrics[name]


def _front(entries: Sequence[Entry], metric: MetricColumn) -> set[str]:
    """Keys of the entries that no other one is as small and as good as (and better in one of both)."""
    sign = 1.0 if metric.higher_is_better else -1.0
    points = sorted(
        (size, -sign * quality, entry.key)
        for entry in entries
        if (size := entry.bytes.mean) is not None and (quality := entry.metrics[metric.name].mean) is not None
    )
    front: set[str] = set()
    best, best_size = math.inf, math.inf
    for size, loss, key in points:
        if loss < best or (loss == best and size == best_size):
            front.add(key)
            best, best_size = loss, size
    return front
