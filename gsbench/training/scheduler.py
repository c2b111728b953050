"""`Scheduler`: which task runs in which phase of which training step."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from gsbench.errors import TaskError
from gsbench.splats import Camera
from gsbench.training.results import LossPack, RenderResult
from gsbench.training.steps import Steps, StepsLike, make_steps
from gsbench.training.tasks import Injectables, bind, qualified_name

#: The phases of a step, in order.
PHASES: Final = ("pre", "render", "loss", "backward", "post", "optimizer", "end")

#: Values that change with every step, and the first phase whose tasks can ask for them.
PER_STEP: Final[Mapping[type, str]] = {Camera: "pre", RenderResult: "loss", LossPack: "backward"}

_log = logging.getLogger(__name__)
_NOTHING: Final[Mapping[type, object]] = {}


class _Task:
    """A registered task: what to call, when, and what it has cost so far."""

    def __init__(
        self,
        phase: str,
        name: str,
        steps: Steps,
        call: Callable[[int, Mapping[type, object]], object],
        priority: int,
        order: int,
        logging: bool,
    ) -> None:
        self.phase, self.name, self.steps, self.call = phase, name, steps, call
        self.priority, self.order, self.logging = priority, order, logging
        self.first: int | None = None
        self.calls = 0
        self.seconds = 0.0

    def next_from(self, step: int) -> int | None:
        try:
            return self.steps.next_from(step)
        except (TypeError, ValueError) as error:
            raise TaskError(f"task {self.name!r} ({self.phase}): {error}") from error

    def run(self, step: int, values: Mapping[type, object]) -> None:
        started = time.perf_counter()
        try:
            self.call(step, values)
        except Exception as error:
            kind = "" if isinstance(error, TaskError) else f"{type(error).__name__}: "
            raise TaskError(f"task {self.name!r} ({self.phase}) failed at step {step}: {kind}{error}") from error
        elapsed = time.perf_counter() - started
        self.calls += 1
        self.seconds += elapsed
        if self.logging:
            _log.info("step %d: %s (%s) took %.3f ms", step, self.name, self.phase, 1e3 * elapsed)


class _Queue:
    """The tasks of one phase, by the step at which each is due next."""

    def __init__(self) -> None:
        #: The earliest step that has not been run.
        self.cursor = 0
        self.heap: list[tuple[int, int, int, _Task]] = []

    def push(self, task: _Task, step: int) -> None:
        due = task.next_from(step)
        if due is not None:
            # `order` is unique, so tasks themselves are never compared.
            heapq.heappush(self.heap, (due, task.priority, task.order, task))


@dataclass(frozen=True)
class TimelineRow:
    """One line of the schedule. `first`, `last` and `runs` are None where they do not exist or are not known."""

    phase: str
    task: str
    priority: int
    first: int | None
    last: int | None
    every: str
    runs: int | None


@dataclass(frozen=True)
class TaskTiming:
    """What a task has cost: number of calls and wall-clock seconds in total."""

    phase: str
    task: str
    calls: int
    seconds: float


class Scheduler:
    """Runs tasks at the steps they are registered for.

    A step has the phases pre, render, loss, backward, post, optimizer and end. A model registers its tasks in
    `register_pre_task`, `register_post_task` and `register_end_task`, each called within ``registering(phase)``, so
    that the same `register_task` lands in the phase in question; elsewhere, name the phase.

    Within a phase, the task with the smaller `priority` runs first, then the one registered first. A range costs O(1)
    memory whatever its length; a step costs O(tasks that are due), each with a logarithm of the number of tasks.

    Args:
        injectables: what tasks may ask for by annotation besides the step and what `PER_STEP` lists: objects (the
            params, the cameras), or a type, whose object the caller of `run` then provides.
    """

    def __init__(self, *injectables: object) -> None:
        self._constants = tuple(i for i in injectables if not isinstance(i, type))
        self._declared = tuple(i for i in injectables if isinstance(i, type))
        self._available = {phase: self._injectables(phase) for phase in PHASES}
        self._queues = {phase: _Queue() for phase in PHASES}
        self._tasks: list[_Task] = []
        self._phase: str | None = None

    def _injectables(self, phase: str) -> Injectables:
        position = PHASES.index(phase)
        per_step = [t for t, since in PER_STEP.items() if PHASES.index(since) <= position]
        return Injectables(self._constants, (*per_step, *self._declared))

    @contextmanager
    def registering(self, phase: str) -> Iterator[Scheduler]:
        """Within this context, `register_task` registers into `phase`."""
        _check_phase(phase)
        before, self._phase = self._phase, phase
        try:
            yield self
        finally:
            self._phase = before

    def register_task(
        self,
        range_: StepsLike,
        task: Callable[..., object],
        priority: int = 0,
        name: str | None = None,
        logging: bool = False,
        *,
        phase: str | None = None,
    ) -> None:
        """Run `task` at the steps of `range_`.

        Args:
            range_: an int (that one step), a `range`, a collection of ints in any order, or an iterator of ints that do
                not decrease (it may be endless). Steps count from 0; negative ones never come.
            task: a function whose parameters are filled by annotation, see `gsbench.training.task`.
            priority: smaller runs earlier within the phase.
            name: for tables and messages; the function's own by default.
            logging: write a line to the log each time it runs.
            phase: the phase, where the call is not within `registering`.

        During a run, a task starts with the next step that its phase has not begun.

        Raises:
            TaskError: if a parameter cannot be filled, the steps or the priority are not ints, or there is no phase to
                register into.
        """
        phase = phase if phase is not None else self._phase
        shown = name if name is not None else qualified_name(task)
        if phase is None:
            raise TaskError(f"task {shown!r}: no phase to register into; pass phase= one of {', '.join(PHASES)}")
        _check_phase(phase)
        try:
            steps = make_steps(range_)
        except TypeError as error:
            raise TaskError(f"task {shown!r} ({phase}): {error}") from error
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise TaskError(f"task {shown!r} ({phase}): expected an int as priority, got {priority!r}")
        call = bind(task, self._available[phase])
        entry = _Task(phase, shown, steps, call, priority, len(self._tasks), logging)
        queue = self._queues[phase]
        entry.first = entry.next_from(queue.cursor)
        self._tasks.append(entry)
        queue.push(entry, queue.cursor)

    def register_pre_task(self, range_: StepsLike, task: Callable[..., object], **options: Any) -> None:
        """`register_task` into the phase before the render."""
        self.register_task(range_, task, phase="pre", **options)

    def register_post_task(self, range_: StepsLike, task: Callable[..., object], **options: Any) -> None:
        """`register_task` into the phase after the backward pass, before the optimizer step; without autograd."""
        self.register_task(range_, task, phase="post", **options)

    def register_end_task(self, range_: StepsLike, task: Callable[..., object], **options: Any) -> None:
        """`register_task` into the phase after the optimizer step; without autograd."""
        self.register_task(range_, task, phase="end", **options)

    def run(self, phase: str, step: int, values: Mapping[type, object] = _NOTHING) -> None:
        """Run the tasks of `phase` that are due at `step`, each exactly once.

        Args:
            phase: one of `PHASES`.
            step: the current step; each phase runs a step once, in increasing order.
            values: the values of this step, by the types in `PER_STEP` and those declared at construction.

        Raises:
            TaskError: if a task raised (the message names the task and the step), or if `step` jumps over a step at
                which a task was due.
        """
        queue = self._queues[phase]
        heap = queue.heap
        if step < queue.cursor:
            raise TaskError(f"phase {phase!r}: step {step} was already run; seek({step}) to go back")
        if heap and heap[0][0] < step:
            due, _, _, missed = heap[0]
            raise TaskError(
                f"task {missed.name!r} ({phase}) was due at step {due}, which was skipped; use seek({step})"
            )
        queue.cursor = step + 1
        due_now: list[_Task] = []
        while heap and heap[0][0] == step:
            due_now.append(heapq.heappop(heap)[3])
        for entry in due_now:
            queue.push(entry, step + 1)
        for entry in due_now:
            entry.run(step, values)

    def seek(self, step: int) -> None:
        """Make `step` the next one in every phase: what is due before it does not run, what is due later does.

        Raises:
            TaskError: when going back and a task's steps come from an iterator.
        """
        for queue in self._queues.values():
            queue.cursor, queue.heap = step, []
        for entry in self._tasks:
            self._queues[entry.phase].push(entry, step)

    def state_dict(self) -> dict[str, Any]:
        """Plain values: the position in every phase, and the tasks with their timings."""
        return {
            "cursor": {phase: queue.cursor for phase, queue in self._queues.items()},
            "tasks": [[t.phase, t.name, t.priority, t.calls, t.seconds] for t in self._tasks],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, after the same tasks have been registered again.

        Raises:
            TaskError: if the registered tasks are not those of the state.
        """
        mine: list[list[Any]] = [[t.phase, t.name, t.priority] for t in self._tasks]
        theirs = [list(t[:3]) for t in state["tasks"]]
        if mine != theirs:
            missing = [f"{t[1]} ({t[0]})" for t in theirs if t not in mine] or ["none"]
            extra = [f"{t[1]} ({t[0]})" for t in mine if t not in theirs] or ["none"]
            raise TaskError(
                "the saved schedule has other tasks than the registered one: "
                f"missing {', '.join(missing)}; new {', '.join(extra)}; their order counts too"
            )
        for entry, saved in zip(self._tasks, state["tasks"], strict=True):
            entry.calls, entry.seconds = int(saved[3]), float(saved[4])
        for phase, queue in self._queues.items():
            queue.cursor, queue.heap = int(state["cursor"][phase]), []
        for entry in self._tasks:
            queue = self._queues[entry.phase]
            queue.push(entry, queue.cursor)

    def timeline(self) -> list[TimelineRow]:
        """The schedule, one row per task, in the order of execution."""
        rows = []
        for t in sorted(self._tasks, key=lambda t: (PHASES.index(t.phase), t.priority, t.order)):
            rows.append(
                TimelineRow(t.phase, t.name, t.priority, t.first, t.steps.last(), t.steps.spacing(), t.steps.count())
            )
        return rows

    def table(self) -> str:
        """The schedule as text, one line per task."""
        rows: list[tuple[str, ...]] = [("phase", "task", "priority", "first", "last", "every", "runs")]
        for row in self.timeline():
            cells = (row.phase, row.task, row.priority, row.first, row.last, row.every, row.runs)
            rows.append(tuple("-" if cell is None else str(cell) for cell in cells))
        return _align(rows, left=(0, 1, 5))

    def timings(self) -> list[TaskTiming]:
        """What every task has cost so far, the most expensive first."""
        rows = [TaskTiming(t.phase, t.name, t.calls, t.seconds) for t in self._tasks]
        return sorted(rows, key=lambda row: -row.seconds)


def _check_phase(phase: str) -> None:
    if phase not in PHASES:
        raise TaskError(f"unknown phase {phase!r}; expected one of {', '.join(PHASES)}")


def _align(rows: Sequence[tuple[str, ...]], left: tuple[int, ...]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
