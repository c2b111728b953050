"""Boards as the data of pages: plain values, short keys, numbers with as many digits as any page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from gsbench.leaderboard.board import BdRate, Entry, Result, SceneEntry, Section, Value
from gsbench.leaderboard.site.names import href, number, packed, slug
from gsbench.records import Environment

#: Quantities beside the metrics, in the order in which rows have them.
QUANTITIES: Final = (
    "bytes",
    "gaussians",
    "anchors",
    "train_seconds",
    "encode_seconds",
    "decode_seconds",
    "fps",
    "peak_host_bytes",
    "peak_gpu_bytes",
)


def section_data(section: Section) -> dict[str, Any]:
    """What a section's page shows."""
    places = {entry.key: place for place, entry in enumerate(section.entries)}
    curves = {curve: place for place, curve in enumerate(section.curves)}
    return {
        "protocol": section.protocol,
        "dataset": section.dataset_title,
        "metrics": metrics_data(section),
        "scenes": [{"name": scene, "href": scene_page(section, scene)} for scene in section.scenes],
        "curves": list(section.curves),
        "anchor": None if section.anchor is None else curves[section.anchor],
        "base": [places[key] for key in section.base_entries if key in places],
        "entries": [_entry(entry, section, places, curves) for entry in section.entries],
        "bd": [_bd(bd, section, curves) for bd in section.bd_rates],
    }


def metrics_data(section: Section) -> list[dict[str, Any]]:
    """The metrics of a section; `has` says whether any row has a value, `why` is a reason for those that none has."""
    found = []
    for metric in section.metrics:
        values = [entry.metrics[metric.name] for entry in section.entries if metric.name in entry.metrics]
        reasons = [
            of.metrics[metric.name].reason
            for entry in section.entries
            for of in entry.scenes
            if metric.name in of.metrics and of.metrics[metric.name].reason is not None
        ]
        # A mean over the data set may be missing where scenes have values.
        any_scene = any(
            of.metrics[metric.name].mean is not None
            for entry in section.entries
            for of in entry.scenes
            if metric.name in of.metrics
        )
        found.append(
            {
                "name": metric.name,
                "title": metric.title,
                "unit": metric.unit,
                "up": metric.higher_is_better,
                "digits": metric.digits,
                "text": metric.description,
                "has": any_scene or any(value.mean is not None for value in values),
                "why": reasons[0] if reasons else "",
            }
        )
    return found


def scene_page(section: Section, scene: str) -> str:
    """Address of a scene's page, relative to its section's."""
    return href(f"{slug(scene)}.html")


def _entry(entry: Entry, section: Section, places: Mapping[str, int], curves: Mapping[str, int]) -> dict[str, Any]:
    row = {
        "key": entry.key,
        "label": entry.label,
        "method": entry.method,
        "rate": entry.rate,
        "variant": entry.variant,
        "curve": curves[entry.curve],
        "href": href(f"methods/{slug(entry.method)}.html"),
        "n": entry.scenes_present,
        "of": entry.scenes_needed,
        "seeds": list(entry.seeds),
        "trust": entry.trust,
        "q": _quantities(entry),
        "m": {name: packed(value) for name, value in entry.metrics.items()},
        "pareto": [name for name, on in entry.pareto.items() if on],
        # Indices of rows instead of keys.
        "ties": {name: [places[key] for key in keys if key in places] for name, keys in entry.ties.items() if keys},
        "iterations": entry.iterations,
        "perScene": list(entry.per_scene_settings),
        "pretrained": entry.pretrained,
        "notes": list(entry.notes),
    }
    if len(section.scenes) > 1:
        order = {scene: place for place, scene in enumerate(section.scenes)}
        row["s"] = {
            order[of.scene]: {
                "q": _quantities(of),
                "m": {name: packed(value) for name, value in of.metrics.items()},
            }
            for of in entry.scenes
            if of.results
        }
    return row


def _quantities(of: Entry | SceneEntry) -> list[Any]:
    """The values of `QUANTITIES`; what nothing has is null."""
    found = []
    for name in QUANTITIES:
        value: Value = getattr(of, name)
        found.append(None if value.mean is None and not value.reason else packed(value))
    return found


