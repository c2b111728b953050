from __future__ import annotations

import gc
import itertools
import math
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gsbench.errors import SceneError, TaskError
from gsbench.metrics import psnr
from gsbench.scenes import PointCloud, Scene, View
from gsbench.splats import Camera
from gsbench.testing import orbit_cameras, tiny_scene
from gsbench.training import (
    BaseGaussianModel,
    CameraIterator,
    CheckpointFolder,
    DefaultStrategy,
    LossPack,
    OptimizationParams,
    PipelineParams,
    RenderResult,
    Scheduler,
    Trainer,
    task,
)
from gsbench.training.trainer import build_schedule

#: A schedule that does everything within 120 steps.
BUSY = OptimizationParams(densify_grad_threshold=5e-5, densification_interval=20).scaled(120)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Images this small are not worth sharing; the fixture of all tests restores the number."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return tiny_scene(views=12, width=40, height=30, points=300)


def quality(model: BaseGaussianModel, scene: Scene) -> float:
    with torch.no_grad():
        images = [model.render(v, scene.background, PipelineParams()).image for v in scene.test]
    return float(np.mean([psnr(i, v.pixels) for i, v in zip(images, scene.test, strict=True)]))


def tensors(model: BaseGaussianModel) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.tensors().items()}


def same(a: BaseGaussianModel, b: BaseGaussianModel) -> bool:
    x, y = tensors(a), tensors(b)
    return all(x[k].shape == y[k].shape and torch.equal(x[k], y[k]) for k in x)


def test_training_reaches_held_out_views(scene: Scene) -> None:
    model = BaseGaussianModel()
    trainer = Trainer(model, scene.for_training(), OptimizationParams().scaled(400))
    before = quality(model, scene)
    assert trainer.train() is model
    after = quality(model, scene)
    assert after > before + 4.0
    assert model.active_sh_degree == 3
    assert trainer.step == 400


def test_the_same_seed_gives_the_same_model(scene: Scene) -> None:
    def run(seed: int, unrelated: int) -> BaseGaussianModel:
        torch.manual_seed(unrelated)  # the global generator plays no part
        return Trainer(BaseGaussianModel(), scene, BUSY, seed=seed).train()

    first = run(0, 1)
    assert len(first) != 300
    assert same(first, run(0, 2))
    assert not same(first, run(1, 1))


def test_many_gaussians_train_to_the_same_bytes_for_any_number_of_threads() -> None:
    # Enough for torch to share every operation among the threads.
    scene = tiny_scene(views=6, width=64, height=48, points=70_001)
    opt = replace(BUSY, iterations=6, densify_from_iter=0, densification_interval=3, opacity_reset_interval=5)

    def run(threads: int) -> BaseGaussianModel:
        return Trainer(BaseGaussianModel(), scene, opt, threads=threads).train()

    one = run(1)
    assert len(one) > 70_001
    assert same(one, run(2))
    assert same(one, run(3))


def test_resuming_continues_as_if_nothing_had_happened(scene: Scene) -> None:
    opt = replace(BUSY, random_background=True)
    whole = Trainer(BaseGaussianModel(), scene, opt).train()
    first = Trainer(BaseGaussianModel(), scene, opt)
    for _ in range(50):
        first.train_step()
    state = first.state_dict()
    first.train()
    assert same(whole, first.model)
    second = Trainer(BaseGaussianModel(), scene, opt, seed=99)
    second.load_state_dict(state)
    assert second.step == 50
    second.train()
    assert same(whole, second.model)


def test_resuming_from_checkpoints_on_disk(scene: Scene, tmp_path: Path) -> None:
    opt = replace(BUSY, random_background=True)
    whole = Trainer(BaseGaussianModel(), scene, opt, seed=3).train()

    def stop(step: int, total: int, values: Any) -> None:
        raise KeyboardInterrupt

    place = CheckpointFolder(tmp_path, {}, every=15)
    with pytest.raises(KeyboardInterrupt):  # after 25 steps
        Trainer(BaseGaussianModel(), scene, opt, seed=3, progress=stop, checkpoint=place).train()
    trainer = Trainer(BaseGaussianModel(), scene, opt, seed=3, checkpoint=place)
    assert place.resume(trainer.load_state_dict) == trainer.step == 15
    trainer.train()
    assert same(whole, trainer.model)
    assert [p.name for p in tmp_path.iterdir()] == ["000000000105"], "none of the last step"


def test_held_out_views_are_not_needed_and_not_opened(scene: Scene) -> None:
    def forbidden() -> Any:
        raise AssertionError("a held-out image was opened")

    sealed = replace(scene, test=[replace(v, load_image=forbidden) for v in scene.test])
    Trainer(BaseGaussianModel(), sealed, replace(BUSY, iterations=12)).train()


# Phases and tasks.


@dataclass
class Options(OptimizationParams):
    note: str = "mine"


