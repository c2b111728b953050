"""`RESULTS.md`: what the benchmarks measured, on a CPU (`python -m benchmarks`) and on a GPU (`benchmarks.cuda`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.table import Table

RESULTS = Path(__file__).with_name("RESULTS.md")

#: Where the part about GPUs begins. It is the last one, and each of both programs leaves the other's part as it is.
_GPU = "## On a GPU\n"


def write_cpu(path: Path, tables: Sequence[Table], facts: Mapping[str, str], command: str) -> None:
    """Keep tables as Markdown, with how they were made."""
    lines = [
        "# Results of the benchmarks",
        "",
        f"Made by `{command}`, which writes this file; the modules beside it say what is measured and how. Medians "
        "of repetitions in which the things that are compared take turns, on an otherwise idle machine. Absolute times "
        "are of this machine; compare ratios.",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
    ]
    text = "\n".join([*lines, *(table.text() for table in tables)])
    gpu = _parts(path)[1]
    _write(path, text + (f"\n{gpu}" if gpu else ""))


def write_gpu(path: Path, table: Table, facts: Mapping[str, str], notes: Sequence[str], command: str) -> None:
    """Keep the table of a GPU in its section; `notes` say what was not measured."""
    lines = [
        _GPU,
        f"Made by `{command}`, which writes this section.",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
        "",
        table.text(),
        *(f"* {note}" for note in notes),
    ]
    cpu = _parts(path)[0].rstrip("\n")
    _write(path, (f"{cpu}\n\n" if cpu else "") + "\n".join(lines).rstrip("\n") + "\n")


def _parts(path: Path) -> tuple[str, str]:
    """The file as it is, before the section about GPUs and from there on."""
    text = path.read_text() if path.exists() else ""
    cpu, heading, gpu = text.partition(_GPU)
    return cpu, heading + gpu


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)
