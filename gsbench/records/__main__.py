"""``python -m gsbench.records leaderboards/record.schema.json``: write the JSON Schema of records."""

from __future__ import annotations

import sys
from pathlib import Path

from gsbench import _files
from gsbench.records.io import to_json
from gsbench.records.record import record_json_schema


def main(arguments: list[str]) -> int:
    """Write the schema to the one path that is given; the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m gsbench.records leaderboards/record.schema.json\n")
        return 2
    with _files.atomic_file(Path(arguments[0])) as file:
        file.write(to_json(record_json_schema()).encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
