"""Results on stdout."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def without_warnings(name: str) -> Iterator[None]:
    """Keep the warnings of the logger `name` from stderr, for verbs whose output says the same."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
