from __future__ import annotations

import functools
import gc
import itertools
import json
import logging
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsbench.errors import TaskError
from gsbench.splats import Camera
from gsbench.training.params import OptimizationParams, PipelineParams
from gsbench.training.results import LossPack, RenderResult
from gsbench.training.scheduler import PHASES, Scheduler, TaskTiming
from gsbench.training.tasks import task

if TYPE_CHECKING:
    from collections import OrderedDict

HORIZON = 60

# The naive model: a task runs at every step of its set; order is (priority, registration).
finite = st.one_of(
    st.integers(-5, HORIZON + 5),
    st.builds(
        range,
        st.integers(-20, HORIZON + 20),
        st.integers(-20, HORIZON + 20),
        st.integers(-7, 7).filter(bool),
    ),
    st.lists(st.integers(-5, HORIZON + 5), max_size=12),
    st.sets(st.integers(-5, HORIZON + 5), max_size=12),
    st.lists(st.integers(-5, HORIZON + 5), max_size=12).map(lambda v: tuple(sorted(v))),
)
entries = st.lists(st.tuples(finite, st.integers(-2, 2), st.sampled_from(PHASES), st.booleans()), max_size=8)


def members(steps: Any) -> set[int]:
    return {steps} if isinstance(steps, int) else set(steps)


def naive(tasks: list[Any], start: int, stop: int) -> list[tuple[int, str, int]]:
    ran = []
    for step in range(start, stop):
        for phase in PHASES:
            due = [(p, i) for i, (steps, p, ph, _) in enumerate(tasks) if ph == phase and step in members(steps)]
            ran += [(step, phase, i) for _, i in sorted(due)]
    return ran


def build(tasks: list[Any], ran: list[tuple[int, str, int]]) -> Scheduler:
    scheduler = Scheduler()
    for i, (steps, priority, phase, lazy) in enumerate(tasks):
        # Sorted collections may as well come as one-shot iterators.
        given_steps = iter(sorted(members(steps))) if lazy else steps

        def note(label: tuple[str, int], step: int) -> None:
            ran.append((step, *label))

        scheduler.register_task(given_steps, functools.partial(note, (phase, i)), priority, name=str(i), phase=phase)
    return scheduler


def sorted_by_order(scheduler: Scheduler) -> list[TaskTiming]:
    """The timings in the order of registration; tasks are named by it."""
    return sorted(scheduler.timings(), key=lambda timing: int(timing.task))


def run(scheduler: Scheduler, start: int, stop: int) -> None:
    for step in range(start, stop):
        for phase in PHASES:
            scheduler.run(phase, step)


@settings(deadline=None, max_examples=200)
@given(entries)
def test_runs_what_the_naive_model_runs(tasks: list[Any]) -> None:
    ran: list[tuple[int, str, int]] = []
    run(build(tasks, ran), 0, HORIZON)
    assert ran == naive(tasks, 0, HORIZON)


@settings(deadline=None, max_examples=150)
@given(entries, st.integers(0, HORIZON - 1), st.integers(0, len(PHASES)), st.booleans())
def test_resuming_runs_exactly_the_rest(tasks: list[Any], start: int, phases: int, seek: bool) -> None:
    """Stopped anywhere, also between two phases of a step; `seek` goes to the beginning of a step only."""
    phases = 0 if seek else phases
    before: list[tuple[int, str, int]] = []
    first = build(tasks, before)
    run(first, 0, start)
    for phase in PHASES[:phases]:
        first.run(phase, start)
    state = json.loads(json.dumps(first.state_dict()))

    after: list[tuple[int, str, int]] = []
    second = build(tasks, after)
    if seek:
        second.seek(start)
    else:
        second.load_state_dict(state)
    for phase in PHASES[phases:]:
        second.run(phase, start)
    run(second, start + 1, HORIZON)
    assert before + after == naive(tasks, 0, HORIZON)
    assert [entry for entry in before if entry[0] < start] == naive(tasks, 0, start)
    assert [t.calls for t in sorted_by_order(second)] == [
        sum(i == index for _, _, i in (after if seek else before + after)) for index in range(len(tasks))
    ]


