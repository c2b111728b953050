"""What lies beside published records: ``SHA256SUMS`` at the root of a board, and what ``gsbench verify`` notes.

``SHA256SUMS`` lists every record, artifact and note of a board in the format of ``sha256sum``, sorted by name. A record
whose hash is not the one listed was changed after it was published, however consistent it is in itself; an artifact
that is not listed is not published with its record (it may be large).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gsbench import _files
from gsbench.errors import RecordError
from gsbench.leaderboard.board import Verification
from gsbench.records import Environment
from gsbench.records.io import to_json

SUMS_FILE: Final = "SHA256SUMS"
#: Ends the name of the note that says how a record was verified: ``low.json`` has ``low.verified.json``.
VERIFIED_SUFFIX: Final = ".verified.json"

_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *](\S(?:.*\S)?)")
_MAX_BYTES: Final = 64 * 2**20


def read_sums(root: Path) -> dict[str, str] | None:
    """Name relative to the board -> SHA-256, from its ``SHA256SUMS``; None if it has none.

    Raises:
        RecordError: if the file is malformed; the message names the line.
    """
    path = root / SUMS_FILE
    if not path.is_file():
        return None
    found: dict[str, str] = {}
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RecordError(f"{path}: larger than {_MAX_BYTES} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in found or not is_inside(match[2]):
            raise RecordError(f"{path}, line {number}: expected '<sha256>  <name>', each name once, got {line!r:.120}")
        found[match[2]] = match[1]
    return found


def write_sums(root: Path, sums: Mapping[str, str]) -> None:
    """Write the ``SHA256SUMS`` of a board.

    Raises:
        StoreError: if it cannot be written.
    """
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    with _files.atomic_file(root / SUMS_FILE) as file:
        file.write(text.encode("utf-8"))


def is_inside(name: str) -> bool:
    """Whether a relative name, with forward slashes, stays inside its folder."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and "\\" not in name and ".." not in parts


class VerificationNote(BaseModel):
    """``<rate>[.seed].verified.json``: a record was checked by `gsbench.leaderboard.verify`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: Literal["gsbench.verification/1"] = "gsbench.verification/1"
    status: Literal["decoded", "reproduced"]
    record_sha256: str
    artifact_sha256: str
    gsbench: str
    environment: Environment
    differences: dict[str, float]
    tolerances: dict[str, float]


def note_path(record: Path) -> Path:
    """Where the note of a record file is."""
    return record.with_name(record.name.removesuffix(".json") + VERIFIED_SUFFIX)


def write_note(record: Path, note: VerificationNote) -> Path:
    """Write the note of a record file, and return its path.

    Raises:
        StoreError: if it cannot be written.
    """
    path = note_path(record)
    value: dict[str, Any] = {"schema": note.schema_, **note.model_dump(mode="json", exclude={"schema_"})}
    with _files.atomic_file(path) as file:
        file.write(to_json(value).encode("utf-8"))
    return path


def read_note(record: Path, record_sha256: str, artifact_sha256: str | None) -> Verification | None:
    """The note of a record file, None if there is none.

    Args:
        record: path of the record.
        record_sha256, artifact_sha256: what the note must be about.

    Raises:
        RecordError: if it is malformed, or about another record or artifact.
    """
    path = note_path(record)
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_bytes())
        if not isinstance(value, dict) or value.get("schema") != "gsbench.verification/1":
            raise RecordError(f"{path}: expected an object with schema 'gsbench.verification/1'")
        note = VerificationNote.model_validate({"schema_": value.pop("schema"), **value})
    except (OSError, ValueError, ValidationError) as error:
        text = str(error).splitlines()[0]
        raise RecordError(f"{path}: not a note of gsbench verify: {text}") from None
    if note.record_sha256 != record_sha256 or note.artifact_sha256 != artifact_sha256:
        raise RecordError(
            f"{path}: it is about another record than {record.name}; verify that again, or remove the note"
        )
    return Verification(note.status, note.gsbench, note.environment, note.differences, note.tolerances)
