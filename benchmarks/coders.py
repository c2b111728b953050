"""Entropy coders side by side, as a table; `benchmarks/coding.py` has the measurements."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import coding
from benchmarks.table import Settings, Table, using


def tables(settings: Settings) -> Iterator[Table]:
    table = Table(
        "coders",
        "Entropy coders",
        "Millions of symbols per second, one thread, making the tables included. Ratio: how many times as fast "
        "`range` is as the reference; coders that are not installed are left out.",
        ("bits per symbol", "encode M/s", "decode M/s", "reference", "encode ratio x", "decode ratio x", "bytes x"),
    )
    with using(1, settings.best_isa):
        measured = coding.coders(20_000 if settings.quick else 1_000_000)
    for row in measured:
        own = row["range"]
        speeds = (round(row["bits"], 2), own["encode"] / 1e6, own["decode"] / 1e6)
        others = [name for name in coding.OTHERS if name in row]
        for name in others:
            table.add(*speeds, name, *row[name]["range_is_faster"], row[name]["bytes"])
        if not others:
            table.add(*speeds, None, None, None, None)
    yield table