@settings(deadline=None, max_examples=50)
@given(entries, st.lists(st.integers(0, HORIZON), max_size=4))
def test_resuming_time_and_again_loses_and_repeats_nothing(tasks: list[Any], stops: list[int]) -> None:
    ran: list[tuple[int, str, int]] = []
    state, at = None, 0
    for stop in [*sorted(stops), HORIZON]:
        scheduler = build(tasks, ran)
        if state is not None:
            scheduler.load_state_dict(state)
        run(scheduler, at, stop)
        state, at = scheduler.state_dict(), stop
    assert ran == naive(tasks, 0, HORIZON)


@settings(deadline=None, max_examples=50)
@given(entries, st.lists(st.integers(0, HORIZON), min_size=1, max_size=4))
def test_going_back_and_forth_runs_what_is_due_where_one_is(tasks: list[Any], places: list[int]) -> None:
    ran: list[tuple[int, str, int]] = []
    scheduler = build([(*entry[:3], False) for entry in tasks], ran)
    expected = []
    for place in places:
        scheduler.seek(place)
        run(scheduler, place, place + 5)
        expected += naive(tasks, place, place + 5)
    assert ran == expected


@settings(deadline=None, max_examples=50)
@given(entries)
def test_the_timeline_agrees_with_the_naive_model(tasks: list[Any]) -> None:
    scheduler = build([(s, p, ph, False) for s, p, ph, _ in tasks], [])
    expected = []
    for phase in PHASES:
        for priority, i in sorted((p, i) for i, (_, p, ph, _) in enumerate(tasks) if ph == phase):
            steps = sorted(s for s in members(tasks[i][0]) if s >= 0)
            expected.append((phase, priority, min(steps, default=None), max(steps, default=None), len(steps)))
    assert [(r.phase, r.priority, r.first, r.last, r.runs) for r in scheduler.timeline()] == expected
    assert len(scheduler.table().splitlines()) == 1 + len(tasks)


def test_endless_iterators_are_read_as_needed() -> None:
    ran: list[int] = []
    scheduler = Scheduler()

    def note(step: int) -> None:
        ran.append(step)

    scheduler.register_task(itertools.count(3, 10), note, phase="pre")
    scheduler.register_task((2**k for k in itertools.count()), note, phase="pre")
    for step in range(40):
        scheduler.run("pre", step)
    assert ran == [1, 2, 3, 4, 8, 13, 16, 23, 32, 33]


def operations(function: Callable[[], object]) -> int:
    """How many lines of Python `function` runs, in whatever it calls: a measure of work that no other load changes."""
    lines = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before, collecting = sys.gettrace(), gc.isenabled()
    gc.disable()  # the collector calls back, whenever it comes
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
        if collecting:
            gc.enable()
    return lines


def allocated(function: Callable[[], object]) -> tuple[int, int]:
    """Bytes that `function` leaves behind, and its peak."""
    gc.collect()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


MILLION = range(1_000_000)
ENORMOUS = range(10**15, -(10**15), -7)


def test_registering_a_range_costs_the_same_whatever_its_length() -> None:
    def register(steps: range) -> Callable[[], object]:
        scheduler = Scheduler()
        scheduler.register_task(0, lambda: None, phase="pre")  # what is made once
        return lambda: scheduler.register_task(steps, lambda: None, phase="pre")

    register(range(10))()
    small = operations(register(range(10)))
    assert operations(register(MILLION)) == small
    # Turned round, and cut at 0: some lines more, none per step.
    backwards = operations(register(range(10, -10, -7)))
    assert operations(register(ENORMOUS)) == backwards
    assert small < 500

    left, peak = allocated(register(range(10)))
    for steps in (MILLION, ENORMOUS):
        left_by, peak_by = allocated(register(steps))
        # A few larger ints; a list of a million steps would be 8 MB.
        assert left_by - left < 500
        assert peak_by - peak < 500


def test_running_and_seeking_do_not_depend_on_the_length_of_ranges_either() -> None:
    def run_at(steps: range, step: int) -> tuple[int, int]:
        scheduler = Scheduler()
        scheduler.register_task(steps, lambda: None, phase="pre")

        def go() -> None:
            scheduler.seek(step)
            scheduler.run("pre", step)
            scheduler.timeline()

        go()
        return operations(go), allocated(go)[1]

    lines, peak = run_at(range(20), 7)
    for step in (7, 999_998):
        lines_by, peak_by = run_at(MILLION, step)
        assert lines_by == lines
        assert peak_by < peak + 1_000


