"""`MCMCStrategy`: "3D Gaussian Splatting as Markov Chain Monte Carlo" (Kheradmand et al., NeurIPS 2024)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import torch

from gsbench.training import densify
from gsbench.training.densify import Optimizers, Params, State
from gsbench.training.strategies.base import Strategy, check_intervals, logit

#: Share of Gaussians that a refinement adds (section 3.3 of the paper).
GROWTH: Final = 0.05

_log = logging.getLogger(__name__)


@dataclass
class MCMCStrategy(Strategy):
    """Move dead Gaussians to where opacity is, add 5 % new ones there until there are enough, and shake the means.

    Parameters and defaults are those of gsplat. Steps count from 0; a refinement happens at multiples of
    `refine_every` after `refine_start_iter` and before `refine_stop_iter`; noise is added in every step.

    The paper trains with two regularizers besides, which belong to the loss: 0.01 times the mean opacity, and 0.01
    times the mean scale.

    Fields:
        cap_max: no Gaussians are added beyond this number.
        noise_lr: the noise is this times the learning rate of the means.
        refine_start_iter, refine_stop_iter, refine_every: when to refine.
        min_opacity: Gaussians of this or lower opacity are dead; moved and new ones get at least this opacity.
        verbose: log every refinement.
        noise_injection_stop_iter: no noise from this step on; -1 for noise to the end.

    Raises:
        ValueError: if refine_every is not at least 1, or cap_max negative.
    """

    cap_max: int = 1_000_000
    noise_lr: float = 5e5
    refine_start_iter: int = 500
    refine_stop_iter: int = 25_000
    refine_every: int = 100
    min_opacity: float = 0.005
    verbose: bool = False
    noise_injection_stop_iter: int = -1

    def __post_init__(self) -> None:
        check_intervals(refine_every=self.refine_every)
        if self.cap_max < 0:
            raise ValueError(f"cap_max: expected 0 or more, got {self.cap_max}")

    def initialize_state(self, seed: int = 0) -> dict[str, Any]:
        """The running state: the generator (of the CPU) that everything is drawn from.

        Args:
            seed: of the generator.
        """
        return {"generator": torch.Generator().manual_seed(seed)}

    @torch.no_grad()
    def step_post_backward(
        self,
        params: Params,
        optimizers: Optimizers,
        state: State,
        step: int,
        info: dict[str, Any],
        lr: float | None = None,
    ) -> None:
        """Refine when it is time, and add noise.

        Args:
            params: edited in place, as are `optimizers`, both as checked by `check_sanity`.
            optimizers: one for each parameter.
            state: from `initialize_state`; its generator advances.
            step: counts from 0.
            info: what the rasterization reported; plays no part.
            lr: the present learning rate of the means; their optimizer's if None.

        Raises:
            ValueError: if `lr` is None and no optimizer holds the means.
        """
        if step < self.refine_stop_iter and step > self.refine_start_iter and step % self.refine_every == 0:
            self._refine(params, optimizers, state, step)
        if self.noise_injection_stop_iter < 0 or step < self.noise_injection_stop_iter:
            rate = _means_rate(params, optimizers) if lr is None else lr
            densify.inject_noise_to_position(params, optimizers, state, rate * self.noise_lr)

    def _refine(self, params: Params, optimizers: Optimizers, state: State, step: int) -> None:
        # Compared before activation: one logarithm instead of N exponentials.
        dead = params["opacities"].detach().flatten() <= logit(self.min_opacity)
        n, moved = len(dead), int(dead.sum())
        added = max(0, min(self.cap_max, int((1.0 + GROWTH) * n)) - n)
        if moved == n:
            # Nothing is left that would be worth a copy.
            moved = added = 0
        if moved:
            densify.relocate(params, optimizers, state, dead, self.min_opacity)
        if added:
            densify.sample_add(params, optimizers, state, added, self.min_opacity)
        if self.verbose:
            _log.info("step %d: %d relocated, %d added; %d Gaussians", step, moved, added, n + added)


def _means_rate(params: Params, optimizers: Optimizers) -> float:
    """The learning rate of the parameter group that holds the means."""
    means = params["means"]
    for group in optimizers["means"].param_groups if "means" in optimizers else ():
        if any(held is means for held in group["params"]):
            return float(group["lr"])
    raise ValueError("optimizers: none holds params['means'], so its learning rate is not known; pass lr=")
