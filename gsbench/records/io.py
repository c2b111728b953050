"""Record files: written whole or not at all, and checked when they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from gsbench import _files
from gsbench.errors import StoreError, UsageError
from gsbench.records.record import RECORD_SCHEMA, Record

#: Larger files are no records: one with a thousand views has half a megabyte.
_MAX_BYTES: Final = 64 * 2**20


def record_to_json(record: Record) -> str:
    """The text of a record file: the model's order of fields (``schema`` first), one space of indentation, and a
    newline at the end. Equal records have equal text.
    """
    return to_json(record.model_dump(mode="json", by_alias=True))


def record_from_json(text: str | bytes) -> Record:
    """Inverse of `record_to_json`. Types are taken as they are: a number in quotes is not a number.

    Raises:
        StoreError: if the text is not a record; the message says which field, and what was expected.
    """
    try:
        # An object of pairs would silently keep the last of two equal keys.
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise StoreError(f"expected an object with schema {RECORD_SCHEMA!r}, got {type(value).__name__}")
    if value.get("schema") != RECORD_SCHEMA:
        raise StoreError(f"schema is {value.get('schema')!r}, this gsbench reads {RECORD_SCHEMA!r}")
    try:
        return Record.model_validate(value, strict=True, by_name=False)
    except ValidationError as error:
        raise StoreError(_describe(error)) from None


def write_record(path: str | os.PathLike[str], record: Record) -> None:
    """Write a record file under a temporary name and rename it; missing folders are made.

    Raises:
        StoreError: if the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    with _files.atomic_file(path) as file:
        file.write(record_to_json(record).encode("utf-8"))


def read_record(path: str | os.PathLike[str]) -> Record:
    """Read a record file.

    Raises:
        UsageError: if there is no such file.
        StoreError: if it cannot be read or is not a record; the message says which field, and what was expected.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UsageError(f"{path}: no such record; expected a .json file")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise StoreError(f"{path}: {size} bytes, expected a record of at most {_MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return record_from_json(data)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None


def to_json(value: Any) -> str:
    """JSON as gsbench writes it to files: indentation of one space, UTF-8 as it is, a newline at the end."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _describe(error: ValidationError) -> str:
    """The first problem of a validation in one line, with the number of others."""
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    place = ".".join(str(part) for part in first["loc"])
    text = f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")
    value = first["input"]
    if place and not isinstance(value, dict | list):
        text += f", got {value!r:.80}"
    return text + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