def test_a_step_costs_only_what_is_due() -> None:
    def scheduler(dormant: int) -> Scheduler:
        built = Scheduler()
        for _ in range(dormant):
            built.register_task(range(10_000, 20_000), lambda: None, phase="pre")
        for _ in range(3):
            built.register_task(range(10_000), lambda: None, phase="pre")
        return built

    def cost(built: Scheduler) -> list[int]:
        return [operations(lambda s=step: built.run("pre", s)) for step in range(50)]  # type: ignore[misc]

    alone = cost(scheduler(0))
    assert cost(scheduler(1_000)) == alone
    assert max(alone) < 200


def test_tasks_land_in_the_phase_being_registered() -> None:
    scheduler = Scheduler()
    with scheduler.registering("pre"):
        scheduler.register_task(range(3), task=print, name="a")
        with scheduler.registering("end"):
            scheduler.register_task(range(3), task=print, name="b")
        scheduler.register_task(range(3), task=print, name="c")
        scheduler.register_post_task(range(3), print, name="d")
    assert [(r.task, r.phase) for r in scheduler.timeline()] == [
        ("a", "pre"),
        ("c", "pre"),
        ("d", "post"),
        ("b", "end"),
    ]
    with pytest.raises(TaskError, match=r"'e'.*no phase"):
        scheduler.register_task(range(3), task=print, name="e")
    with pytest.raises(TaskError, match=r"unknown phase 'posst'.*pre, render"):
        scheduler.register_task(range(3), task=print, phase="posst")


class MyOptimization(OptimizationParams):
    pass


class MyResult(RenderResult):
    pass


def result(cls: type[RenderResult] = RenderResult) -> RenderResult:
    return cls(torch.zeros(2, 2, 3), torch.zeros(2, 2, 1), {})


