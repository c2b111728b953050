"""The matrix of jobs, and everything that is wrong with a request before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsbench.bench import plan as plan_module
from gsbench.bench.model import JobSpec, Plan, RunRequest
from gsbench.bench.plan import build_plan, resolve_device
from gsbench.errors import PluginError, SceneError, UsageError

PlanOf = Callable[..., Plan]


def test_the_matrix(plan_of: PlanOf, capture: Path, tmp_path: Path) -> None:
    plan = plan_of("dots", "v1.5", rates=["all"], seeds=[0, 3, 0])
    assert [(j.method, j.rate, j.seed) for j in plan.jobs] == [
        ("dots", "low", 0),
        ("dots", "low", 3),
        ("dots", "high", 0),
        ("dots", "high", 3),
        ("v1.5", "default", 0),
        ("v1.5", "default", 3),
    ]
    assert plan.out == tmp_path / "runs"
    job = plan.jobs[1]
    assert job.id == "gs1600/path/desk/dots/low.3"
    assert (job.distribution, job.suffix, job.config["bits"], job.scene_path) == ("gsbench-zoo", ".gsb", 4, capture)
    assert job.encode_fields == ["bits", "inner.shade"]
    assert job.metrics == ["psnr", "lpips_vgg"]


def test_a_plan_survives_json(plan_of: PlanOf) -> None:
    plan = plan_of("fewer", "dots", background=(1.0, 0.5, 0.0), images="images", iterations=5, settings=["dots.name=é"])
    again = Plan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert again.jobs[1].base is not None
    assert JobSpec.model_validate_json(plan.jobs[1].model_dump_json()).options.background == (1.0, 0.5, 0.0)


def test_rate_points(plan_of: PlanOf) -> None:
    assert [j.rate for j in plan_of("dots").jobs] == ["high"]
    assert [j.rate for j in plan_of("dots", rates=["low", "default", "high"]).jobs] == ["low", "high"]
    # A method with one rate point has no choice.
    assert [(j.method, j.rate) for j in plan_of("dots", "broken", rates=["low"]).jobs] == [
        ("dots", "low"),
        ("broken", "default"),
    ]
    with pytest.raises(UsageError, match="'dots' has no rate point 'lwo'; did you mean 'low'"):
        plan_of("dots", rates=["lwo"])
    with pytest.raises(UsageError, match="no method of this run has a rate point 'low'"):
        plan_of("broken", rates=["low"])


def test_settings_reach_the_config(plan_of: PlanOf) -> None:
    settings = ["dots.bits=3", "dots.inner.depth=9", "dots.limit=none", "v1.5.gain=2"]
    dots, dotted = plan_of("dots", "v1.5", settings=settings).jobs
    assert (dots.config["bits"], dots.config["inner"]["depth"], dots.config["limit"]) == (3, 9, None)
    assert (dotted.config["gain"], dots.config["gain"]) == (2.0, 1.0)


def test_a_base_is_a_job_of_its_own_done_once(plan_of: PlanOf) -> None:
    plan = plan_of("fewer", seeds=[1, 2], settings=["dots.gain=0.5"])
    base, first, second = plan.jobs
    assert (base.method, base.rate, base.seed, base.dependency) == ("dots", "high", plan_module.BASE_SEED, True)
    assert base.config["gain"] == 0.5
    assert first.base == base
    assert second.base == base
    assert first.requires == [base.id]
    assert not first.dependency
    asked_for = plan_of("fewer", "dots")
    assert [(j.method, j.dependency) for j in asked_for.jobs] == [("dots", False), ("fewer", False)]


def test_jobs_that_share_a_training_wait_for_each_other(plan_of: PlanOf) -> None:
    low, high, other = plan_of("dots", rates=["low", "high"]).jobs + plan_of("dots", seeds=[1]).jobs
    assert low.after == []
    assert high.after == [low.id]
    assert high.requires == []
    assert other.after == []
    # Settings of training set them apart.
    low, high = plan_of("dots", rates=["low", "high"], settings=["dots.bits=2"]).jobs
    assert high.after == [low.id]


@pytest.mark.parametrize(
    ("methods", "options", "error", "message"),
    [
        (["dost"], {}, UsageError, "unknown method 'dost'; did you mean 'dots'"),
        ([], {}, UsageError, "no method"),
        (["dots"], {"scenes": ["dmeo"]}, UsageError, "did you mean 'demo'"),
        (["dots"], {"scenes": ["path:/nowhere/at/all"]}, SceneError, "/nowhere/at/all"),
        (["dots"], {"scenes": []}, UsageError, "no scene"),
        (["dots"], {"settings": ["dots.bitz=1"]}, UsageError, "no field 'bitz'; did you mean 'bits'"),
        (["dots"], {"settings": ["dots.bits=many"]}, UsageError, "dots.bits=many: expected a whole number"),
        (["dots"], {"settings": ["dots.bits=0"]}, UsageError, "bits: expected at least 1, got 0"),
        (["dots"], {"settings": ["fewer.bits=1"]}, UsageError, "'fewer' is not part of this run"),
        (["dots"], {"settings": ["bits=1"]}, UsageError, "METHOD.field=value"),
        (["dots"], {"metrics": ["psrn"]}, UsageError, "unknown metric 'psrn'; did you mean 'psnr'"),
        (["dots"], {"engine": "lokal"}, UsageError, "unknown engine 'lokal'; did you mean 'local'"),
        (["dots"], {"protocol": "gs16"}, UsageError, "unknown protocol 'gs16'; did you mean 'gs1600'"),
        (["dots"], {"images": "../x"}, UsageError, "--images"),
        (["dots"], {"images": "images_9"}, SceneError, "images_9"),
        (["dots"], {"downscale": 0.5}, UsageError, "--downscale"),
        (["dots"], {"init": "random"}, UsageError, "random:N"),
        (["dots"], {"seeds": [-1]}, UsageError, "0 or more"),
        (["dots"], {"seeds": []}, UsageError, "at least one"),
        (["dots"], {"rates": []}, UsageError, "no rate point"),
        (["dots"], {"device": "cuda:99"}, UsageError, "--device cuda:99"),
        (["orphan"], {}, UsageError, "'orphan' needs the base 'nothing'"),
        (["hen"], {}, PluginError, "in a circle: hen -> egg -> hen"),
        (["badrate"], {}, PluginError, "rate point: 'bitz'"),
    ],
)
def test_wrong_requests(
    plan_of: PlanOf, methods: list[str], options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        plan_of(*methods, **options)
    assert message in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_damaged_scene_is_found_before_anything_runs(plan_of: PlanOf, capture: Path) -> None:
    plan_of("dots")
    (capture / "images" / "photo03.png").write_bytes(b"this is no photo")
    with pytest.raises(SceneError, match=r"photo03\.png"):
        plan_of("dots")


def test_the_plan_says_what_is_odd_about_a_scene(plan_of: PlanOf, capture: Path) -> None:
    plain = plan_of("dots").notes
    (capture / "sparse" / "1").mkdir()
    for path in (capture / "sparse" / "0").iterdir():
        (capture / "sparse" / "1" / path.name).write_bytes(path.read_bytes())
    odd = plan_of("dots").notes
    assert all(note.startswith("path/desk: ") for note in odd)
    assert len(odd) >= len(plain)


def test_a_larger_scene_is_expected_to_take_more_memory(plan_of: PlanOf) -> None:
    # 8 training photos of 20x14; half as large in each direction, a quarter of the bytes.
    full, half = plan_of("dots").jobs[0], plan_of("dots", downscale=2).jobs[0]
    assert full.protocol.id != half.protocol.id
    floor = plan_module._MEMORY_FLOOR
    assert full.memory_bytes - floor == 4 * (half.memory_bytes - floor) == 4 * 8 * 3 * 20 * 14


def test_devices(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gsbench import registry
    from gsbench.hooks import load_plugins

    load_plugins()
    assert resolve_device("cpu") == "cpu"
    if "cuda" not in registry.rasterizers:
        assert resolve_device("auto") == "cpu"
        monkeypatch.setitem(registry.rasterizers._entries, "cuda", object())
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"
    with pytest.raises(UsageError, match="finds 2 CUDA devices"):
        resolve_device("cuda:2")


def test_requests_check_their_values() -> None:
    for wrong in ({"iterations": 0}, {"jobs": 0}, {"threads": 0}, {"device": "gpu"}, {"metods": []}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RunRequest.model_validate({"methods": ["a"], "scenes": ["b"], **wrong})


@pytest.fixture
def demo_is_the_capture(monkeypatch: pytest.MonkeyPatch, capture: Path) -> None:
    from gsbench.scenes import Scene, SceneOptions, SceneRef, load_scene

    def fake(ref: SceneRef, options: SceneOptions) -> Scene:
        return load_scene(SceneRef("path", "desk", capture), options)

    monkeypatch.setattr(plan_module, "load_scene", fake)


@pytest.mark.usefixtures("zoo", "demo_is_the_capture")
def test_the_demo_is_planned_by_name(tmp_path: Path) -> None:
    """A scene of a data set has no path of its own in the job."""
    (job,) = build_plan(RunRequest(methods=["dots"], scenes=["demo"], out=tmp_path)).jobs
    assert (job.dataset, job.scene, job.scene_path) == ("demo", "demo", None)


@pytest.mark.usefixtures("zoo", "demo_is_the_capture")
def test_training_steps_are_those_of_the_data_set_unless_the_user_says(tmp_path: Path, capture: Path) -> None:
    def plan(scene: str, **more: Any) -> tuple[list[int | None], list[str]]:
        made = build_plan(RunRequest(methods=["dots"], scenes=[scene], out=tmp_path, **more))
        return [job.iterations for job in made.jobs], [note for note in made.notes if "training steps" in note]

    steps, (note,) = plan("demo")
    assert steps == [1500]
    assert "1,500 training steps, the data set's own number; --iterations N for another" in note
    assert plan("demo", iterations=7) == ([7], [])
    assert plan(f"path:{capture}") == ([None], [])
