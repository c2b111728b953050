"""``gsbench plugins``: what is installed, and why something is not used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.output import json_option, print_json, table_width, without_warnings
from gsbench.cli.tables import Column, Row, text_table

if TYPE_CHECKING:
    from gsbench.hooks import PluginStatus

PLUGINS_SCHEMA: Final = "gsbench.plugins/1"


@click.command("plugins")
@json_option
def command(as_json: bool) -> None:
    """List the methods and everything else that plugins supply.

    A plugin that cannot be used is a row with the reason. Nothing heavy is imported.
    """
    from gsbench.hooks import load_plugins

    with without_warnings("gsbench.hooks"):
        rows = load_plugins()
    if as_json:
        print_json({"schema": PLUGINS_SCHEMA, "plugins": [row.to_json() for row in rows]})
        return
    width = table_width()
    click.echo(_plugins(rows, width))
    click.echo("\n" + _methods(rows, width))
    others = _others(rows)
    if others:
        click.echo("\n" + others)


def _plugins(rows: list[PluginStatus], width: int) -> str:
    columns = [Column("plugin", "<"), Column("version", "<"), Column("status", "<"), Column("note", "<")]
    table = []
    for row in rows:
        notes = [*([row.reason] if row.reason else []), *row.warnings]
        color = {"ok": "yellow" if notes else None, "failed": "red"}.get(row.status, "yellow")
        table.append(Row([row.label, row.version, row.status, *(notes[:1] or [""])], color))
        table += [Row(["", "", "", note], color) for note in notes[1:]]
    return text_table(columns, table, width)


def _methods(rows: list[PluginStatus], width: int) -> str:
    columns = [Column(title, "<") for title in ("method", "kind", "base", "rates (* default)", "file", "summary")]
    table = [
        Row([m["name"], m["kind"], m["base"] or "", _rates(m), m["suffix"], m["summary"]])
        for row in rows
        for m in row.method_rows()
    ]
    if not table:
        return "No method is installed. In a checkout: pip install -c constraints.txt ./plugins/*"
    return text_table(columns, table, width)


def _rates(method: dict[str, Any]) -> str:
    names = [rate["name"] for rate in method["rates"]]
    if len(names) == 1:
        return str(names[0])
    return " ".join(f"{name}*" if name == method["default_rate"] else name for name in names)


def _others(rows: list[PluginStatus]) -> str:
    """Everything but methods, one kind a line."""
    kinds = {
        "data sets": "scenes",
        "metrics": "metrics",
        "protocols": "protocols",
        "entropy coders": "entropy_coders",
        "rasterizers": "rasterizers",
        "engines": "engines",
    }
    lines = []
    for title, field in kinds.items():
        names = [name for row in rows for name in getattr(row, field)]
        if names:
            lines.append(f"{title + ':':16}{', '.join(names)}")
    return "\n".join(lines)