class Model:
    """Methods as users write them; string annotations come from the __future__ import of this file."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    @task
    def everything(
        self,
        render_result: RenderResult,
        opt: MyOptimization,
        base: OptimizationParams,
        ppl: PipelineParams,
        step: int,
        pack: Annotated[LossPack, "note"],
        extra: float = 0.5,
    ) -> None:
        self.got = [render_result, opt, base, ppl, step, pack, extra]

    @task
    def maybe(self, a: Optional[RenderResult], b: MyResult | None, c: Optional["int"], d: "LossPack" = None) -> None:  # noqa: UP037, UP045
        self.got = [a, b, c, d]

    @task
    def derived(self, result: MyResult) -> None:
        self.got = [result]

    @task
    def unknown(self, size: float) -> None: ...

    @task
    def bare(self, size) -> None: ...  # type: ignore[no-untyped-def]

    @task
    def flag(self, flag: bool) -> None: ...

    @task
    def anything(self, thing: object) -> None: ...

    @task
    def unresolvable(self, thing: OrderedDict[str, int]) -> None: ...

    @task
    def other(self, opt: OtherOptimization) -> None: ...


class OtherOptimization(OptimizationParams):
    pass


def test_parameters_are_filled_by_annotation() -> None:
    model, opt, ppl = Model(), MyOptimization(), PipelineParams()
    scheduler = Scheduler(opt, ppl)
    scheduler.register_post_task(range(7, 10), model.everything)
    rendered, pack = result(), LossPack(torch.zeros(()))
    scheduler.run("post", 7, {RenderResult: rendered, LossPack: pack})
    assert model.got[0] is rendered
    assert model.got[1] is opt
    assert model.got[2] is opt
    assert model.got[3] is ppl
    assert model.got[4] == 7
    assert model.got[5] is pack
    assert model.got[6] == 0.5


def test_what_does_not_exist_yet_is_none_where_optional() -> None:
    model = Model()
    scheduler = Scheduler()
    scheduler.register_pre_task(range(4, 10), model.maybe)
    scheduler.run("pre", 4)
    assert model.got == [None, None, 4, None]


def test_a_subclass_is_required_where_a_subclass_is_named() -> None:
    model = Model()
    scheduler = Scheduler()
    scheduler.register_post_task(range(10), model.derived)
    derived = result(MyResult)
    scheduler.run("post", 0, {RenderResult: derived})
    assert model.got == [derived]
    with pytest.raises(
        TaskError, match=r"'Model.derived' \(post\) failed at step 1: expected a MyResult.*RenderResult"
    ):
        scheduler.run("post", 1, {RenderResult: result()})


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("unknown", "size"),
        ("bare", "size"),
        ("flag", "flag"),
        ("anything", "thing"),
        ("unresolvable", "thing"),
        ("other", "opt"),
    ],
)
def test_what_cannot_be_injected_is_refused_when_registered(name: str, parameter: str) -> None:
    scheduler = Scheduler(MyOptimization(), PipelineParams())
    with pytest.raises(TaskError, match=rf"Model\.{name}: parameter '{parameter}'"):
        scheduler.register_post_task(range(10), getattr(Model(), name))
    assert scheduler.timeline() == []


def test_a_render_result_cannot_be_asked_for_before_the_render() -> None:
    scheduler = Scheduler()
    with pytest.raises(TaskError, match="'result' of type MyResult cannot be injected"):
        scheduler.register_pre_task(range(10), Model().derived)


def test_two_candidates_are_ambiguous() -> None:
    scheduler = Scheduler(MyOptimization(), OtherOptimization())

    def function(opt: OptimizationParams) -> None: ...

    with pytest.raises(TaskError, match="ambiguous between MyOptimization and OtherOptimization"):
        scheduler.register_pre_task(0, function)


def test_all_sorts_of_callables() -> None:
    got: list[Any] = []

    class Callable_:  # noqa: N801
        def __call__(self, step: int) -> None:
            got.append(("object", step))

    def function(a: int, /, *args: Any, step: int, **kwargs: Any) -> None:
        got.append(("function", a, args, step, kwargs))

    def two(label: str, step: int) -> None:
        got.append((label, step))

    scheduler = Scheduler()
    for f in (Callable_(), function, functools.partial(two, "partial"), lambda: got.append("lambda")):
        scheduler.register_pre_task(1, f)
    scheduler.run("pre", 1)
    assert got == [("object", 1), ("function", 1, (), 1, {}), ("partial", 1), "lambda"]


def test_a_declared_type_is_looked_up_when_a_task_runs() -> None:
    got: list[Any] = []

    def look(camera: Camera, opt: MyOptimization) -> None:
        got.append((camera, opt))

    scheduler = Scheduler(MyOptimization)
    scheduler.register_pre_task(range(2), look)
    camera = Camera("a", torch.eye(4), torch.eye(3), 1, 1)
    opt = MyOptimization()
    scheduler.run("pre", 0, {Camera: camera, MyOptimization: opt})
    assert got == [(camera, opt)]


def test_marked_functions_stay_callable() -> None:
    model = Model()
    model.derived(result(MyResult))
    assert len(model.got) == 1


def test_a_task_that_raises_names_itself_and_its_step() -> None:
    def broken(step: int) -> None:
        if step == 3:
            raise RuntimeError("no more")

    scheduler = Scheduler()
    scheduler.register_pre_task(range(10), broken)
    for step in range(3):
        scheduler.run("pre", step)
    with pytest.raises(TaskError, match=r"task 'broken' \(pre\) failed at step 3: RuntimeError: no more") as caught:
        scheduler.run("pre", 3)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    "steps", ["12", 1.5, [1, 2.5], True, None, [True], torch.tensor([1.5]), torch.tensor([True, False])]
)
def test_steps_that_are_not_ints_are_refused(steps: Any) -> None:
    with pytest.raises(TaskError, match=r"task 'print' \(pre\): expected"):
        Scheduler().register_pre_task(steps, print, name="print")


@pytest.mark.parametrize("priority", ["first", 1.5, True, None])
def test_priorities_that_are_not_ints_are_refused(priority: Any) -> None:
    with pytest.raises(TaskError, match=r"task 'print' \(pre\): expected an int as priority"):
        Scheduler().register_pre_task(3, print, name="print", priority=priority)


def test_tensors_and_arrays_are_iterables_of_ints() -> None:
    scheduler = Scheduler()
    scheduler.register_pre_task(torch.tensor([5, 1]), print, name="t")
    scheduler.register_pre_task(torch.arange(4).numpy(), print, name="a")
    assert [(r.first, r.last, r.runs) for r in scheduler.timeline()] == [(1, 5, 2), (0, 3, 4)]


def test_an_iterator_must_not_decrease() -> None:
    scheduler = Scheduler()
    scheduler.register_pre_task(iter([5, 1]), lambda: None, name="zigzag")
    for step in range(5):
        scheduler.run("pre", step)
    with pytest.raises(TaskError, match=r"'zigzag'.*must not decrease, got 1 after 5"):
        scheduler.run("pre", 5)
    with pytest.raises(TaskError, match=r"'zigzag'.*cannot go back"):
        scheduler.seek(0)


def test_a_skipped_step_does_not_lose_a_task_silently() -> None:
    scheduler = Scheduler()
    scheduler.register_pre_task([4], lambda: None, name="important")
    scheduler.run("pre", 2)
    with pytest.raises(TaskError, match=r"'important'.*due at step 4, which was skipped"):
        scheduler.run("pre", 9)
    with pytest.raises(TaskError, match="step 2 was already run"):
        scheduler.run("pre", 2)
    scheduler.seek(9)
    scheduler.run("pre", 9)


def test_a_task_registered_during_the_run_starts_with_the_next_step() -> None:
    ran: list[tuple[str, int]] = []
    scheduler = Scheduler()

    def note(step: int) -> None:
        ran.append(("note", step))

    def register() -> None:
        scheduler.register_pre_task(range(100), note)
        scheduler.register_post_task(range(100), note)

    scheduler.register_pre_task(5, register)
    for step in range(4, 8):
        scheduler.run("pre", step)
        scheduler.run("post", step)
    assert ran == [("note", 5), ("note", 6), ("note", 6), ("note", 7), ("note", 7)]


def test_a_state_of_other_tasks_is_refused() -> None:
    first, second = Scheduler(), Scheduler()
    first.register_pre_task(range(5), print, name="old")
    second.register_pre_task(range(5), print, name="new")
    with pytest.raises(TaskError, match=r"missing old \(pre\); new new \(pre\)"):
        second.load_state_dict(first.state_dict())


def test_timings_and_logging(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = Scheduler()
    scheduler.register_pre_task(range(0, 10, 2), lambda: None, name="quick")
    scheduler.register_pre_task(range(10), lambda: time.sleep(0.001), name="slow", logging=True)
    with caplog.at_level(logging.INFO, logger="gsbench"):
        for step in range(10):
            scheduler.run("pre", step)
    timings = {t.task: t for t in scheduler.timings()}
    assert (timings["slow"].calls, timings["quick"].calls) == (10, 5)
    assert timings["slow"].seconds >= 0.010
    assert timings["quick"].seconds > 0.0
    assert scheduler.timings() == sorted(timings.values(), key=lambda t: -t.seconds)
    assert len([r for r in caplog.records if "slow" in r.message]) == 10
    assert not [r for r in caplog.records if "quick" in r.message]

    again = Scheduler()
    again.register_pre_task(range(0, 10, 2), lambda: None, name="quick")
    again.register_pre_task(range(10), lambda: None, name="slow", logging=True)
    again.load_state_dict(scheduler.state_dict())
    assert again.timings() == scheduler.timings()


def test_the_table_can_be_read() -> None:
    scheduler = Scheduler()
    scheduler.register_post_task(range(500, 15_000, 100), lambda: None, name="densify", priority=1)
    scheduler.register_pre_task(range(30_000), lambda: None, name="update_learning_rate")
    scheduler.register_pre_task(iter([7]), lambda: None, name="lazy")
    scheduler.register_end_task([], lambda: None, name="never")
    assert scheduler.table() == (
        "phase  task                  priority  first   last  every      runs\n"
        "pre    update_learning_rate         0      0  29999  1         30000\n"
        "pre    lazy                         0      7      -  iterator      -\n"
        "post   densify                      1    500  14900  100         145\n"
        "end    never                        0      -      -  never         0"
    )