class Recording(BaseGaussianModel):
    """Notes what is called when."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def register_pre_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        scheduler.register_task(range(opt.iterations), task=self.before)

    def register_post_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        scheduler.register_task(range(opt.iterations), task=self.after)

    def register_end_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        scheduler.register_task(range(opt.iterations), task=self.end)

    @task
    def before(self, step: int, opt: Options, cameras: CameraIterator, view: Camera) -> None:
        self.seen.append(("pre", step, torch.is_grad_enabled(), opt.note, len(cameras), view.name))

    @task
    def after(self, result: RenderResult, pack: LossPack, ppl: PipelineParams) -> None:
        assert result.viewspace_points.grad is not None
        self.seen.append(("post", torch.is_grad_enabled(), bool(pack.loss > 0), self._xyz.detach().clone()))

    @task
    def end(self, result: RenderResult) -> None:
        self.seen.append(("end", torch.is_grad_enabled(), self._xyz.grad is None, self._xyz.detach().clone()))

    def render(self, *arguments: Any, **keywords: Any) -> RenderResult:
        self.seen.append("render")
        return super().render(*arguments, **keywords)

    def loss_func(self, *arguments: Any) -> tuple[Tensor, LossPack]:
        self.seen.append("loss")
        return super().loss_func(*arguments)


def test_the_order_of_a_step(scene: Scene) -> None:
    model = Recording()
    Trainer(model, scene, Options(iterations=2)).train()
    assert [s if isinstance(s, str) else s[0] for s in model.seen] == ["pre", "render", "loss", "post", "end"] * 2
    pre, post, end = model.seen[0], model.seen[3], model.seen[4]
    assert pre[:5] == ("pre", 0, True, "mine", len(scene.train))
    assert pre[5] in {v.name for v in scene.train}
    # Post tasks run after the backward pass, before the optimizer step, end tasks after it; both without autograd.
    assert post[1:3] == (False, True)
    assert end[1:3] == (False, True)
    assert not torch.equal(post[3], end[3])
    assert torch.equal(end[3], model.seen[8][3])


def test_the_default_schedule() -> None:
    opt = OptimizationParams().scaled(2_000)
    rows = {r.task.split(".")[1]: r for r in build_schedule(BaseGaussianModel(), opt, PipelineParams()).timeline()}
    shown = {name: (r.phase, r.first, r.last, r.runs) for name, r in rows.items()}
    assert shown == {
        "update_learning_rate": ("pre", 0, 1999, 2000),
        "oneup_sh_degree": ("pre", 67, 1943, 29),
        "add_densification_stats": ("post", 0, 999, 1000),
        "densify_and_prune_task": ("post", 100, 900, 9),
        "reset_opacity": ("post", 200, 800, 4),
    }


def test_a_failing_task_is_named(scene: Scene) -> None:
    class Broken(BaseGaussianModel):
        def loss_func(self, *arguments: Any) -> tuple[Tensor, LossPack]:
            raise RuntimeError("no loss today")

    with pytest.raises(TaskError, match=r"task 'loss' \(loss\) failed at step 0: RuntimeError: no loss today"):
        Trainer(Broken(), scene, BUSY).train()


def test_everything_is_timed(scene: Scene) -> None:
    trainer = Trainer(BaseGaussianModel(), scene, replace(BUSY, iterations=10))
    trainer.train()
    calls = {t.task: t.calls for t in trainer.scheduler.timings()}
    assert calls["render"] == calls["loss"] == calls["backward"] == calls["optimizer"] == 10


def test_nothing_of_a_step_outlives_it(scene: Scene) -> None:
    alive: list[weakref.ref[RenderResult]] = []

    class Watched(BaseGaussianModel):
        def render(self, *arguments: Any, **keywords: Any) -> RenderResult:
            result = super().render(*arguments, **keywords)
            alive.append(weakref.ref(result))
            return result

    trainer = Trainer(Watched(), scene, BUSY)
    gc.disable()  # by reference counts alone, without waiting for the collector
    try:
        for _ in range(5):
            trainer.train_step()
            assert all(r() is None for r in alive)
    finally:
        gc.enable()


def test_progress_and_threads(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gsbench.training.trainer.PROGRESS_EVERY", 3)
    calls: list[Any] = []
    before = torch.get_num_threads()
    threads = []

    def progress(step: int, total: int, values: Any) -> None:
        threads.append(torch.get_num_threads())
        calls.append((step, total, values["gaussians"], math.isfinite(values["loss"])))

    opt = replace(BUSY, iterations=5, densify_until_iter=0)
    Trainer(BaseGaussianModel(), scene, opt, threads=before + 1, progress=progress).train()
    assert calls == [(3, 5, 300.0, True), (5, 5, 300.0, True)]
    assert set(threads) == {before + 1}
    assert torch.get_num_threads() == before


def test_random_backgrounds_differ_from_step_to_step(scene: Scene) -> None:
    backgrounds: list[Tensor] = []

    class Watched(BaseGaussianModel):
        def render(self, camera: Camera, bg_color: Tensor, *rest: Any, **keywords: Any) -> RenderResult:
            backgrounds.append(bg_color)
            return super().render(camera, bg_color, *rest, **keywords)

    Trainer(Watched(), scene, replace(BUSY, iterations=3, random_background=True)).train()
    assert len({tuple(b.tolist()) for b in backgrounds}) == 3
    backgrounds.clear()
    Trainer(Watched(), scene, replace(BUSY, iterations=2)).train()
    assert [b.tolist() for b in backgrounds] == [[0.0, 0.0, 0.0]] * 2


def test_a_trained_model_is_not_started_over(scene: Scene) -> None:
    model = BaseGaussianModel()
    model.create_from_points(PointCloud(torch.eye(3), torch.zeros(3, 3, dtype=torch.uint8)), 1.0)
    Trainer(model, scene, replace(BUSY, iterations=1))
    assert len(model) == 3


def test_training_survives_the_loss_of_all_gaussians(scene: Scene) -> None:
    # Everything is below the opacity that is kept.
    opt = replace(BUSY, prune_opacity=0.9, densify_grad_threshold=1e9)
    model = Trainer(BaseGaussianModel(), scene, opt).train()
    assert len(model) == 0
    assert len(model.splats()) == 0


def test_a_strategy_can_take_the_place_of_the_density_control(scene: Scene) -> None:
    class WithStrategy(BaseGaussianModel):
        strategy = DefaultStrategy(refine_start_iter=10, refine_every=20, reset_every=50, grow_grad2d=5e-5)

        def training_setup(self, opt: OptimizationParams) -> None:
            super().training_setup(opt)
            self.strategy.check_sanity(self.tensors(), dict.fromkeys(self.attributes, self.optimizer))
            self.strategy_state = self.strategy.initialize_state(self.spatial_lr_scale)

        def register_post_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
            pass

        def register_end_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
            scheduler.register_task(range(opt.iterations), task=self.strategy_task)

        @task
        def strategy_task(self, step: int, result: RenderResult) -> None:
            self.apply_strategy(self.strategy, self.strategy_state, step, result)

    trainer = Trainer(WithStrategy(), scene, BUSY)
    counts = []
    for _ in range(90):
        trainer.train_step()
        counts.append(len(trainer.model))
    changes = [step for step in range(1, 90) if counts[step] != counts[step - 1]]
    assert changes
    assert set(changes) <= {20, 40, 60, 80}
    assert len(trainer.model.statistics()["denom"]) == counts[-1]
    assert float(trainer.model.get_opacity.detach().max()) < 0.95


# The order of views.


def views(n: int, loads: list[str] | None = None) -> list[View]:
    made = []
    for i, camera in enumerate(orbit_cameras(n, 6, 4)):

        def load(i: int = i, name: str = camera.name) -> Any:
            if loads is not None:
                loads.append(name)
            return np.full((4, 6, 3), 10 * i, dtype=np.uint8)

        made.append(View(camera.name, camera.viewmat, camera.K, 6, 4, load))
    return made


def test_every_view_once_before_any_twice() -> None:
    cameras = CameraIterator(views(7), seed=1)
    names = [cameras.sample().name for _ in range(70)]
    epochs = [tuple(names[i : i + 7]) for i in range(0, 70, 7)]
    assert all(len(set(epoch)) == 7 for epoch in epochs)
    assert len(set(epochs)) > 5
    again = CameraIterator(views(7), seed=1)
    assert [again.sample().name for _ in range(70)] == names
    other = CameraIterator(views(7), seed=2)
    assert [other.sample().name for _ in range(70)] != names


def test_iterating_does_not_disturb_the_order() -> None:
    plain, disturbed = CameraIterator(views(5)), CameraIterator(views(5))
    expected = [plain.sample().name for _ in range(20)]
    got = []
    for _ in range(20):
        assert [v.name for v in disturbed] == [v.name for v in views(5)]
        got.append(disturbed.sample().name)
    assert got == expected
    assert len(disturbed) == 5
    assert disturbed[3].name == views(5)[3].name


def test_the_order_resumes_anywhere() -> None:
    for taken in (0, 1, 5, 8):
        cameras = CameraIterator(views(5))
        for _ in range(taken):
            cameras.sample()
        state = cameras.state_dict()
        expected = [cameras.sample().name for _ in range(12)]
        resumed = CameraIterator(views(5), seed=77)
        resumed.load_state_dict(state)
        assert [resumed.sample().name for _ in range(12)] == expected
    with pytest.raises(ValueError, match="upcoming: expected indices below 5"):
        resumed.load_state_dict({**state, "upcoming": [5]})


@pytest.mark.parametrize("keep", [True, False])
def test_targets(keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not keep:
        monkeypatch.setattr("gsbench.training.cameras.TARGET_CACHE_BYTES", 4 * 3 * 24 * 3 - 1)
    loads: list[str] = []
    cameras = CameraIterator(views(3, loads))
    for view, _ in itertools.product(cameras, range(2)):
        i = int(view.name[-3:])
        assert view.target.shape == (4, 6, 3)
        assert view.target.dtype == torch.float32
        torch.testing.assert_close(view.target, torch.full((4, 6, 3), 10 * i / 255.0))
        assert torch.equal(view.original_image, view.target.permute(2, 0, 1))
        assert (view.target is view.target) == keep
    # Each photograph is read once, whatever is kept.
    assert len(loads) == 3


def test_no_views_are_refused() -> None:
    with pytest.raises(SceneError, match="no training views"):
        CameraIterator([])
