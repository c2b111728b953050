"""A board as files that other programs and papers take: CSV, JSON, Markdown, LaTeX.

    <out>/<section>.csv                                  every entry, its scenes and its mean, all columns
    <out>/<section>.md, <section>.tex                    the table of means
    <out>/<section>/<curve>.json                         rate-distortion curves as CompressAI keeps them
    <out>/<section>/3dgs-zip/<curve>/<DataSet>/<scene>.csv   as the 3DGS.zip survey asks authors for
    <out>/reported.csv                                   numbers of publications, apart from measured ones

The same board gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gsbench import _files
from gsbench.errors import StoreError
from gsbench.leaderboard.board import Board, Entry, SceneEntry, Section, Value
from gsbench.leaderboard.reported import reported_csv
from gsbench.leaderboard.tables import latex_table, markdown_table
from gsbench.records.io import to_json

#: Columns of the files that the 3DGS.zip survey (w-m/3dgs-compression-survey) reads from authors' repositories.
SURVEY_COLUMNS: Final = ("Submethod", "PSNR", "SSIM", "LPIPS", "Size [Bytes]", "#Gaussians")
#: Its metrics are those of the original 3DGS code's metrics.py, which scores 8-bit images: LPIPS of inputs in [0, 1].
SURVEY_METRICS: Final = ("psnr", "ssim", "lpips_vgg_raw")
#: Its names of the data sets.
SURVEY_DATASETS: Final[Mapping[str, str]] = {
    "mipnerf360": "MipNeRF360",
    "tandt": "TanksAndTemples",
    "db": "DeepBlending",
    "nerf_synthetic": "SyntheticNeRF",
}

#: Columns of the full table that are neither sizes nor metrics.
_NUMBERS: Final = ("gaussians", "anchors", "train_seconds", "encode_seconds", "decode_seconds", "fps")


def write_exports(board: Board, folder: Path) -> list[Path]:
    """Write all exports of a board below `folder`, which is created; the paths, sorted.

    Raises:
        StoreError: if a file cannot be written.
    """
    written = []
    for name, text in sorted(export_files(board).items()):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
        with _files.atomic_file(path) as file:
            file.write(text.encode("utf-8"))
        written.append(path)
    return written


def export_files(board: Board) -> dict[str, str]:
    """Name relative to the exports' folder -> text."""
    found: dict[str, str] = {}
    for section in board.sections:
        found[f"{section.slug}.csv"] = table_csv(section)
        found[f"{section.slug}.md"] = markdown_table(section)
        found[f"{section.slug}.tex"] = latex_table(section)
        for name, text in (*curve_json(section).items(), *survey_csv(section).items()):
            found[f"{section.slug}/{name}"] = text
    if board.reported:
        found["reported.csv"] = reported_csv(board.reported)
    return found


def table_csv(section: Section) -> str:
    """Every entry of a section: one row per scene, then one for the mean over the data set (scene ``*``).

    Spreads are sample standard deviations over seeds. A cell is empty where there is no number; ``note`` says why.
    ``ties`` names the metrics in which the neighboring entry is within the spread.
    """
    metrics = [metric.name for metric in section.metrics]
    head = ["protocol", "protocol_hash", "dataset", "scene", "method", "rate", "variant", "iterations"]
    head += ["scenes", "seeds", "bytes", "bytes_spread"]
    for name in (*metrics, *_NUMBERS):
        head += [name, f"{name}_spread"]
    head += ["peak_host_bytes", "peak_gpu_bytes", "pretrained", "per_scene_settings", "trust", "pareto", "ties"]
    head += ["artifact_sha256", "note"]
    rows = []
    for entry in section.entries:
        rows += [_table_row(section, entry, scene, metrics) for scene in (*entry.scenes, None)]
    return _csv([head, *rows])


