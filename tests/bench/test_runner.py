"""One job: what its stages leave behind, what is not done again, and what becomes of damage and of failure.

The sealed decoder has tests of its own; here the artifact is decoded in this process.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsbench.artifact import open_artifact
from gsbench.bench import keys, runner, stages
from gsbench.bench.model import JobEvent, JobSpec
from gsbench.bench.runner import finished_record, run_job
from gsbench.bench.sealed import SealedError
from gsbench.bench.store import Store, record_bytes
from gsbench.records import Record
from gsbench.scenes import Scene, View

pytestmark = pytest.mark.usefixtures("unsealed")

JobOf = Callable[..., JobSpec]
ALL = ["train", "encode", "decode", "render", "score"]


class Run:
    """A job that was run: its record and its events."""

    def __init__(self, spec: JobSpec) -> None:
        self.events: list[JobEvent] = []
        self.record = run_job(spec, self.events.append)

    def computed(self) -> list[str]:
        return [e.stage or "" for e in self.events if e.kind == "stage-finished" and not e.cached]

    def cached(self) -> list[str]:
        return [e.stage or "" for e in self.events if e.kind == "stage-finished" and e.cached]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def stage_folder(spec: JobSpec, stage: str) -> Path:
    (folder,) = (p for p in (spec.out / "stages" / stage).iterdir() if p.is_dir())
    return folder


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_job_from_photos_to_record(job_of: JobOf, capsys: pytest.CaptureFixture[str]) -> None:
    spec = job_of("dots", settings=["dots.gain=0.5"], seeds=[2])
    run = Run(spec)
    record = run.record
    assert (record.status, record.error) == ("ok", None)
    assert (record.method, record.dataset, record.scene, record.rate, record.seed) == (
        "dots",
        "path",
        "desk",
        "high",
        2,
    )
    assert record.protocol == spec.protocol
    assert record.method_info.distribution == "gsbench-zoo"
    assert record.config["gain"] == 0.5
    assert record.scene_hash == spec.scene_hash

    artifact = spec.out / str(record.artifact)
    assert artifact == spec.out / "gs1600/path/desk/dots/high.2.gsb"
    assert record.bytes == artifact.stat().st_size == sum(record.sections.values())
    assert record.sha256 == open_artifact(artifact).sha256
    assert {"means", "colors", "header", "container"} == set(record.sections)

    assert record.gaussians == 12
    assert record.isolation == "audit-hook"
    assert record.seconds.decode == 0.25
    assert record.render_ms is not None
    assert (record.render_ms.median, record.render_ms.p95) == (2.5, pytest.approx(2.95))
    assert record.peak_host_bytes is not None
    assert record.peak_host_bytes > 50e6
    assert [view.name for view in record.views] == ["photo00.png", "photo08.png"]
    assert 3 < float(record.metrics["psnr"] or 0) < 40
    assert list(record.reasons) == ["lpips_vgg"]
    assert "psnr_to_base" not in record.metrics
    assert record.environment is not None

    path = spec.out / record.path()
    assert path.read_bytes() == record_bytes(record)
    assert Record.model_validate_json(path.read_bytes()) == record
    assert run.computed() == ALL
    assert "fitting dots" in next((spec.out / "stages" / "train").glob("*.log")).read_text()
    assert capsys.readouterr().out == "", "what stages print is in their logs"


def test_what_lies_in_the_results_folder(job_of: JobOf) -> None:
    spec = job_of("dots")
    Run(spec)
    assert files_below(stage_folder(spec, "train")) == {"model.safetensors", "model.json", "key.json"}
    assert files_below(stage_folder(spec, "encode")) == {"artifact.gsb", "key.json"}
    assert files_below(stage_folder(spec, "score")) == {"key.json"}
    decoded = stage_folder(spec, "decode")
    assert files_below(decoded) == {"key.json", "images/0000.png", "images/0001.png"}, "float frames are dropped"
    for stage in ("train", "encode", "decode", "score"):
        key = json.loads((stage_folder(spec, stage) / "key.json").read_text())
        assert keys.digest(key["inputs"]) == stage_folder(spec, stage).name
        assert key["inputs"]["stage"] == stage
        names = {p.name for p in (spec.out / "stages" / stage).iterdir()}
        assert names == {stage_folder(spec, stage).name, f"{stage_folder(spec, stage).name}.log"}
    assert not (spec.out / "stages" / "render").exists()


def test_events(job_of: JobOf) -> None:
    run = Run(job_of("dots"))
    order = [(e.kind, e.stage) for e in run.events if e.kind != "progress"]
    assert order == [
        ("stage-started", "train"),
        ("stage-finished", "train"),
        ("stage-started", "encode"),
        ("stage-finished", "encode"),
        ("stage-started", "decode"),
        ("stage-started", "render"),
        ("stage-finished", "decode"),
        ("stage-finished", "render"),
        ("stage-started", "score"),
        ("stage-finished", "score"),
    ]
    progress = [e for e in run.events if e.kind == "progress"]
    last = [e for e in progress if e.stage == "train"][-1]
    assert (last.step, last.total) == (10, 10)
    assert list(last.values) == ["loss"], "what is not a number is left out"
    assert [(e.step, e.total) for e in progress if e.stage == "render"] == [(1, 2), (2, 2)]
    for event in run.events:
        assert JobEvent.model_validate_json(event.model_dump_json(exclude_defaults=True)) == event


def test_nothing_is_done_twice(job_of: JobOf, trace: Path) -> None:
    spec = job_of("dots", settings=[f"dots.trace={trace}"])
    first = Run(spec)
    times = {p: p.stat().st_mtime_ns for p in spec.out.rglob("*")}
    again = Run(spec)
    assert again.record == first.record
    assert (again.computed(), again.cached()) == ([], ALL)
    assert finished_record(spec) == first.record
    assert {p: p.stat().st_mtime_ns for p in spec.out.rglob("*")} == times
    assert trace.read_text().count("\n") == 2


def test_a_lost_record_is_written_again_byte_for_byte(job_of: JobOf) -> None:
    spec = job_of("dots")
    record = Run(spec).record
    path, beside = spec.out / record.path(), spec.out / str(record.artifact)
    before, content = path.read_bytes(), beside.read_bytes()
    path.unlink()
    beside.unlink()
    assert finished_record(spec) == record
    assert (path.read_bytes(), beside.read_bytes()) == (before, content)
    path.write_text("{}")
    beside.write_bytes(b"")
    assert finished_record(spec) in (record, None)
    assert Run(spec).record.sha256 == record.sha256
    assert beside.read_bytes() == content


def test_finished_record_computes_nothing(job_of: JobOf) -> None:
    spec = job_of("dots")
    assert finished_record(spec) is None
    assert not (spec.out / "stages").exists()


def test_rate_points_share_a_training(plan_of: Callable[..., Any], trace: Path) -> None:
    low, high = plan_of("dots", rates=["low", "high"], settings=[f"dots.trace={trace}"]).jobs
    small, large = Run(low).record, Run(high)
    assert large.computed() == ALL[1:]
    assert [line.split()[0] for line in trace.read_text().splitlines()] == ["fit", "encode", "encode"]
    assert small.seconds.train == large.record.seconds.train
    assert small.sha256 != large.record.sha256


def test_what_a_setting_invalidates(job_of: JobOf) -> None:
    Run(job_of("dots"))
    assert Run(job_of("dots", settings=["dots.bits=5"])).computed() == ALL[1:]
    assert Run(job_of("dots", settings=["dots.gain=0.9"])).computed() == ALL
    assert Run(job_of("dots", iterations=5)).computed()[0] == "train"
    assert Run(job_of("dots", metrics=["psnr"])).computed() == ["decode", "render", "score"], "frames were dropped"
    assert Run(job_of("dots")).computed() == []
    # An encode-only setting that changes no byte of the artifact does not decode it again.
    assert Run(job_of("dots", settings=["dots.inner.shade=0.9"])).computed() == ["encode"]


def test_frames_are_kept_if_asked_for(job_of: JobOf) -> None:
    spec = job_of("dots", keep_frames=True)
    Run(spec)
    frames = sorted((stage_folder(spec, "decode") / "frames").iterdir())
    assert [np.load(p).shape for p in frames] == [(14, 20, 3)] * 2
    images = sorted((stage_folder(spec, "decode") / "images").iterdir())
    for frame, image in zip(frames, images, strict=True):
        rounded = (np.load(frame).clip(0, 1) * np.float32(255)).round().astype(np.uint8)
        assert np.array_equal(np.array(Image.open(image)), rounded)
    assert Run(job_of("dots", keep_frames=True, metrics=["psnr"])).computed() == ["score"]


def test_keys_and_bytes_do_not_depend_on_the_place(job_of: JobOf, tmp_path: Path, capture: Path) -> None:
    one = job_of("dots")
    moved = tmp_path / "another place" / "desk"
    moved.parent.mkdir()
    shutil.copytree(capture, moved)
    other = job_of("dots", out=tmp_path / "other runs", scenes=[f"path:{moved}"], threads=1)
    first, second = Run(one).record, Run(other).record
    assert first.sha256 == second.sha256
    assert first.metrics == second.metrics
    for stage in ("train", "encode", "decode", "score"):
        assert stage_folder(one, stage).name == stage_folder(other, stage).name


@pytest.mark.parametrize("stage", ["train", "encode", "decode", "score"])
@pytest.mark.parametrize("damage", ["key.json garbage", "key.json gone", "folder gone"])
def test_damaged_stages_are_computed_again(job_of: JobOf, stage: str, damage: str) -> None:
    spec = job_of("dots")
    record = Run(spec).record
    folder = stage_folder(spec, stage)
    if damage == "folder gone":
        shutil.rmtree(folder)
    elif damage == "key.json gone":
        (folder / "key.json").unlink()
    else:
        (folder / "key.json").write_text((folder / "key.json").read_text()[:-40])
    assert finished_record(spec) is None
    again = Run(spec)
    expected = {"decode": ["decode", "render"], "score": ["decode", "render", "score"]}.get(stage, [stage])
    assert again.computed() == expected
    assert again.record.sha256 == record.sha256
    assert again.record.metrics == record.metrics
    assert Run(spec).computed() == []


def test_a_damaged_artifact_is_noticed_before_it_is_used(job_of: JobOf, trace: Path) -> None:
    spec = job_of("dots", settings=[f"dots.trace={trace}"])
    record = Run(spec).record
    artifact = stage_folder(spec, "encode") / "artifact.gsb"
    content = artifact.read_bytes()
    artifact.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert finished_record(spec) is None
    again = Run(spec)
    assert again.computed() == ["encode"]
    assert again.record.sha256 == record.sha256
    assert (spec.out / str(record.artifact)).read_bytes() == content
    assert trace.read_text().count("fit") == 1


def test_a_damaged_model_is_noticed_before_it_is_used(job_of: JobOf, trace: Path) -> None:
    spec = job_of("dots", settings=[f"dots.trace={trace}"])
    record = Run(spec).record
    model = stage_folder(spec, "train") / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\x7f")
    assert Run(spec).computed() == [], "nobody needs it"
    shutil.rmtree(stage_folder(spec, "encode"))
    again = Run(spec)
    assert again.computed() == ["train", "encode"]
    assert again.record.sha256 == record.sha256, "the same training gives the same model"


@pytest.mark.parametrize(
    ("where", "stage", "message"),
    [
        ("fit", "train", "RuntimeError: fit went wrong"),
        ("exit", "train", "SystemExit: 5"),
        ("model", "train", "Broken.fit returned a str, expected a Model"),
        ("encode", "encode", "ValueError: encode went wrong"),
        ("decode", "decode", "decode went wrong"),
    ],
)
def test_stages_that_fail(job_of: JobOf, where: str, stage: str, message: str) -> None:
    spec = job_of("broken", settings=[f"broken.where={where}"])
    run = Run(spec)
    record = run.record
    assert record.status == "failed"
    assert record.error is not None
    # What nobody foresaw is followed by the last lines of the log.
    first, *rest = record.error.message.splitlines()
    assert (record.error.stage, first) == (stage, message)
    assert (rest[:1] + rest[-1:] == ["The last lines of its log:", message]) == (where in ("fit", "exit", "encode"))
    log = spec.out / str(record.error.log)
    assert "Traceback" in log.read_text()
    assert message.rpartition(": ")[2] in log.read_text()
    assert run.computed() == ALL[: ALL.index(stage)]
    assert (record.bytes, record.artifact, record.metrics) == (None, None, {})
    assert Record.model_validate_json((spec.out / record.path()).read_bytes()) == record
    assert not list((spec.out / "stages").rglob(".*")), "nothing half-done remains"
    assert finished_record(spec) is None, "a failed job is tried again"
    assert Run(spec).computed() == []


def test_a_failure_while_rendering_is_told_as_such(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise SealedError("render", "no picture")

    monkeypatch.setattr(stages, "decode_sealed", fail)
    error = Run(job_of("dots")).record.error
    assert error is not None
    assert (error.stage, error.message) == ("render", "no picture")


def test_a_failure_takes_the_place_of_an_earlier_result(job_of: JobOf, zoo: Path) -> None:
    spec = job_of("dots")
    record = Run(spec).record
    shutil.rmtree(spec.out / "stages")
    with (zoo / "zoo_method.py").open("a") as file:
        file.write("\nDots.fit = None\n")
    from gsbench.hooks import method_class

    method_class("dots").fit = None  # type: ignore[method-assign, assignment]
    failed = Run(spec).record
    assert failed.status == "failed"
    assert not (spec.out / str(record.artifact)).exists()


def test_code_that_training_changed_does_not_decode(job_of: JobOf, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that writes what it found out into its own sources."""
    from gsbench.hooks import method_class

    fit = method_class("dots").fit

    def memorize(self: Any, scene: Scene, config: Any, context: Any) -> Any:
        with (zoo / "zoo_method.py").open("a") as file:
            file.write("\nMEMO = 42\n")
        return fit(self, scene, config, context)

    monkeypatch.setattr(method_class("dots"), "fit", memorize)
    error = Run(job_of("dots")).record.error
    assert error is not None
    assert error.stage == "decode"
    assert "zoo_method.py" in error.message


