"""What is particular to 3dgs-mcmc: its settings, its schedule, what it starts from, its loss, its cap."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from gsbench_3dgs.mcmc import MCMCModel, MCMCModelParams, MCMCParams, ThreeDGSMCMC

from gsbench import BaseGaussianModel, MCMCStrategy, OptimizationParams, PipelineParams, Trainer, UsageError
from gsbench.scenes import Scene
from gsbench.testing import random_splats, tiny_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return tiny_scene(views=6, width=48, height=36, points=300)


def test_the_defaults_are_the_papers() -> None:
    config: Any = ThreeDGSMCMC.Config()
    assert (config.opacity_reg, config.scale_reg, config.init_opacity, config.init_scale) == (0.01, 0.01, 0.5, 0.1)
    opt = ThreeDGSMCMC.optimization(config, None)
    assert isinstance(opt, MCMCParams)
    # With the defaults the strategy is gsplat's.
    assert opt.strategy(config.cap_max) == MCMCStrategy()


def test_the_schedule_scales_with_the_iterations() -> None:
    opt = MCMCParams().scaled(1_500)
    strategy = opt.strategy(1000)
    assert (strategy.refine_start_iter, strategy.refine_stop_iter) == (25, 1_250)
    # The square root of a twentieth.
    assert strategy.refine_every == 22
    assert strategy.noise_injection_stop_iter == -1
    assert dataclasses.replace(MCMCParams(), noise_until_iter=20_000).scaled(3_000).strategy(9) == MCMCStrategy(
        cap_max=9, refine_start_iter=50, refine_stop_iter=2_500, refine_every=32, noise_injection_stop_iter=2_000
    )
    assert MCMCParams().scaled(30_000) == MCMCParams()
    assert MCMCParams().scaled(1).densification_interval == 1


def test_the_strategy_is_the_only_density_control() -> None:
    rows = {r.task.split(".")[-1]: r for r in ThreeDGSMCMC.schedule(ThreeDGSMCMC.Config(), 2_000).timeline()}
    assert set(rows) == {"update_learning_rate", "oneup_sh_degree", "relocate_and_shake"}
    row = rows["relocate_and_shake"]
    # After the optimizer step, which is where the noise belongs.
    assert (row.phase, row.first, row.last, row.runs) == ("end", 0, 1_999, 2_000)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_gaussians": 5}, "max_gaussians = 5: 3dgs-mcmc does not use it; cap_max limits the number of Gaussians"),
        ({"densify_grad_threshold": 1e-3}, "densify_grad_threshold = 0.001: 3dgs-mcmc does not use it"),
        ({"opacity_reset_interval": 3_000}, "opacity_reset_interval = 3000: 3dgs-mcmc does not use it"),
        ({"percent_dense": 0.1}, "percent_dense = 0.1: 3dgs-mcmc does not use it"),
        ({"cap_max": 0}, "cap_max = 0: expected at least 1"),
        ({"init_scale": 0.0}, "init_scale = 0.0: expected a positive number"),
        ({"noise_lr": -1.0}, "noise_lr = -1.0: expected 0 or more"),
        ({"opacity_reg": float("nan")}, "opacity_reg = nan: expected 0 or more"),
        ({"init_opacity": 1.0}, "init_opacity = 1.0: expected a number between 0 and 1"),
    ],
)
def test_settings_without_meaning_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ThreeDGSMCMC.Config(**setting)


def test_it_starts_small_and_half_opaque(scene: Scene) -> None:
    base, model = BaseGaussianModel(), MCMCModel()
    for m in (base, model):
        m.create_from_points(scene.points, 1.0)
    torch.testing.assert_close(model.get_scaling, 0.1 * base.get_scaling)
    torch.testing.assert_close(model.get_opacity, torch.full((300, 1), 0.5))
    assert torch.equal(model.get_xyz, base.get_xyz)


def test_more_starting_points_than_the_cap(scene: Scene) -> None:
    def start(seed: int) -> set[tuple[float, ...]]:
        model = MCMCModel(MCMCModelParams(cap_max=120))
        Trainer(model, scene, MCMCParams(), seed=seed)
        assert len(model) == 120
        return {tuple(row) for row in model.get_xyz.tolist()}

    points = {tuple(row) for row in scene.points.xyz.tolist()}
    first = start(0)
    assert len(first) == 120
    assert first < points
    assert first == start(0) != start(1)


def test_a_model_of_more_gaussians_than_the_cap() -> None:
    splats = random_splats(50, sh_degree=2)
    model = MCMCModel(MCMCModelParams(cap_max=20))
    model.create_from_splats(splats, 1.0)
    kept = [int((splats.means == row).all(dim=1).nonzero()) for row in model.get_xyz]
    assert len(kept) == 20
    assert kept == sorted(set(kept))
    assert torch.equal(model.tensors()["opacities"][:, 0], splats.opacity_logits[kept])
    assert torch.equal(model.get_features[:, :9], splats.sh[kept])


def test_the_loss_has_two_more_parts(scene: Scene) -> None:
    model = MCMCModel()
    opt = MCMCParams(opacity_reg=0.03, scale_reg=0.5)
    Trainer(model, scene, opt)
    with torch.no_grad():
        model.tensors()["opacities"].add_(torch.linspace(-4.0, 4.0, 300)[:, None])
    view = Trainer(model, scene, opt).cameras[0]
    result = model.render(view, torch.zeros(3), PipelineParams())
    loss, pack = model.loss_func(view, result, opt)
    without, _ = BaseGaussianModel.loss_func(model, view, result, opt)
    opacities = model.tensors()["opacities"].detach().double().sigmoid()
    scales = model.tensors()["scales"].detach().double().exp()
    expected = float(without.detach()) + 0.03 * float(opacities.mean()) + 0.5 * float(scales.mean())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    assert float(pack.loss) == float(loss.detach())
    assert float(pack.extras["scale"]) == pytest.approx(0.5 * float(scales.mean()), rel=1e-5)
    # Their gradients, apart from the images'.
    rest = loss - without
    by_opacity, by_scale = torch.autograd.grad(rest, [model.tensors()["opacities"], model.tensors()["scales"]])
    torch.testing.assert_close(by_opacity.double(), 0.03 / 300 * opacities * (1.0 - opacities), rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(by_scale.double(), 0.5 / 900 * scales, rtol=1e-3, atol=1e-9)


def test_the_cap_holds_in_every_step_and_quality_rises(scene: Scene) -> None:
    model = MCMCModel(MCMCModelParams(cap_max=340))
    opt = dataclasses.replace(MCMCParams(densification_interval=100).scaled(200), densification_interval=10)
    trainer = Trainer(model, scene, opt)
    counts, losses = [], []
    for _ in range(200):
        trainer.train_step()
        counts.append(len(model))
        losses.append(float(trainer._last_loss))  # type: ignore[arg-type]
    assert max(counts) == 340
    assert counts[9] == 300
    assert counts[10] == 315
    assert sum(losses[-20:]) < 0.75 * sum(losses[:20])


def test_the_noise_follows_the_decaying_learning_rate(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from gsbench.training import densify

    seen: list[float] = []
    original = densify.inject_noise_to_position

    def recording(params: Any, optimizers: Any, state: Any, scaler: float, **arguments: Any) -> None:
        seen.append(scaler)
        original(params, optimizers, state, scaler, **arguments)

    monkeypatch.setattr(densify, "inject_noise_to_position", recording)
    opt = MCMCParams().scaled(20)
    model = MCMCModel()
    Trainer(model, scene, opt).train()
    start, end = (rate * scene.extent * 5e5 for rate in (opt.position_lr_init, opt.position_lr_final))
    assert seen == pytest.approx([start ** (1 - s / 20) * end ** (s / 20) for s in range(20)], rel=1e-9)


def test_resuming_continues_as_if_nothing_had_happened(scene: Scene) -> None:
    opt = dataclasses.replace(MCMCParams().scaled(90), densification_interval=10)
    first = Trainer(MCMCModel(), scene, opt)
    for _ in range(35):
        first.train_step()
    state = first.state_dict()
    whole = first.train()
    second = Trainer(MCMCModel(), scene, opt, seed=99)
    second.load_state_dict(state)
    other = second.train()
    assert len(whole) > 340
    assert all(torch.equal(a, b) for a, b in zip(whole.tensors().values(), other.tensors().values(), strict=True))


def test_other_params_are_refused_in_time(scene: Scene) -> None:
    with pytest.raises(UsageError, match="3dgs-mcmc trains with MCMCParams, got OptimizationParams"):
        Trainer(MCMCModel(), scene, OptimizationParams())
