"""`DefaultStrategy`: the density control of 3D Gaussian Splatting (Kerbl et al. 2023, section 5.2)."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gsbench.training import densify
from gsbench.training.densify import Optimizers, Params, State
from gsbench.training.strategies.base import Strategy, ViewGradients, check_intervals, logit

_log = logging.getLogger(__name__)


@dataclass
class DefaultStrategy(Strategy):
    """Duplicate small and split large Gaussians whose 2D gradients are large, remove transparent ones, and bring
    opacities down now and then.

    Parameters and defaults are those of gsplat. Steps count from 0; a refinement happens at multiples of
    `refine_every` after `refine_start_iter` and before `refine_stop_iter`.

    Fields:
        prune_opa: Gaussians of lower opacity are removed.
        grow_grad2d: mean 2D gradient (normalized device coordinates) above which a Gaussian grows.
        grow_scale3d: Gaussians up to this size (share of the scene scale) are duplicated, larger ones split.
        grow_scale2d: Gaussians with a larger radius (share of the image) are split too, until refine_scale2d_stop_iter.
        prune_scale3d: larger Gaussians (share of the scene scale) are removed, after the first opacity reset.
        prune_scale2d: Gaussians with a larger radius (share of the image) are removed, until refine_scale2d_stop_iter.
        refine_scale2d_stop_iter: end of the tests on radii; 0 switches them off.
        refine_start_iter, refine_stop_iter, refine_every: when to refine.
        reset_every: steps between opacity resets, to twice prune_opa.
        pause_refine_after_reset: steps after a reset without refinement.
        absgrad: use absolute gradients (AbsGS, Ye et al. 2024); render with absgrad=True.
        revised_opacity: the opacity of split Gaussians after Rota Bulo et al. 2024.
        verbose: log every refinement.
        key_for_gradient: which tensor of `info` carries the gradients.

    Raises:
        ValueError: if refine_every or reset_every is not at least 1.
    """

    prune_opa: float = 0.005
    grow_grad2d: float = 0.0002
    grow_scale3d: float = 0.01
    grow_scale2d: float = 0.05
    prune_scale3d: float = 0.1
    prune_scale2d: float = 0.15
    refine_scale2d_stop_iter: int = 0
    refine_start_iter: int = 500
    refine_stop_iter: int = 15_000
    reset_every: int = 3000
    refine_every: int = 100
    pause_refine_after_reset: int = 0
    absgrad: bool = False
    revised_opacity: bool = False
    verbose: bool = False
    key_for_gradient: Literal["means2d", "gradient_2dgs"] = "means2d"

    def __post_init__(self) -> None:
        check_intervals(refine_every=self.refine_every, reset_every=self.reset_every)

    def initialize_state(self, scene_scale: float = 1.0, seed: int = 0) -> dict[str, Any]:
        """The running state.

        Args:
            scene_scale: the size of the scene, which the 3D thresholds are shares of (`Scene.extent`).
            seed: of the generator (of the CPU) from which splits draw; it is part of the state.
        """
        state: dict[str, Any] = {
            "grad2d": None,
            "count": None,
            "scene_scale": scene_scale,
            "generator": torch.Generator().manual_seed(seed),
        }
        if self.refine_scale2d_stop_iter > 0:
            state["radii"] = None
        return state

    def step_pre_backward(
        self, params: Params, optimizers: Optimizers, state: State, step: int, info: dict[str, Any]
    ) -> None:
        """Keep the 2D gradients of this render."""
        if self.key_for_gradient not in info:
            raise ValueError(f"info: expected {self.key_for_gradient!r} among the names, got {sorted(info)}")
        info[self.key_for_gradient].retain_grad()

    @torch.no_grad()
    def step_post_backward(
        self,
        params: Params,
        optimizers: Optimizers,
        state: State,
        step: int,
        info: dict[str, Any],
        packed: bool | None = None,
    ) -> None:
        """Collect statistics; refine and reset when it is time.

        Args:
            params: as checked by `check_sanity`.
            optimizers: as checked by `check_sanity`.
            state: from `initialize_state`.
            step: the current step, from 0.
            info: what the rasterization reported.
            packed: accepted as in gsplat; which layout `info` has is seen from its shapes.
        """
        if step >= self.refine_stop_iter:
            return
        self._collect(params, state, info)
        if (
            step > self.refine_start_iter
            and step % self.refine_every == 0
            and step % self.reset_every >= self.pause_refine_after_reset
        ):
            duplicated, halved = self._grow(params, optimizers, state, step)
            removed = self._prune(params, optimizers, state, step)
            if self.verbose:
                n = densify.row_count(params)
                _log.info(
                    "step %d: %d duplicated, %d split, %d removed; %d Gaussians", step, duplicated, halved, removed, n
                )
            for name in ("grad2d", "count", "radii"):
                if state.get(name) is not None:
                    state[name].zero_()
        if step % self.reset_every == 0 and step > 0:
            densify.reset_opa(params, optimizers, state, 2.0 * self.prune_opa)

    def _collect(self, params: Params, state: State, info: dict[str, Any]) -> None:
        means = params["means"]
        gradients = ViewGradients(info, self.key_for_gradient, len(means), self.absgrad)
        for name in ("grad2d", "count", "radii"):
            if name in state and state[name] is None:
                state[name] = torch.zeros(len(means), device=means.device)
        gradients.add_to(state["grad2d"], state["count"])
        if self.refine_scale2d_stop_iter > 0:
            gradients.max_into(state["radii"], float(max(info["width"], info["height"])))

    def _grow(self, params: Params, optimizers: Optimizers, state: State, step: int) -> tuple[int, int]:
        mean_gradient = state["grad2d"] / state["count"].clamp_min(1.0)
        growing = mean_gradient > self.grow_grad2d
        large = self._larger_than(params, state, self.grow_scale3d)
        duplicated = growing & ~large
        halved = growing & large
        if step < self.refine_scale2d_stop_iter:
            halved |= state["radii"] > self.grow_scale2d
        n_duplicated, n_halved = int(duplicated.sum()), int(halved.sum())
        if n_duplicated:
            densify.duplicate(params, optimizers, state, duplicated)
        if n_halved:
            # Duplicates made just now come last and are not split.
            halved = torch.cat([halved, halved.new_zeros(n_duplicated)])
            densify.split(params, optimizers, state, halved, self.revised_opacity)
        return n_duplicated, n_halved

    def _prune(self, params: Params, optimizers: Optimizers, state: State, step: int) -> int:
        opacities = params["opacities"].detach().flatten()
        # Thresholds are compared before activation: one logarithm instead of N exponentials.
        removed = opacities < logit(self.prune_opa)
        if step > self.reset_every:
            too_big = self._larger_than(params, state, self.prune_scale3d)
            if step < self.refine_scale2d_stop_iter:
                too_big |= state["radii"] > self.prune_scale2d
            removed |= too_big
        count = int(removed.sum())
        if count:
            densify.remove(params, optimizers, state, removed)
        return count

    @staticmethod
    def _larger_than(params: Params, state: State, share: float) -> Tensor:
        """True where the largest axis of a Gaussian exceeds `share` of the scene scale, bool [N]."""
        threshold = share * float(state["scene_scale"])
        largest: Tensor = params["scales"].detach().amax(dim=-1)
        return largest > (math.log(threshold) if threshold > 0.0 else -math.inf)
