"""Print a command of README.md, so that what CI runs is what the README says.

A command is a fenced block right below a comment of the form ``<!-- command: NAME -->``.

    python3 .ci/readme_command.py run | bash -euo pipefail
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(r"^<!-- command: (?P<name>[a-z-]+) -->\n```sh\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> dict[str, str]:
    """Name -> shell text of every marked block of `text`."""
    return {match["name"]: match["body"] for match in BLOCK.finditer(text)}


def main() -> int:
    """Print the command named by the first argument."""
    found = commands(README.read_text(encoding="utf-8"))
    if len(sys.argv) != 2 or sys.argv[1] not in found:
        sys.stderr.write(f"usage: readme_command.py {{{'|'.join(found)}}}\n")
        return 2
    sys.stdout.write(found[sys.argv[1]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
