"""``gsbench inspect``: where the bytes of an artifact went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.output import json_option, print_json, table_width
from gsbench.cli.tables import Column, Row, megabytes, text_table
from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.artifact import ArtifactReader

INSPECT_SCHEMA: Final = "gsbench.inspect/1"


@click.command("inspect")
@click.argument("artifact", type=click.Path(path_type=Path), metavar="FILE")
@json_option
def command(artifact: Path, as_json: bool) -> None:
    """Print the bytes of every section of an artifact. Their sum is the size of the file, which is the rate."""
    require_file(artifact)
    from gsbench.artifact import inspect_artifact, open_artifact

    parts = inspect_artifact(artifact)
    reader = open_artifact(artifact)
    if as_json:
        print_json(_as_json(reader, parts))
        return
    total = sum(count for _, count in parts)
    kinds = {section.name: (section.kind, section.coder) for section in reader.sections}
    rows = [
        Row([name, *kinds.get(name, ("", "")), f"{count:,}", f"{100 * count / total:.1f} %"]) for name, count in parts
    ]
    rows.append(Row(["total", "", "", f"{total:,}", ""]))
    columns = [Column("section", "<"), Column("kind", "<"), Column("coder", "<"), Column("bytes"), Column("share")]
    click.echo(f"{artifact}: {_what(reader)}, {megabytes(total)} MB")
    click.echo(f"sha256 {reader.sha256}\n")
    click.echo(text_table(columns, rows, table_width()))


def require_file(path: Path) -> None:
    """Check that `path` is a file.

    Raises:
        UsageError: if it is not.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected an artifact such as a .gsb or .ply file")
    if not path.is_file():
        raise UsageError(f"{path} is not a file; expected an artifact such as a .gsb or .ply file")


def _what(reader: ArtifactReader) -> str:
    if reader.is_native:
        return f"a native {reader.path.suffix} file"
    return f"an artifact of method {reader.method}"


def _as_json(reader: ArtifactReader, parts: list[tuple[str, int]]) -> dict[str, Any]:
    kinds = {section.name: {"kind": section.kind, "coder": section.coder} for section in reader.sections}
    return {
        "schema": INSPECT_SCHEMA,
        "path": str(reader.path),
        "bytes": reader.size,
        "sha256": reader.sha256,
        "native": reader.is_native,
        "method": reader.method,
        "header": reader.header,
        "sections": [{"name": name, "bytes": count, **kinds.get(name, {})} for name, count in parts],
    }