def test_a_base_is_decoded_and_measured_against(job_of: JobOf, trace: Path) -> None:
    spec = job_of("fewer", settings=[f"fewer.trace={trace}", f"dots.trace={trace}", "fewer.bits=2"])
    run = Run(spec)
    base = ["base train", "base encode", "base decode", "base render"]
    assert [e.stage for e in run.events if e.kind == "stage-started"] == [*base, *ALL]
    record = run.record
    assert record.status == "ok", record.error
    assert record.gaussians == 6
    assert 5 < float(record.metrics["psnr_to_base"] or 0) < 60
    assert list(record.metrics) == ["psnr", "lpips_vgg", "psnr_to_base"]
    assert {e.job for e in run.events} == {spec.id}
    # The base's own job has nothing left to do but its scores.
    assert spec.base is not None
    own = Run(spec.base)
    assert own.cached() == ALL[:4]
    assert own.computed() == ["score"]
    assert [line.split()[0:2] for line in trace.read_text().splitlines()].count(["fit", "fewer"]) == 1
    # Another base, another training.
    other = job_of("fewer", settings=[f"fewer.trace={trace}", "fewer.bits=2", "dots.bits=3"])
    assert "train" in Run(other).computed()


def test_a_base_that_decodes_to_something_else_is_refused(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "hash_decoded", lambda decoded: "0" * 64)
    error = Run(job_of("fewer")).record.error
    assert error is not None
    assert error.stage == "train"
    assert "decodes to other Gaussians than in its sealed decode" in error.message


