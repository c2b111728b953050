"""Numbers from publications: read from ``leaderboards/reported/*.csv``, never mixed with measured ones.

Columns: method, variant, dataset, psnr, ssim, lpips, bytes, gaussians, source, source_url. Cells may be empty except
method, dataset and source. ``bytes`` are whole bytes; sizes that a source gives in MB are taken as 10^6 bytes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gsbench import _files
from gsbench.errors import RecordError, UsageError
from gsbench.leaderboard.board import Reported

COLUMNS: Final = (
    "method",
    "variant",
    "dataset",
    "psnr",
    "ssim",
    "lpips",
    "bytes",
    "gaussians",
    "source",
    "source_url",
)
#: Names that publications use -> ours. Ours stand for themselves.
DATASET_NAMES: Final[Mapping[str, str]] = {
    "MipNeRF360": "mipnerf360",
    "Mip-NeRF360": "mipnerf360",
    "TanksAndTemples": "tandt",
    "DeepBlending": "db",
    "SyntheticNeRF": "nerf_synthetic",
    "BungeeNeRF": "bungee",
}
#: Where well-known sources are found.
SOURCE_URLS: Final[Mapping[str, str]] = {
    "3DGS.zip survey": "https://w-m.github.io/3dgs-compression-survey/",
    "gsplat repository CSV": "https://github.com/nerfstudio-project/gsplat",
}
#: What a survey's table may have instead of our columns: column -> factor to our unit.
_SIZES: Final[Mapping[str, float]] = {"bytes": 1.0, "size_mb": 1e6, "size [bytes]": 1.0, "size": 1.0}
_COUNTS: Final[Mapping[str, float]] = {"gaussians": 1.0, "gaussians_k": 1e3, "#gaussians": 1.0}
_RANGES: Final[Mapping[str, tuple[float, float]]] = {"psnr": (0.0, 100.0), "ssim": (-1.0, 1.0), "lpips": (0.0, 2.0)}
_MAX_BYTES: Final = 16 * 2**20


def read_reported(paths: Iterable[Path]) -> list[Reported]:
    """Rows of CSV files, or of the CSV files in folders; by data set, then in the order of the files.

    Raises:
        UsageError: if a path does not exist.
        RecordError: if a row is malformed, or given twice; the message names file and line.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist; expected a .csv file of reported numbers, or a folder of them")
        files += sorted(path.glob("*.csv")) if path.is_dir() else [path]
    rows: list[Reported] = []
    taken: dict[tuple[str, ...], str] = {}
    for file in files:
        for line, row in _read(file):
            key = (row.method, row.variant, row.dataset, row.source)
            where = f"{file}, line {line}"
            if key in taken:
                raise RecordError(f"{where}: {' '.join(filter(None, key))} was given before, at {taken[key]}")
            taken[key] = where
            rows.append(row)
    return sorted(rows, key=lambda row: row.dataset)


def _read(path: Path) -> list[tuple[int, Reported]]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RecordError(f"{path}: larger than {_MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from None
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        lines = [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        raise RecordError(f"{path}, line {reader.line_num}: not CSV: {error}") from None
    if not lines:
        raise RecordError(f"{path}: empty; expected a line of column names")
    names = [name.strip().lower() for name in lines[0][1]]
    known = {*COLUMNS, *_SIZES, *_COUNTS}
    unknown = [name for name in names if name not in known]
    missing = [name for name in ("method", "dataset", "source") if name not in names]
    if unknown or missing or len(set(names)) < len(names):
        what = (
            f"unknown column {unknown[0]!r}"
            if unknown
            else f"no column {missing[0]!r}"
            if missing
            else "a column twice"
        )
        raise RecordError(f"{path}: {what}; expected {', '.join(COLUMNS)}")
    found = []
    for number, cells in lines[1:]:
        where = f"{path}, line {number}"
        if len(cells) != len(names):
            raise RecordError(f"{where}: {len(cells)} cells, expected {len(names)}")
        found.append((number, _row(where, dict(zip(names, (cell.strip() for cell in cells), strict=True)))))
    return found


def _row(where: str, cells: Mapping[str, str]) -> Reported:
    for name in ("method", "dataset", "source"):
        if not cells[name]:
            raise RecordError(f"{where}: {name} is empty; a number without it says nothing")
    size = _scaled(where, cells, _SIZES)
    count = _scaled(where, cells, _COUNTS)
    values = {name: _number(where, name, cells.get(name, "")) for name in _RANGES}
    for name, value in values.items():
        low, high = _RANGES[name]
        if value is not None and not low <= value <= high:
            raise RecordError(f"{where}: {name} is {value}, expected {low:g} to {high:g}")
    if size is None and all(value is None for value in values.values()):
        raise RecordError(f"{where}: no number at all")
    return Reported(
        method=cells["method"],
        variant=cells.get("variant", ""),
        dataset=DATASET_NAMES.get(cells["dataset"], cells["dataset"]),
        psnr=values["psnr"],
        ssim=values["ssim"],
        lpips=values["lpips"],
        megabytes=None if size is None else size / 1e6,
        gaussians=None if count is None else round(count),
        source=cells["source"],
        source_url=cells.get("source_url", "") or SOURCE_URLS.get(cells["source"], ""),
    )


def _scaled(where: str, cells: Mapping[str, str], factors: Mapping[str, float]) -> float | None:
    for name, factor in factors.items():
        value = _number(where, name, cells.get(name, ""))
        if value is not None:
            if value <= 0:
                raise RecordError(f"{where}: {name} is {value:g}, expected more than 0")
            return float(round(value * factor))
    return None


def _number(where: str, name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RecordError(f"{where}: {name} is {text!r}, expected a number or nothing")
    return value


def write_reported(rows: Sequence[Reported], path: Path) -> None:
    """Write rows in our columns.

    Raises:
        StoreError: if the file cannot be written.
    """
    with _files.atomic_file(path) as file:
        file.write(reported_csv(rows).encode("utf-8"))


def reported_csv(rows: Sequence[Reported]) -> str:
    """Rows as the text of a CSV file; `read_reported` gives them back."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        size = "" if row.megabytes is None else round(row.megabytes * 1e6)
        numbers = ["" if value is None else repr(value) for value in (row.psnr, row.ssim, row.lpips)]
        count = "" if row.gaussians is None else row.gaussians
        writer.writerow([row.method, row.variant, row.dataset, *numbers, size, count, row.source, row.source_url])
    return out.getvalue()
