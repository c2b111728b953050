"""Results on stdout."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import click

#: Width of a table that is written to a file or a pipe.
WIDE = 160

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def print_json(value: Any) -> None:
    """Print `value` as JSON, indented, without NaN or infinities.

    Raises:
        ValueError: if there is one.
    """
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def table_width() -> int:
    """Columns that a table may take: those of the terminal, or plenty."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
