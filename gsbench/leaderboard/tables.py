"""The table of a section as Markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gsbench.leaderboard.board import BdRate, Entry, MetricColumn, Section, Value

#: What stands where there is no number.
MISSING: Final = "—"
#: Marks a value whose neighbor in the order by that column is within the spread.
TIE: Final = "†"

_MINUS: Final = "\N{MINUS SIGN}"

#: Characters that LaTeX reads as commands.
_LATEX: Final = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "—": "---",
    "†": r"\textdagger{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    _MINUS: "$-$",
    "\n": " ",
}


#: What becomes of "10^6" in it.
_MILLION: Final = r"10\textasciicircum{}6"


def escape_latex(text: str) -> str:
    """`text` so that LaTeX prints it as it is."""
    return "".join(_LATEX.get(character, character) for character in text).replace(_MILLION, "$10^6$")


def markdown_table(section: Section) -> str:
    """The table of means over the data set, with what it needs to be read."""
    head, rows = _cells(section)
    aligned = ["---", "---", *("---:" for _ in head[2:])]
    lines = [_markdown_row(head), "|" + "|".join(aligned) + "|", *(_markdown_row(row) for row in rows)]
    title = f"# {_escape_markdown(section.dataset)}, protocol {_escape_markdown(section.protocol)}"
    notes = [f"* {_escape_markdown(note)}" for note in _notes(section)]
    return "\n".join([title, "", *lines, "", *notes]) + "\n"


def latex_table(section: Section) -> str:
    """The table of means as a LaTeX ``table``; needs the package ``booktabs``, and ``textcomp`` with an old LaTeX."""
    head, rows = _cells(section)
    lines = [
        "% Needs \\usepackage{booktabs}. Written by gsbench leaderboard build.",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{escape_latex(' '.join(_notes(section)))}}}",
        f"  \\label{{tab:{re.sub(r'[^a-z0-9-]', '', section.slug)}}}",
        f"  \\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
        "    \\toprule",
        f"    {_latex_row(head)}",
        "    \\midrule",
    ]
    previous = None
    for row, entry in zip(rows, section.entries, strict=True):
        if previous is not None and entry.method != previous:
            lines.append("    \\addlinespace")
        previous = entry.method
        lines.append(f"    {_latex_row(row)}")
    return "\n".join([*lines, "    \\bottomrule", "  \\end{tabular}", "\\end{table}"]) + "\n"


def _cells(section: Section) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, as plain text."""
    shown = [m for m in section.metrics if any(e.metrics[m.name].mean is not None for e in section.entries)]
    bd = [m for m in shown if any(r.metric == m.name and r.percent is not None for r in _against_anchor(section))]
    head = ["Method", "Rate", "Scenes", "Seeds", "Steps", "MB ↓"]
    head += [f"{m.title}{f' ({m.unit})' if m.unit else ''} {'↑' if m.higher_is_better else '↓'}" for m in shown]
    head += [f"BD-rate {m.title} (%)" for m in bd]
    head += ["Gaussians", "Train (s)", "Encode (s)", "Decode (s)", "FPS"]
    found = {(r.curve, r.metric): r for r in _against_anchor(section)}
    told: set[str] = set()
    rows = []
    for entry in section.entries:
        first = entry.curve not in told
        told.add(entry.curve)
        bd_cells = [_bd_cell(section, entry, found.get((entry.curve, m.name)), first) for m in bd]
        rows.append(_row(entry, shown, bd_cells))
    return head, rows


def _row(entry: Entry, metrics: Sequence[MetricColumn], bd_cells: Sequence[str]) -> list[str]:
    rate = f"{entry.rate} ({entry.variant})" if entry.variant else entry.rate
    steps = MISSING if entry.iterations is None else f"{entry.iterations:,}"
    row = [entry.method, rate, f"{entry.scenes_present}/{entry.scenes_needed}", str(len(entry.seeds)), steps]
    row.append(_megabytes(entry))
    for metric in metrics:
        row.append(_value(entry.metrics[metric.name], metric.digits, bool(entry.ties.get(metric.name))))
    row += bd_cells
    seconds = (entry.train_seconds, entry.encode_seconds, entry.decode_seconds)
    row += [_value(entry.gaussians, 0, False, spread=False), *(_value(s, 1, False, spread=False) for s in seconds)]
    return [*row, _value(entry.fps, 0, False, spread=False)]


def _megabytes(entry: Entry) -> str:
    size = entry.bytes
    if size.mean is None:
        return MISSING
    megabytes = Value(size.mean / 1e6, None if size.spread is None else size.spread / 1e6, size.seeds)
    return _value(megabytes, 2 if size.mean >= 1e6 else 4, bool(entry.ties.get("bytes")))


def _value(value: Value, digits: int, tie: bool, *, spread: bool = True) -> str:
    if value.mean is None:
        return MISSING
    text = f"{value.mean:,.{digits}f}"
    if spread and value.spread is not None:
        text += f" ± {value.spread:.{digits}f}"
    return text + (f" {TIE}" if tie else "")


def _bd_cell(section: Section, entry: Entry, found: BdRate | None, first: bool) -> str:
    """BD-rates belong to curves, so only the first row of a curve has one."""
    if not first:
        return ""
    if entry.curve == section.anchor:
        return "anchor"
    if found is None or found.percent is None:
        return "n/a"
    return f"{found.percent:+.1f}".replace("-", _MINUS)


def _against_anchor(section: Section) -> list[BdRate]:
    return [found for found in section.bd_rates if found.anchor == section.anchor]


def _notes(section: Section) -> list[str]:
    """What a reader of the table must know."""
    count = len(section.scenes)
    scenes = f"{count} scene{'' if count == 1 else 's'}"
    notes = [
        f"Means over the {scenes} of {section.dataset}, held-out views, protocol {section.protocol} "
        f"({section.protocol_hash}). MB: 10^6 bytes on disk."
    ]
    if any(len(entry.seeds) > 1 for entry in section.entries):
        notes.append("±: sample standard deviation over seeds.")
    if any(others for entry in section.entries for others in entry.ties.values()):
        notes.append(f"{TIE}: the difference to a neighbor in this column lies within the spread of the seeds.")
    if any(not entry.complete for entry in section.entries):
        notes.append(f"{MISSING}: not all scenes are there.")
    if any(entry.pretrained for entry in section.entries):
        names = sorted({entry.method for entry in section.entries if entry.pretrained})
        notes.append(f"Decoding with weights that ship with the plugin: {', '.join(names)}.")
    chosen = sorted({name for entry in section.entries for name in entry.per_scene_settings})
    if chosen:
        notes.append(f"Settings chosen per scene: {', '.join(chosen)}.")
    if section.anchor is not None and any(found.percent is not None for found in _against_anchor(section)):
        notes.append(f"BD-rate against {section.anchor}, per scene, then averaged.")
    return [*notes, *(f"{note}." for note in section.notes)]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape_markdown(cell) for cell in cells) + " |"


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text.replace("\n", " "))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
