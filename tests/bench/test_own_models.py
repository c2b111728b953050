"""Methods that start from a user's own model: where it is found, what it changes, what the record says."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gsbench.artifact import open_artifact
from gsbench.bench.model import JobSpec, Plan
from gsbench.bench.own_models import describe_model, find_models, find_ply, read_model
from gsbench.bench.runner import finished_record, run_job
from gsbench.errors import FormatError, JobError, UsageError
from gsbench.formats.ply import read_ply, write_ply
from gsbench.raster import RenderOptions, render
from gsbench.records import Record
from gsbench.scenes import SceneRef, load_scene
from gsbench.splats import Splats
from gsbench.testing import random_splats

PlanOf = Callable[..., Plan]
DESK = SceneRef("path", "desk", Path("/nowhere/desk"))


def ply(path: Path, count: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_ply(path, random_splats(count))
    return path


def found(base: Path, *scenes: SceneRef) -> list[Path]:
    return [model.path for model in find_models(base, scenes or (DESK,)).values()]


def test_the_order_in_which_a_folder_is_searched(tmp_path: Path) -> None:
    """From the last place to the first: each new file wins over those before."""
    for relative in (
        "point_cloud.ply",
        "point_cloud/iteration_7000/point_cloud.ply",
        "desk.ply",
        "path/desk.ply",
        "desk/point_cloud.ply",
        "desk/point_cloud/iteration_7000/point_cloud.ply",
        "desk/point_cloud/iteration_30000/point_cloud.ply",
        "path/desk/point_cloud.ply",
        "path/desk/point_cloud/iteration_5/point_cloud.ply",
    ):
        expected = ply(tmp_path / relative, 3)
        assert found(tmp_path) == [expected]


def test_the_newest_iteration_that_is_complete(tmp_path: Path) -> None:
    newest = ply(tmp_path / "point_cloud" / "iteration_30000" / "point_cloud.ply", 3)
    ply(tmp_path / "point_cloud" / "iteration_7000" / "point_cloud.ply", 3)
    ply(tmp_path / "point_cloud" / "iteration_best" / "point_cloud.ply", 3)
    (tmp_path / "point_cloud" / "iteration_60000").mkdir()
    assert find_ply(tmp_path) == newest
    assert find_ply(tmp_path / "point_cloud") is None


def test_a_folder_of_one_model_is_for_one_scene(tmp_path: Path) -> None:
    path = ply(tmp_path / "point_cloud.ply", 3)
    assert found(tmp_path) == [path]
    with pytest.raises(UsageError, match="no usable model for 2 of 2 scenes"):
        found(tmp_path, DESK, SceneRef("path", "door"))


def test_every_problem_is_listed(tmp_path: Path) -> None:
    scenes = [SceneRef("lab", name) for name in ("good", "gone", "short", "empty", "other")]
    ply(tmp_path / "good.ply")
    short = ply(tmp_path / "short.ply")
    short.write_bytes(short.read_bytes()[:-9])
    write_ply(tmp_path / "lab_empty.ply", Splats.empty())
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab_empty.ply").rename(tmp_path / "lab" / "empty.ply")
    (tmp_path / "other.ply").write_bytes(b"solid cube")
    with pytest.raises(UsageError) as caught:
        find_models(tmp_path, scenes)
    first, *lines = str(caught.value).splitlines()
    assert first == f"--base {tmp_path}: no usable model for 4 of 5 scenes:"
    assert [line.split()[0] for line in lines] == ["lab/gone:", "lab/short:", "lab/empty:", "lab/other:"]
    for line, what in zip(lines, ("no model; expected", "short.ply: ", "has no Gaussians", "other.ply: "), strict=True):
        assert what in line


def test_a_file_is_for_one_scene_and_must_exist(tmp_path: Path) -> None:
    path = ply(tmp_path / "model.ply")
    assert found(path) == [path]
    with pytest.raises(UsageError, match="is the model of one scene, and this run has 2"):
        found(path, DESK, SceneRef("path", "door"))
    with pytest.raises(UsageError, match=r"none\.ply does not exist; expected a \.ply file, or a folder"):
        found(tmp_path / "none.ply")


def test_a_model_is_known_by_its_content(tmp_path: Path) -> None:
    path = ply(tmp_path / "model.ply")
    model = describe_model("model.ply", path)
    assert (model.bytes, model.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    assert torch.equal(read_model(model).means, random_splats(40).means)
    ply(path, 41)
    with pytest.raises(JobError, match="changed after the run was planned"):
        read_model(model)
    path.unlink()
    with pytest.raises(JobError, match="changed"):
        read_model(model)
    with pytest.raises(FormatError, match=r"model\.ply"):
        describe_model("model.ply", path)


def test_the_model_takes_the_place_of_the_base(plan_of: PlanOf, tmp_path: Path) -> None:
    path = ply(tmp_path / "mine" / "model.ply")
    plan = plan_of("fewer", "orphan", base=path, seeds=[0, 1])
    assert [(job.method, job.seed) for job in plan.jobs] == [("fewer", 0), ("fewer", 1), ("orphan", 0), ("orphan", 1)]
    for job in plan.jobs:
        assert (job.base, job.requires, job.dependency) == (None, [], False)
        assert job.own_base is not None
        assert (job.own_base.name, job.own_base.path) == ("model.ply", path)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    with pytest.raises(UsageError, match="'dots' is not part of this run"):
        plan_of("fewer", base=path, settings=["dots.gain=2"])


def test_methods_without_a_base_refuse_one(plan_of: PlanOf, tmp_path: Path) -> None:
    path = ply(tmp_path / "model.ply")
    with pytest.raises(UsageError) as caught:
        plan_of("dots", "fewer", base=path)
    message = str(caught.value)
    assert message.startswith("--base: dots trains its own model and does not start from another; methods that do: ")
    assert "fewer" in message.partition("methods that do")[2]
    with pytest.raises(UsageError, match=r"--base: dots, v1\.5 train their own model"):
        plan_of("dots", "v1.5", base=path)


@pytest.fixture
def job(plan_of: PlanOf, tmp_path: Path, unsealed: None) -> JobSpec:
    return plan_of("fewer", base=ply(tmp_path / "secret place" / "model.ply")).jobs[0]


def run(spec: JobSpec) -> tuple[Record, list[str]]:
    stages: list[str] = []
    record = run_job(
        spec, lambda e: stages.append(e.stage or "") if e.kind == "stage-finished" and not e.cached else None
    )
    return record, stages


def test_a_job_from_a_model_to_its_record(job: JobSpec, plan_of: PlanOf) -> None:
    assert job.own_base is not None
    record, stages = run(job)
    assert (record.status, record.error) == ("ok", None)
    assert stages == ["train", "encode", "decode", "render", "base", "score"]
    assert record.base is not None
    assert (record.base.name, record.base.sha256, record.base.own) == ("model.ply", job.own_base.sha256, True)
    text = (job.out / record.path()).read_text()
    assert "secret place" not in text, "a record never has paths"
    assert record.gaussians == 20, "every second Gaussian of the model"
    means = np.frombuffer(open_artifact(job.out / str(record.artifact)).read("means"), "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(means, random_splats(40).means[::2].numpy())
    assert run(job) == (record, [])
    assert finished_record(job) == record


def test_distortion_is_measured_against_the_users_model(job: JobSpec) -> None:
    """`psnr_to_base` of the record, computed by hand from the artifact's images and renders of the model."""
    record, _ = run(job)
    assert job.own_base is not None
    scene = load_scene(job.scene_ref, job.options)
    (decoded,) = (p for p in (job.out / "stages" / "decode").iterdir() if p.is_dir())
    expected = []
    for index, view in enumerate(scene.test):
        image = render(read_ply(job.own_base.path), view, RenderOptions(background=scene.background)).image
        base = np.round(np.clip(image.numpy().astype(np.float64), 0, 1) * 255)
        with Image.open(decoded / "images" / f"{index:04d}.png") as file:
            ours = np.asarray(file).astype(np.float64)
        expected.append(10 * math.log10(255**2 / np.mean((ours - base) ** 2)))
    assert record.metrics["psnr_to_base"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_another_model_is_another_result_and_a_moved_one_is_not(job: JobSpec, plan_of: PlanOf, tmp_path: Path) -> None:
    first, _ = run(job)
    assert job.own_base is not None
    moved = tmp_path / "elsewhere" / "desk.ply"
    moved.parent.mkdir()
    job.own_base.path.rename(moved)
    record, stages = run(plan_of("fewer", base=moved.parent).jobs[0])
    assert stages == []
    assert record.base is not None
    assert first.base is not None
    assert (record.base.name, record.base.sha256) == ("elsewhere", first.base.sha256)
    other, stages = run(plan_of("fewer", base=ply(tmp_path / "other.ply", 60)).jobs[0])
    assert stages == ["train", "encode", "decode", "render", "base", "score"]
    assert other.gaussians == 30


def test_methods_share_the_renders_of_a_model(plan_of: PlanOf, tmp_path: Path, unsealed: None) -> None:
    first, second = plan_of("fewer", "orphan", base=ply(tmp_path / "model.ply")).jobs
    assert "base" in run(first)[1]
    assert run(second)[1] == ["train", "encode", "decode", "render", "score"]


def test_a_model_that_changes_after_planning_fails_the_job(job: JobSpec) -> None:
    assert job.own_base is not None
    ply(job.own_base.path, 41)
    record, _ = run(job)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.stage == "train"
    assert "changed after the run was planned" in record.error.message
    assert record.base is not None
    assert record.base.own


def test_the_record_names_a_trained_base_too(plan_of: PlanOf, unsealed: None) -> None:
    base, job = plan_of("fewer").jobs
    record, _ = run(job)
    trained, _ = run(base)
    assert trained.base is None
    assert record.base is not None
    assert (record.base.name, record.base.sha256, record.base.own) == ("dots", trained.sha256, False)
    stored = json.loads((job.out / record.path()).read_text())
    assert stored["base"] == {"name": "dots", "sha256": trained.sha256, "own": False}