def test_a_scene_that_changed_after_planning(job_of: JobOf, capture: Path) -> None:
    spec = job_of("dots")
    photo = capture / "images" / "photo03.png"
    Image.fromarray(255 - np.array(Image.open(photo))).save(photo)
    error = Run(spec).record.error
    assert error is not None
    assert error.message == "scene path/desk changed after the run was planned; run again"
    photo.unlink()  # planned now, the scene would be one without this view
    error = Run(spec).record.error
    assert error is not None
    assert "changed after the run was planned" in error.message


def test_a_method_that_is_not_here(job_of: JobOf) -> None:
    spec = job_of("dots").model_copy(update={"method": "dost"})
    error = Run(spec).record.error
    assert error is not None
    assert error.stage == "setup"
    assert "unknown method 'dost'" in error.message


def test_held_out_photos_are_opened_by_score_alone(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, str]] = []
    current: list[str] = []
    real = runner.load_scene

    def watched(view: View) -> View:
        load = view.load_image
        assert load is not None

        def note() -> Any:
            opened.append((current[-1], view.name))
            return load()

        return replace(view, load_image=note)

    def load(*args: Any) -> Scene:
        scene = real(*args)
        return replace(scene, train=[watched(v) for v in scene.train], test=[watched(v) for v in scene.test])

    monkeypatch.setattr(runner, "load_scene", load)
    spec = job_of("dots")
    run_job(spec, lambda event: current.append(event.stage or "") if event.kind == "stage-started" else None)
    held_out = {"photo00.png", "photo08.png"}
    assert {name for stage, name in opened if stage == "score"} == held_out
    assert {stage for stage, name in opened if name in held_out} == {"score"}
    assert len({name for stage, name in opened if stage == "train"}) == 8


def test_randomness_follows_the_seed(job_of: JobOf, tmp_path: Path) -> None:
    """And nothing else: an encoding after a restart is the one that would have followed the training."""
    import torch

    whole = Run(job_of("dots")).record
    assert Run(job_of("dots", seeds=[1])).record.sha256 != whole.sha256
    spec = job_of("dots", out=tmp_path / "interrupted")
    store = Store(spec.out)
    job = runner.Job(spec, store, lambda event: None)
    job.trained()
    torch.manual_seed(99)
    assert Run(spec).record.sha256 == whole.sha256


def test_leftovers_of_a_killed_run_are_no_results(job_of: JobOf) -> None:
    spec = job_of("dots")
    record = Run(spec).record
    folder = stage_folder(spec, "train")
    half = folder.with_name(f".tmp-{folder.name}-1234")
    shutil.copytree(folder, half)
    (half / "model.json").write_text("")
    (folder.parent / f".lock-{folder.name}").touch()
    shutil.rmtree(folder)
    again = Run(spec)
    assert again.computed() == ["train"]
    assert again.record.sha256 == record.sha256
    assert not half.exists()
