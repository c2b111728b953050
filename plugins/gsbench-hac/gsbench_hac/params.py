"""The settings of hac and hac++."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from gsbench import UsageError, schedule_field, setting
from gsbench.training.anchors import AnchorModelParams, AnchorParams
from gsbench.training.hashgrid import HashLayout


@dataclass
class HacModelParams(AnchorModelParams):
    """What the anchors and their context are made of."""

    feat_dim: int = setting(50, "numbers in the feature of an anchor")
    hash_space_entries: int = setting(1 << 13, "most entries of a level of the hash grid in space")
    hash_plane_entries: int = setting(1 << 15, "most entries of a level of the hash grid on the planes")
    context_width: int = setting(100, "hidden neurons of the context network")
    q_features: float = setting(1.0, "base quantization step of features")
    q_scales: float = setting(0.001, "base quantization step of scales (not of logarithms), scene units")
    q_offsets: float = setting(0.2, "base quantization step of offsets")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hash_space_entries", "hash_plane_entries", "context_width"):
            if not 1 <= getattr(self, name) <= 1 << 24:
                raise UsageError(f"{name} = {getattr(self, name)!r}: expected 1 to {1 << 24}")
        for name in ("q_features", "q_scales", "q_offsets"):
            if not 1e-9 < getattr(self, name) < 1e9:
                raise UsageError(f"{name} = {getattr(self, name)!r}: expected a positive number")

    def layout(self) -> HashLayout:
        """The levels of the hash grid: the publication's resolutions with these sizes."""
        return HashLayout(space_entries=self.hash_space_entries, plane_entries=self.hash_plane_entries)


@dataclass
class HacPlusModelParams(HacModelParams):
    """As for hac, and the context within an anchor."""

    chunks: int = setting(5, "parts in which the channels of a feature are coded, each in the context of those before")
    chunk_width: int = setting(0, "hidden neurons of the network of such a part; 0: by the number of anchors, up to 40")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.chunks <= self.feat_dim or self.feat_dim % self.chunks:
            raise UsageError(f"chunks = {self.chunks!r}: expected a divisor of feat_dim = {self.feat_dim}")
        if not 0 <= self.chunk_width <= 4096:
            raise UsageError(f"chunk_width = {self.chunk_width!r}: expected 1 to 4096, or 0")

    def chunk_width_for(self, anchors: int) -> int:
        """`chunk_width` or, where that is 0, a neuron for every thousand anchors that a training begins with, 4 to 40.

        The publication has 40, for scenes of 100,000 anchors and more. A neuron costs about half a kilobyte of the
        file; with 10,000 anchors, 40 of them cost more than what they save.
        """
        return self.chunk_width or min(40, max(4, -(-anchors // 1000)))


@dataclass
class HacParams(AnchorParams):
    """The schedule: noise of fixed width after `noise_from_iter`, around which density control pauses; adaptive widths,
    the context and the rate after `rate_from_iter`.
    """

    noise_from_iter: int = schedule_field(3_000, "attributes get noise of their quantization's width after this step")
    pause_until_iter: int = schedule_field(4_000, "density control pauses from noise_from_iter to before this step")
    rate_from_iter: int = schedule_field(10_000, "adaptive steps and the rate in the loss after this step")
    lmbda: float = setting(0.002, "weight of the bits per parameter in the loss")
    lambda_mask: float = setting(5e-4, "weight of the mean mask in the loss")
    rate_share: float = setting(0.05, "share of the anchors in view whose rate is computed")
    mask_lr: float = setting(0.01, "initial learning rate of the masks")
    mask_lr_final: float = setting(1e-4, "final learning rate of the masks")
    context_lr: float = setting(0.005, "initial learning rate of the context network and the hash grid")
    context_lr_final: float = setting(1e-5, "final learning rate of the context network and the hash grid")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lmbda", "lambda_mask", "noise_from_iter", "pause_until_iter", "rate_from_iter"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} = {getattr(self, name)!r}: expected 0 or more")
        if not self.noise_from_iter <= self.rate_from_iter < self.iterations:
            raise UsageError(
                f"noise_from_iter = {self.noise_from_iter}, rate_from_iter = {self.rate_from_iter}, "
                f"iterations = {self.iterations}: expected to follow in this order, the last two apart"
            )
        if not 0.0 < self.rate_share <= 1.0:
            raise UsageError(f"rate_share = {self.rate_share!r}: expected a number above 0, up to 1")
        for name in ("mask_lr", "mask_lr_final", "context_lr", "context_lr_final"):
            if not getattr(self, name) > 0.0:
                raise UsageError(
                    f"{name} = {getattr(self, name)!r}: expected a positive number (the decay is exponential)"
                )

    def scaled(self, iterations: int) -> Self:
        """As in the base class; the shortest runs, too, end with a step that has the context.

        The context's learning rate grows with the square root of what is cut: it begins from nothing when the rate
        does, and has fewer steps to get there. (1,500 steps on the demo: 5 % fewer bytes at equal quality.)
        That of the masks grows by as much as is cut: each step moves a mask by about the rate, and the way from where
        it begins to where its offset no longer lives stays as long.
        """
        factor = iterations / self.iterations
        last = max(0, iterations - 1)
        early = {
            name: min(last, max(0, round(getattr(self, name) * factor)))
            for name in ("noise_from_iter", "rate_from_iter")
        }
        faster = max(1.0, factor**-0.5)
        rates = {name: getattr(self, name) * faster for name in ("context_lr", "context_lr_final")}
        rates |= {name: getattr(self, name) * max(1.0, 1.0 / factor) for name in ("mask_lr", "mask_lr_final")}
        shape = super(HacParams, replace(self, noise_from_iter=0, rate_from_iter=0)).scaled(iterations)
        return replace(shape, **early, **rates)

    def adjustment_steps(self) -> Iterable[int]:
        """The steps at which anchors grow and are pruned."""
        pause = range(self.noise_from_iter, self.pause_until_iter)
        return [step for step in self.densification_steps() if step not in pause]
