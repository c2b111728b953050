"""Tables of plain text: aligned columns, nothing cut off, readable in a log and in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

#: What stands for a value that is not there.
MISSING = "—"


@dataclass(frozen=True)
class Column:
    """A heading and on which side its cells are aligned ("<" for text, ">" for numbers)."""

    title: str
    align: str = ">"


@dataclass(frozen=True)
class Row:
    """Cells in the order of the columns; the last may run over the rest of the line. `color` is for terminals."""

    cells: Sequence[str]
    color: str | None = None


def text_table(columns: Sequence[Column], rows: Sequence[Row], width: int = 100) -> str:
    """The table as lines.

    Columns are two spaces apart, or one if the table is wider than `width` otherwise. A row of fewer cells than
    columns has a message in its last cell, which no column's width follows.
    """
    sizes = [len(c.title) for c in columns]
    for row in rows:
        short = len(row.cells) < len(columns)
        for index, cell in enumerate(row.cells[:-1] if short else row.cells):
            sizes[index] = max(sizes[index], len(cell))
    gap = " " * (2 if sum(sizes) + 2 * (len(sizes) - 1) <= width else 1)

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell if len(cells) < len(columns) and index == len(cells) - 1 else f"{cell:{column.align}{size}}"
            for index, (cell, column, size) in enumerate(zip(cells, columns, sizes, strict=False))
        ]
        return gap.join(parts).rstrip()

    header = click.style(line([c.title for c in columns]), bold=True)
    body = [click.style(line(r.cells), fg=r.color) if r.color else line(r.cells) for r in rows]
    return "\n".join([header, *body])


def megabytes(count: int | None) -> str:
    """A number of bytes in MB (10^6), with two decimals, or four below 1 MB."""
    if count is None:
        return MISSING
    value = count / 1e6
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def number(value: float | None, digits: int) -> str:
    """`value` with `digits` decimals, or a dash."""
    return MISSING if value is None else f"{value:,.{digits}f}"
