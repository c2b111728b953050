"""3D Gaussian Splatting as Markov Chain Monte Carlo (Kheradmand et al., NeurIPS 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from gsbench import (
    BaseGaussianModel,
    LossPack,
    MCMCStrategy,
    ModelParams,
    OptimizationParams,
    PipelineParams,
    RenderResult,
    Scheduler,
    Splats,
    TrainedMethod,
    UsageError,
    View,
    task,
)
from gsbench.scenes import PointCloud
from gsbench.training import schedule_field, setting


@dataclass
class MCMCModelParams(ModelParams):
    """What the chain starts from, and how many Gaussians it may have."""

    init_opacity: float = setting(0.5, "opacity of the initial Gaussians")
    init_scale: float = setting(0.1, "size of the initial Gaussians, times the distance to their neighbors")
    cap_max: int = setting(1_000_000, "number of Gaussians that is never exceeded")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.init_scale > 0.0:
            raise UsageError(f"init_scale = {self.init_scale!r}: expected a positive number")
        if self.cap_max < 1:
            raise UsageError(f"cap_max = {self.cap_max!r}: expected at least 1")


@dataclass
class MCMCParams(OptimizationParams):
    """The schedule: new Gaussians from `densify_from_iter` until `densify_until_iter`, noise in every step.

    The settings of gradient-driven density control have no meaning here, and are refused.
    """

    densification_interval: int = setting(100, "steps between refinements; scaled with the root of the iterations")
    densify_until_iter: int = schedule_field(25_000, "Gaussians are moved and added before this step")
    opacity_reset_interval: int = schedule_field(0, "without meaning here: opacities are not reset")
    prune_opacity: float = setting(0.005, "Gaussians of this or lower opacity are moved to others")
    noise_lr: float = setting(5e5, "noise on positions, times their learning rate")
    noise_until_iter: int = schedule_field(0, "no noise from this step on; 0: to the end")
    opacity_reg: float = setting(0.01, "weight of the mean opacity in the loss")
    scale_reg: float = setting(0.01, "weight of the mean scale in the loss")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("noise_lr", "opacity_reg", "scale_reg", "noise_until_iter"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} = {getattr(self, name)!r}: expected 0 or more")
        for name in ("opacity_reset_interval", "densify_grad_threshold", "percent_dense", "max_gaussians"):
            default = type(self).__dataclass_fields__[name].default
            if getattr(self, name) != default:
                hint = "; cap_max limits the number of Gaussians" if name == "max_gaussians" else ""
                raise UsageError(f"{name} = {getattr(self, name)!r}: 3dgs-mcmc does not use it{hint}")

    def scaled(self, iterations: int) -> Self:
        """As in the base class, but the spacing shrinks with the root of the run's length.

        A refinement adds a share of what is there, so the growth of a run depends on their number. Were the spacing
        kept, 1,500 steps would end with not even twice the Gaussians they began with; were it shortened like the run,
        to 5 steps, new Gaussians would multiply before they were trained. (On the demo, at equal numbers of Gaussians:
        28.0 dB with 5 steps, 28.5 dB with 20.)
        """
        changed = super().scaled(iterations)
        interval = self.densification_interval * math.sqrt(iterations / self.iterations)
        return replace(changed, densification_interval=max(1, round(interval)))

    def strategy(self, cap_max: int) -> MCMCStrategy:
        """The strategy with these settings."""
        return MCMCStrategy(
            cap_max=cap_max,
            noise_lr=self.noise_lr,
            refine_start_iter=self.densify_from_iter,
            refine_stop_iter=self.densify_until_iter,
            refine_every=self.densification_interval,
            min_opacity=self.prune_opacity,
            noise_injection_stop_iter=self.noise_until_iter if self.noise_until_iter > 0 else -1,
        )


class MCMCModel(BaseGaussianModel):
    """The base model with `MCMCStrategy` in the place of its density control, and two regularizers in the loss."""

    model_params: MCMCModelParams

    def __init__(self, model_params: MCMCModelParams | None = None) -> None:
        super().__init__(model_params if model_params is not None else MCMCModelParams())

    def create_from_points(self, points: PointCloud, spatial_lr_scale: float) -> None:
        """As in the base class, from at most `cap_max` points, drawn at random, and with smaller Gaussians."""
        kept = self._at_most(len(points))
        if kept is not None:
            points = PointCloud(points.xyz[kept], points.rgb[kept])
        super().create_from_points(points, spatial_lr_scale)
        with torch.no_grad():
            self._scaling += math.log(self.model_params.init_scale)

    def create_from_splats(self, splats: Splats, spatial_lr_scale: float) -> None:
        """As in the base class, from at most `cap_max` of them, drawn at random."""
        kept = self._at_most(len(splats))
        if kept is not None:
            splats = Splats(**{f.name: getattr(splats, f.name)[kept] for f in fields(splats)})
        super().create_from_splats(splats, spatial_lr_scale)

    def _at_most(self, n: int) -> Tensor | None:
        """Which of `n` to start from, int64 ascending; None for all."""
        if n <= self.model_params.cap_max:
            return None
        return torch.randperm(n, generator=self.generator)[: self.model_params.cap_max].sort().values

    def training_setup(self, opt: OptimizationParams) -> None:
        """Make the optimizer and the strategy, which draws from the model's generator."""
        if not isinstance(opt, MCMCParams):
            raise UsageError(f"3dgs-mcmc trains with MCMCParams, got {type(opt).__name__}")
        super().training_setup(opt)
        self.opacity_reg, self.scale_reg = opt.opacity_reg, opt.scale_reg
        self.strategy = opt.strategy(self.model_params.cap_max)
        self.strategy_state: dict[str, Any] = {"generator": self.generator}

    def register_post_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """None: no gradients are collected."""

    def register_end_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """The strategy, after the optimizer step."""
        scheduler.register_task(range(opt.iterations), task=self.relocate_and_shake)

    @task
    def relocate_and_shake(self, step: int, result: RenderResult) -> None:
        """Move dead Gaussians and add new ones when it is time; noise on the means at their present learning rate."""
        self.apply_strategy(self.strategy, self.strategy_state, step, result)

    def loss_func(
        self, viewpoint_cam: View, render_result: RenderResult, opt: OptimizationParams
    ) -> tuple[Tensor, LossPack]:
        """The base model's loss, and the mean opacity and the mean scale with their weights (section 3.4)."""
        loss, pack = super().loss_func(viewpoint_cam, render_result, opt)
        # A mean's gradient is one number for all, so that training does not depend on how torch adds it up.
        opacity = self.opacity_reg * self.get_opacity.mean()
        scale = self.scale_reg * self.get_scaling.mean()
        loss = loss + opacity + scale
        extras = {**pack.extras, "opacity": opacity.detach(), "scale": scale.detach()}
        return loss, replace(pack, loss=loss.detach(), extras=extras)


class ThreeDGSMCMC(TrainedMethod):
    """3D Gaussian Splatting whose Gaussians are samples: noise explores, dead ones move to where they are needed, and
    their number grows by 5 % at a time up to `cap_max`. Stored like 3dgs: 248 bytes per Gaussian, in a .ply file.
    """

    gaussian_model = MCMCModel
    model_params = MCMCModelParams
    optimization_params = MCMCParams
