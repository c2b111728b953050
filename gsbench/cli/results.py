"""What ``gsbench run`` ends with: the table, its footnotes, the folder and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gsbench.cli.tables import MISSING, Column, Row, megabytes, number, text_table

if TYPE_CHECKING:
    from gsbench.records import Record

#: Column -> (metric of the record, decimals).
METRICS: Final = {"PSNR": ("psnr", 2), "SSIM": ("ssim", 4), "LPIPS": ("lpips_vgg", 4)}

RUN_OUTPUT_SCHEMA: Final = "gsbench.run/1"


def run_output(records: Sequence[Record], out: Path) -> dict[str, Any]:
    """What ``run --json`` prints: ``{schema, records}``. Paths are absolute here, so that they can be opened as they
    are; in the record files they are relative to the results folder.
    """
    listed = []
    for record in records:
        fields = record.model_dump(mode="json", by_alias=True)
        if fields["artifact"] is not None:
            fields["artifact"] = str(_absolute(out, fields["artifact"]))
        if fields["error"] is not None and fields["error"]["log"] is not None:
            fields["error"]["log"] = str(_absolute(out, fields["error"]["log"]))
        listed.append(fields)
    return {"schema": RUN_OUTPUT_SCHEMA, "records": listed}


def run_report(records: Sequence[Record], out: Path, width: int = 100) -> str:
    """The text that ends a run. Results of different protocols are never in one table."""
    parts = []
    ordered = sorted(records, key=lambda r: r.protocol.id)
    for protocol, group in groupby(ordered, key=lambda r: r.protocol.id):
        parts.append(f"Held-out views, protocol {protocol}; MB: 10^6 bytes on disk; train, encode, decode: seconds\n")
        parts.append(_table(list(group), out, width))
    notes = _footnotes(records)
    if notes:
        parts.append("\n" + "\n".join(notes))
    parts.append(f"\nRecords: {out}")
    following = _next_command(records, out)
    if following is not None:
        parts.append(f"Next:    {following}")
    return "\n".join(parts)


def _table(records: Sequence[Record], out: Path, width: int) -> str:
    seeds = any(r.seed for r in records)
    columns = [Column("method", "<"), Column("scene", "<"), Column("rate", "<")]
    if seeds:
        columns.append(Column("seed"))
    columns += [Column("MB"), *(Column(title) for title in METRICS), Column("Gaussians")]
    columns += [Column("train"), Column("encode"), Column("decode"), Column("FPS")]
    rows = []
    for record in records:
        cells = [record.method, _scene(record), record.rate]
        if seeds:
            cells.append(str(record.seed))
        if record.status == "ok":
            cells += _numbers(record)
            rows.append(Row(cells))
        else:
            rows.append(Row([*cells, _failure(record, out)], color="red" if record.status == "failed" else "yellow"))
    return text_table(columns, rows, width)


def _numbers(record: Record) -> list[str]:
    seconds = record.seconds
    return [
        megabytes(record.bytes),
        *(number(record.metrics.get(metric), digits) for metric, digits in METRICS.values()),
        number(record.gaussians, 0),
        number(seconds.train, 1),
        number(seconds.encode, 1),
        number(seconds.decode, 1),
        MISSING if record.render_ms is None else number(1000.0 / record.render_ms.median, 0),
    ]


def _failure(record: Record, out: Path) -> str:
    if record.error is None:
        return record.status
    first = record.error.message.strip().splitlines()
    text = f"{record.status} in {record.error.stage}: {first[0] if first else 'no message'}"
    if record.error.log is not None:
        text += f" (log: {_shown(out, record.error.log)})"
    return text


def _scene(record: Record) -> str:
    return record.scene if record.scene == record.dataset else f"{record.dataset}/{record.scene}"


def _footnotes(records: Sequence[Record]) -> list[str]:
    """Why a column shows a dash, once per reason, and which models of the user's own were started from."""
    found = {}
    for record in records:
        for title, (metric, _) in METRICS.items():
            if metric in record.reasons and record.metrics.get(metric) is None:
                found[title, record.reasons[metric]] = f"{MISSING} {title}: {record.reasons[metric]}"
        if record.base is not None and record.base.own:
            line = (
                f"{record.method} on {_scene(record)} starts from {record.base.name}, sha256 {record.base.sha256[:16]}"
            )
            found["base", line] = line
    return list(found.values())


def _next_command(records: Sequence[Record], out: Path) -> str | None:
    """What to look at now: the log of the first failure, else the first artifact."""
    for record in records:
        if record.status == "failed" and record.error is not None and record.error.log is not None:
            return f"less {shlex.quote(str(_shown(out, record.error.log)))}"
    for record in records:
        if record.artifact is not None:
            return f"gsbench inspect {shlex.quote(str(_shown(out, record.artifact)))}"
    return None


def _shown(out: Path, relative: str) -> Path:
    """A path of a record, as one would type it from here."""
    return out / relative


def _absolute(out: Path, relative: str) -> Path:
    return (out / relative).absolute()