def _bd(bd: BdRate, section: Section, curves: Mapping[str, int]) -> dict[str, Any]:
    return {
        "c": curves[bd.curve],
        "a": curves[bd.anchor],
        "m": bd.metric,
        "v": number(bd.percent),
        "why": bd.reason or "",
        "n": bd.scenes_present,
        "of": bd.scenes_needed,
        "care": list(bd.cautions),
        "s": [
            [
                of.scene,
                number(of.percent),
                of.reason or "",
                [number(end) for end in of.overlap] if of.overlap is not None else None,
                number(of.overlap_share),
                of.points,
                of.anchor_points,
                of.dropped + of.anchor_dropped,
            ]
            for of in bd.scenes
        ],
    }


class Downloads:
    """Which files of records are in the site: record name -> address, relative to the site's root."""

    def __init__(self) -> None:
        self.artifacts: dict[str, str] = {}
        self.records: dict[str, str] = {}


def scene_data(
    section: Section, scene: str, downloads: Downloads, images: Mapping[str, Any], viewer: Mapping[str, Any]
) -> dict[str, Any]:
    """What a scene's page shows."""
    curves = {curve: place for place, curve in enumerate(section.curves)}
    environments = _Numbered()
    shown = [int(view["index"]) for view in images["views"]]
    entries = []
    for entry in section.entries:
        for of in entry.scenes:
            if of.scene != scene:
                continue
            entries.append(
                {
                    "key": entry.key,
                    "label": entry.label,
                    "method": entry.method,
                    "curve": curves[entry.curve],
                    "href": href(f"methods/{slug(entry.method)}.html"),
                    "iterations": entry.iterations,
                    "q": _quantities(of),
                    "m": {name: packed(value) for name, value in of.metrics.items()},
                    "render": packed(of.render_ms),
                    "parts": [[name, number(size)] for name, size in of.sections.items()],
                    "results": [_result(result, downloads, environments, shown) for result in of.results],
                    "failed": [_failed(result, downloads) for result in of.failed],
                }
            )
    return {
        "section": section.slug,
        "scene": scene,
        "curves": list(section.curves),
        "metrics": metrics_data(section),
        "entries": entries,
        "environments": environments.values,
        "images": images,
        "viewer": viewer,
    }


class _Numbered:
    """Environments, each once."""

    def __init__(self) -> None:
        self.values: list[dict[str, Any]] = []
        self._places: dict[str, int] = {}

    def place(self, environment: Environment | None) -> int | None:
        if environment is None:
            return None
        text = environment.model_dump_json()
        if text not in self._places:
            self._places[text] = len(self.values)
            self.values.append({k: v for k, v in environment.model_dump(mode="json").items() if v is not None})
        return self._places[text]


def _result(result: Result, downloads: Downloads, environments: _Numbered, shown: Sequence[int]) -> dict[str, Any]:
    provenance, record = result.provenance, result.record
    verification = provenance.verification
    return {
        "name": result.name,
        "seed": result.seed,
        "trust": provenance.trust,
        "artifact": downloads.artifacts.get(result.name),
        "suffix": PurePosixPath(record.artifact).suffix if record.artifact else "",
        "bytes": record.bytes,
        "sha": provenance.artifact_sha256,
        "checked": provenance.artifact_checked,
        "decoded": provenance.decoded_sha256,
        "scene": provenance.scene_hash,
        "recordSha": provenance.record_sha256,
        "record": downloads.records.get(result.name),
        "env": environments.place(provenance.environment),
        "commit": provenance.commit,
        "plugin": [provenance.distribution, provenance.version, provenance.digest],
        "isolation": provenance.isolation,
        "rerun": result.rerun,
        "resumed": record.resumed,
        "views": [
            {name: number(value) for name, value in record.views[index].metrics.items() if value is not None}
            for index in shown
            if index < len(record.views)
        ],
        "verified": None
        if verification is None
        else {
            "gsbench": verification.gsbench,
            "env": environments.place(verification.environment),
            "differences": {name: number(value) for name, value in verification.differences.items()},
        },
    }


def _failed(result: Result, downloads: Downloads) -> dict[str, Any]:
    error = result.record.error
    return {
        "seed": result.seed,
        "name": result.name,
        "record": downloads.records.get(result.name),
        "status": result.record.status,
        "stage": error.stage if error is not None else "",
        "message": error.message if error is not None else "",
        "rerun": result.rerun,
    }
