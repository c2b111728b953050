"""Progress on stderr: bars on a terminal, lines with the time elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: Seconds between two lines about the same stage where there is no terminal.
LINE_INTERVAL: Final = 10.0

#: How values that stages report are shown; others get four digits.
_FORMATS: Final = {
    "psnr": "PSNR {:.2f} dB",
    "loss": "loss {:.4f}",
    "gaussians": "{:,.0f} Gaussians",
    "megabytes_per_second": "{:.1f} MB/s",
}


class Display(Protocol):
    """Somewhere that progress is shown. A job is named by its title, such as "3dgs demo default"."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def stage(self, title: str, stage: str) -> None:
        """A stage of the job has begun."""

    def step(self, title: str, stage: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """It has done `step` of `total` steps; 0 if it is not known how many there are."""

    def line(self, title: str, text: str, failed: bool = False) -> None:
        """Something worth a line that stays."""

    def end(self, title: str, text: str, failed: bool = False) -> None:
        """The job is over; `text` says how it went."""


def display(jobs: int, quiet: bool = False) -> Display:
    """The display that suits stderr: bars on a terminal, lines elsewhere, nothing if `quiet`."""
    if quiet:
        return Silence()
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Bars(jobs)
    return Lines(jobs, sys.stderr)


def shown(values: Mapping[str, float]) -> str:
    """``loss 0.0312, 43,210 Gaussians``."""
    return ", ".join(
        _FORMATS.get(name, name.replace("_", " ") + " {:.4g}").format(value) for name, value in values.items()
    )


def duration(seconds: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Silence:
    """No progress at all."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def stage(self, title: str, stage: str) -> None:
        """See `Display`."""

    def step(self, title: str, stage: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """See `Display`."""

    def line(self, title: str, text: str, failed: bool = False) -> None:
        """See `Display`."""

    def end(self, title: str, text: str, failed: bool = False) -> None:
        """See `Display`."""


class Lines(Silence):
    """One line per event worth knowing, with the time; at most one in ten seconds about the steps of a stage."""

    def __init__(self, jobs: int, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
        self._stream = stream
        self._clock = clock
        self._ended = 0
        self._begun: dict[tuple[str, str], tuple[float, int]] = {}  # (time, step) of a stage's first report
        self._last: dict[tuple[str, str], float] = {}

    def stage(self, title: str, stage: str) -> None:
        """See `Display`."""
        self._last[title, stage] = self._clock()
        self._write(f"{title}: {stage}")

    def step(self, title: str, stage: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """See `Display`."""
        now = self._clock()
        begun, first = self._begun.setdefault((title, stage), (now, step))
        if now - self._last.get((title, stage), begun) < LINE_INTERVAL:
            return
        self._last[title, stage] = now
        text = f"{title}: {stage} {step:,}/{total:,}" if total else f"{title}: {stage} {step:,}"
        if values:
            text += f", {shown(values)}"
        if first < step <= total:
            text += f", {duration((now - begun) * (total - step) / (step - first))} left"
        self._write(text)

    def line(self, title: str, text: str, failed: bool = False) -> None:
        """See `Display`."""
        self._write(f"{title}: {text}")

    def end(self, title: str, text: str, failed: bool = False) -> None:
        """See `Display`."""
        self._ended += 1
        self._write(f"{title}: {text} ({self._ended} of {self._jobs} jobs)" if self._jobs > 1 else f"{title}: {text}")

    def _write(self, text: str) -> None:
        self._stream.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        self._stream.flush()


class Bars:
    """A bar for each job that runs, and one for all of them if there are several."""

    def __init__(self, jobs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._all: TaskID | None = None
        if jobs > 1:
            self._all = self._progress.add_task(f"{jobs} jobs", total=jobs, values="")
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, title: str, stage: str) -> None:
        """See `Display`."""
        self._forget(title)
        self._tasks[title] = self._progress.add_task(f"{title}: {stage}", total=None, values="")

    def step(self, title: str, stage: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """See `Display`."""
        if title not in self._tasks:
            self.stage(title, stage)
        self._progress.update(self._tasks[title], completed=step, total=total or None, values=shown(values))

    def line(self, title: str, text: str, failed: bool = False) -> None:
        """See `Display`."""
        self._print(f"{title}: {text}", failed)

    def end(self, title: str, text: str, failed: bool = False) -> None:
        """See `Display`."""
        self._forget(title)
        self._print(f"{title}: {text}", failed)
        if self._all is not None:
            self._progress.advance(self._all)

    def _forget(self, title: str) -> None:
        task = self._tasks.pop(title, None)
        if task is not None:
            self._progress.remove_task(task)

    def _print(self, text: str, failed: bool) -> None:
        style: Any = "red" if failed else None
        self._progress.console.print(text, style=style, markup=False, highlight=False)