def _table_row(section: Section, entry: Entry, scene: SceneEntry | None, metrics: Sequence[str]) -> list[str]:
    shown = entry if scene is None else scene
    seeds = entry.seeds if scene is None else tuple(result.seed for result in scene.results)
    variant = [entry.method, entry.rate, entry.variant, "" if entry.iterations is None else str(entry.iterations)]
    row = [section.protocol, section.protocol_hash, section.dataset, "*" if scene is None else scene.scene, *variant]
    row += [f"{entry.scenes_present}/{entry.scenes_needed}", " ".join(map(str, seeds)), *_pair(shown.bytes)]
    for name in metrics:
        row += _pair(shown.metrics[name])
    for name in _NUMBERS:
        row += _pair(getattr(shown, name))
    row += [_pair(shown.peak_host_bytes)[0], _pair(shown.peak_gpu_bytes)[0], str(entry.pretrained).lower()]
    row += [" ".join(entry.per_scene_settings), entry.trust]
    if scene is None:
        row += [" ".join(name for name, front in entry.pareto.items() if front)]
        row += [" ".join(name for name, others in entry.ties.items() if others), ""]
    else:
        row += ["", "", " ".join(str(result.record.sha256) for result in scene.results)]
    reasons = dict.fromkeys(v.reason for v in (shown.bytes, *shown.metrics.values()) if v.reason is not None)
    return [*row, "; ".join([*reasons, *(entry.notes if scene is None else ())])]


def _pair(value: Value) -> list[str]:
    return [_number(value.mean), _number(value.spread)]


def _number(value: float | None) -> str:
    """A number without loss; whole ones without a point."""
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def curve_json(section: Section) -> dict[str, str]:
    """Name -> JSON of each curve's rate points, ascending, in the form of CompressAI's results: ``{name, description,
    results: {metric: [...]}}``. In place of ``bpp``, which a set of splats has not, stand ``bytes`` (and ``mb``).
    Entries that lack a scene are left out.
    """
    found = {}
    names = _file_names(section.curves)
    for curve in section.curves:
        entries = [entry for entry in section.entries if entry.curve == curve and entry.complete]
        if not entries:
            continue
        results: dict[str, Any] = {
            "bytes": [entry.bytes.mean for entry in entries],
            "mb": [entry.megabytes for entry in entries],
            **{metric.name: [entry.metrics[metric.name].mean for entry in entries] for metric in section.metrics},
            "encoding_time": [entry.encode_seconds.mean for entry in entries],
            "decoding_time": [entry.decode_seconds.mean for entry in entries],
        }
        scenes = f"{len(section.scenes)} scene{'' if len(section.scenes) == 1 else 's'}"
        value = {
            "name": curve,
            "description": f"{section.dataset} ({scenes}), protocol {section.protocol}, measured by gsbench",
            "meta": {
                "protocol_hash": section.protocol_hash,
                "rates": [entry.rate for entry in entries],
                "seeds": [list(entry.seeds) for entry in entries],
            },
            "results": results,
        }
        found[f"{names[curve]}.json"] = to_json(value)
    return found


def survey_csv(section: Section) -> dict[str, str]:
    """Name -> text of the per-scene files that the 3DGS.zip survey collects, one folder per curve.

    The survey shows up to two named submethods in its table and the others in its plots: a single rate point is
    called ``Baseline``; of several, the smallest and the largest keep their names.
    """
    found = {}
    names = _file_names(section.curves)
    dataset = SURVEY_DATASETS.get(section.dataset, section.dataset)
    for curve in section.curves:
        entries = [entry for entry in section.entries if entry.curve == curve]
        for scene in section.scenes:
            rows = [
                _survey_row(_submethod(index, len(entries), entry), found_scene)
                for index, entry in enumerate(entries)
                for found_scene in entry.scenes
                if found_scene.scene == scene and found_scene.results
            ]
            if rows:
                found[f"3dgs-zip/{names[curve]}/{dataset}/{scene}.csv"] = _csv([list(SURVEY_COLUMNS), *rows])
    return found


def _submethod(index: int, count: int, entry: Entry) -> str:
    if count == 1:
        return "Baseline"
    return f"-{entry.rate}" if index in (0, count - 1) else ""


def _survey_row(name: str, scene: SceneEntry) -> list[str]:
    metrics = [_number(scene.metrics[metric].mean) if metric in scene.metrics else "" for metric in SURVEY_METRICS]
    whole = ["" if value.mean is None else str(round(value.mean)) for value in (scene.bytes, scene.gaussians)]
    return [name, *metrics, *whole]


def _csv(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _file_names(names: Sequence[str]) -> dict[str, str]:
    """Each name as that of a file; those that would be equal get a number."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = base = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "method"
        count = 1
        while plain.lower() in taken:
            count += 1
            plain = f"{base}-{count}"
        taken.add(plain.lower())
        found[name] = plain
    return found
