"""``gsbench plugins``: what is installed, and why something is not used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.output import json_option, print_json, table_width, without_warnings
from gsbench.cli.tables import MISSING, Column, Row, text_table
from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.hooks import PluginStatus
    from gsbench.methods import MethodSpec

PLUGINS_SCHEMA: Final = "gsbench.plugins/1"
METHOD_SCHEMA: Final = "gsbench.method/1"


@click.command("plugins")
@click.argument("method", required=False)
@click.option("--rate", metavar="NAME", help="With METHOD: the settings at this rate point. [default: its default one]")
@json_option
def command(as_json: bool, method: str | None, rate: str | None) -> None:
    """List the methods and everything else that plugins supply, or the settings of METHOD.

    \b
    gsbench plugins
    gsbench plugins hac --rate 0.004

    A plugin that cannot be used is a row with the reason. Without METHOD, nothing heavy is imported. Settings are
    changed with --set METHOD.setting=value; those of the stage "encode" train nothing anew.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    from gsbench.hooks import load_plugins

    if method is not None:
        _method(method, rate, as_json)
        return
    if rate is not None:
        raise UsageError("--rate goes with the name of a method: gsbench plugins METHOD --rate NAME")

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


def _method(name: str, rate: str | None, as_json: bool) -> None:
    """Print what is known of a method, and its settings."""
    from dataclasses import asdict

    from gsbench import registry
    from gsbench.bench.settings import list_settings, resolve_config
    from gsbench.hooks import load_plugins, method_class, method_origin

    load_plugins()
    spec: MethodSpec = registry.methods.get(name)
    distribution, version = method_origin(name)
    cls = method_class(name).Config
    point = spec.rate(rate or "default")
    settings = list_settings(cls, resolve_config(name, cls, point.settings, []))
    row = next(m for status in load_plugins() for m in status.method_rows() if m["name"] == name)
    if as_json:
        print_json(
            {
                "schema": METHOD_SCHEMA,
                **row,
                "distribution": distribution,
                "version": version,
                "rate": point.name,
                "settings": [asdict(setting) for setting in settings],
            }
        )
        return
    click.echo(f"{name}: {spec.summary} ({distribution} {version})")
    facts = {"paper": spec.paper, "kind": spec.kind, "base": spec.base, "rates": _rates(row), "file": spec.suffix}
    for title, value in facts.items():
        if value:
            click.echo(f"  {title + ':':8}{value}")
    click.echo(f"\nSettings at rate point {point.name}; to change one: --set {name}.SETTING=VALUE\n")
    columns = [Column(title, "<") for title in ("setting", "type", "value", "stage", "what it is")]
    table = [Row([s.name, s.type, _value(s.default), s.stage, s.help]) for s in settings]
    click.echo(text_table(columns, table, table_width()))


def _value(value: Any) -> str:
    """A setting's value as one would type it."""
    if isinstance(value, list):
        return ",".join(map(_value, value)) or MISSING
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'


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
