"""Tables of measurements, and how their numbers are taken."""

from __future__ import annotations

import importlib.metadata
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gsbench import native
from gsbench.bench.environment import cpu_model
from gsbench.bench.memory import usable_cores

Cell = str | int | float | None


@dataclass(frozen=True)
class Settings:
    """What a run measures.

    Fields:
        quick: small sizes and few repetitions, to see that everything works; the numbers mean little.
        threads: numbers of threads to measure with, ascending.
        isas: instruction sets to measure with, the best last.
        capture: folder of a capture to train on, or None.
        repetitions: of each measurement, at most.
        seconds: spent on one group of measurements before its repetitions end early (three are made in any case).
    """

    quick: bool = False
    threads: Sequence[int] = (1, 2)
    isas: Sequence[str] = ("baseline",)
    capture: Path | None = None
    repetitions: int = 15
    seconds: float = 20.0

    @property
    def most_threads(self) -> int:
        return self.threads[-1]

    @property
    def best_isa(self) -> str:
        return self.isas[-1]


@dataclass
class Table:
    """One table: rows of cells under the names of columns. Cells of columns in ms, times (x) and bytes are numbers."""

    name: str
    title: str
    about: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        assert len(cells) == len(self.columns)
        self.rows.append(list(cells))

    def text(self) -> str:
        """As Markdown."""
        shown = [list(self.columns), *([_shown(cell) for cell in row] for row in self.rows)]
        numeric = [
            all(not isinstance(row[i], str) for row in self.rows) and bool(self.rows) for i in range(len(self.columns))
        ]
        widths = [max(3, *(len(row[i]) for row in shown)) for i in range(len(self.columns))]
        rule = ["-" * (w - 1) + (":" if right else "-") for w, right in zip(widths, numeric, strict=True)]
        lines = [
            "| "
            + " | ".join(
                cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(row, widths, numeric, strict=True)
            )
            + " |"
            for row in [shown[0], rule, *shown[1:]]
        ]
        return f"### {self.title}\n\n{self.about}\n\n" + "\n".join(lines) + "\n"

    def json(self) -> dict[str, Any]:
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"name": self.name, "title": self.title, "about": self.about, "rows": rows}


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}" if abs(cell) < 10 else f"{cell:.1f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def medians(cases: Mapping[str, Callable[[], object]], settings: Settings) -> dict[str, float]:
    """The median time of each case in milliseconds.

    Cases take turns, so that whatever else the machine does meets all of them alike; a first turn is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    begin = time.perf_counter()
    for turn in itertools.count():
        for name, case in cases.items():
            started = time.perf_counter()
            case()
            if turn > 0:
                times[name].append(1e3 * (time.perf_counter() - started))
        enough = 1 if settings.quick else 3
        late = settings.quick or time.perf_counter() - begin > settings.seconds
        if turn >= enough and (late or turn >= settings.repetitions):
            return {name: statistics.median(values) for name, values in times.items()}
    raise AssertionError


@contextmanager
def using(threads: int, isa: str | None = None) -> Any:
    """Within this context: so many threads, and the instruction set if one is named."""
    before = torch.get_num_threads(), native.cpu_isa()
    torch.set_num_threads(threads)
    if isa is not None:
        native.set_cpu_isa(isa)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        native.set_cpu_isa(before[1])


def with_threads(threads: int, function: Callable[[], object], isa: str | None = None) -> Callable[[], None]:
    """`function`, called with so many threads and that instruction set."""

    def call() -> None:
        with using(threads, isa):
            function()

    return call


def available_isas() -> list[str]:
    """Instruction sets of this machine, the best last."""
    before, found = native.cpu_isa(), []
    for name in ("baseline", "avx2", "avx512"):
        try:
            native.set_cpu_isa(name)
        except ValueError:
            continue
        found.append(name)
    native.set_cpu_isa(before)
    return found


def machine() -> dict[str, str]:
    """What the numbers were taken on and with."""
    versions = {"python": platform.python_version()}
    for name in ("gsbench-core", "torch", "torchmetrics", "scipy", "numpy"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cpu": cpu_model(),
        "cores": str(usable_cores()),
        "instruction sets": ", ".join(available_isas()),
        "system": platform.platform(terse=True),
        "native build": native.build_id(),
        **versions,
    }


def ratio(reference: float | None, ours: float) -> float | None:
    """How many times as long the reference takes."""
    return None if reference is None else reference / ours


def installed(names: Iterable[str]) -> bool:
    """Whether all of these distributions are there."""
    try:
        return all(importlib.metadata.version(name) for name in names)
    except importlib.metadata.PackageNotFoundError:
        return False
