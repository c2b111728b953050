"""``gsbench plan --schedule``: for every method that is installed, and the numbers of the published schedule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gsbench import registry
from gsbench.cli import main
from gsbench.hooks import load_plugins, method_class

#: The published schedule of 30,000 steps (Kerbl et al. 2023, section 5.2 and its appendix; steps count from 0), as
#: (phase, first, last, every, runs).
PUBLISHED = {
    "update_learning_rate": ("pre", 0, 29_999, "1", 30_000),
    "oneup_sh_degree": ("pre", 1_000, 29_000, "1000", 29),
    "add_densification_stats": ("post", 0, 14_999, "1", 15_000),
    "densify_and_prune_task": ("post", 600, 14_900, "100", 144),
    "reset_opacity": ("post", 3_000, 12_000, "3000", 4),
}


def schedule(capsys: pytest.CaptureFixture[str], name: str, *options: str) -> list[dict[str, Any]]:
    assert main(["plan", "--schedule", name, "--json", *options]) == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["schema"], output["method"]) == ("gsbench.schedule/1", name)
    tasks: list[dict[str, Any]] = output["tasks"]
    return tasks


def by_name(tasks: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {
        task["task"].rpartition(".")[2]: tuple(task[k] for k in ("phase", "first", "last", "every", "runs"))
        for task in tasks
    }


@pytest.fixture
def _3dgs() -> None:
    load_plugins()
    if "3dgs" not in registry.methods:
        pytest.skip("the plugin gsbench-3dgs is not installed")


@pytest.mark.usefixtures("_3dgs")
def test_3dgs_trains_by_the_published_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    assert by_name(schedule(capsys, "3dgs")) == PUBLISHED


@pytest.mark.usefixtures("_3dgs")
@pytest.mark.parametrize("iterations", [15_000, 7_500, 1_500, 300])
def test_fewer_iterations_scale_the_schedule_but_not_the_spacing_of_densification(
    iterations: int, capsys: pytest.CaptureFixture[str]
) -> None:
    share = iterations / 30_000
    rows = by_name(schedule(capsys, "3dgs", "--iterations", str(iterations)))
    assert rows.keys() == PUBLISHED.keys()
    assert rows["update_learning_rate"] == ("pre", 0, iterations - 1, "1", iterations)
    assert rows["add_densification_stats"] == ("post", 0, iterations // 2 - 1, "1", iterations // 2)
    for name in ("oneup_sh_degree", "reset_opacity"):
        phase, first, last, every, runs = PUBLISHED[name]
        assert rows[name] == (phase, first * share, last * share, str(round(int(every) * share)), runs)
    phase, first, last, every, runs = rows["densify_and_prune_task"]
    assert (phase, every) == ("post", "100" if runs > 1 else "once")
    assert 500 * share < first <= 500 * share + 100
    assert first % 100 == last % 100 == 0
    assert last < 15_000 * share
    assert runs == (last - first) // 100 + 1


@pytest.mark.usefixtures("_3dgs")
def test_settings_change_the_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--set", "3dgs.densify_until_iter=6e3", "--set", "3dgs.opacity_reset_interval=0"]
    rows = by_name(schedule(capsys, "3dgs", *options))
    assert rows["densify_and_prune_task"] == ("post", 600, 5_900, "100", 54)
    assert rows["reset_opacity"] == ("post", None, None, "never", 0)


@pytest.mark.parametrize("iterations", [None, 1_000])
def test_every_method_that_trains_shows_its_schedule(
    iterations: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    load_plugins()
    names = [name for name in sorted(registry.methods) if hasattr(method_class(name), "schedule")]
    for name in names:
        check_schedule(name, iterations, capsys)


def check_schedule(name: str, iterations: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    options = [] if iterations is None else ["--iterations", str(iterations)]
    tasks = schedule(capsys, name, *options)
    assert tasks
    for task in tasks:
        assert task["runs"] is None or task["runs"] == 0 or 0 <= task["first"] <= task["last"]
        if iterations is not None:
            assert task["last"] is None or task["last"] < iterations
    assert main(["plan", "--schedule", name, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Schedule of {name} at rate point {registry.methods.get(name).rate('default').name}; " + (
        "steps count from 0"
    )
    assert lines[2].split() == ["phase", "task", "priority", "first", "last", "every", "runs"]
    for task, line in zip(tasks, lines[3:], strict=True):
        assert line.split() == ["-" if value is None else str(value) for value in task.values()]
