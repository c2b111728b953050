"""`HacModel`: anchors that are trained to be cheap to code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Parameter

from gsbench import LossPack, OptimizationParams, PipelineParams, RenderResult, Scheduler, View, task
from gsbench.splats.activation import logistic
from gsbench.training.anchors import AnchorModel, AnchorParams, AnchorRenderResult, Anchors
from gsbench.training.anchors.neural import select_rows
from gsbench.training.quantize import add_noise, straight_mask, straight_round
from gsbench_hac.context import GROUPS, ChannelContext, HacContext
from gsbench_hac.params import HacModelParams, HacParams, HacPlusModelParams

#: An offset lives where the sigmoid of its mask is above this.
LIVE = 0.01


@dataclass(frozen=True)
class CodedAnchors(Anchors):
    """Anchors as they are drawn, with what their rate is computed from.

    Fields:
        hidden: float32 [n, width], of the context network.
        grid_bits: of the hash grid, a scalar.
        steps: float32 [n, 1] for each group.
    """

    hidden: Tensor | None = None
    grid_bits: Tensor | None = None
    steps: Mapping[str, Tensor] | None = None


class HacModel(AnchorModel):
    """Anchors with a mask per offset, and the context that predicts their attributes (Chen et al. 2024).

    `low` and `extent` are the box of the hash grid, in voxels, once the adaptive steps have begun.
    """

    attributes: ClassVar[dict[str, tuple[str, str]]] = {**AnchorModel.attributes, "masks": ("_mask", "mask")}

    model_params: HacModelParams

    def __init__(self, model_params: HacModelParams | None = None) -> None:
        super().__init__(model_params if model_params is not None else HacModelParams())
        self._mask = torch.empty(0, self.n_offsets)
        self.context = self.make_context()
        self.low: list[int] = [0, 0, 0]
        self.extent: list[int] = []

    def make_context(self) -> HacContext:
        """The context, not yet drawn."""
        return HacContext(self.model_params)

    def reset_networks(self) -> None:
        """Draw the weights of all networks and the hash grid from the model's generator."""
        super().reset_networks()
        self.context.reset(self.generator)
        self.context.to(self.device)

    def initial_rows(self, voxels: Tensor, log_scales: Tensor, features: Tensor) -> dict[str, Tensor]:
        """As in the base class, with offsets that all live."""
        rows = super().initial_rows(voxels, log_scales, features)
        return {**rows, "masks": torch.ones(len(voxels), self.n_offsets, device=voxels.device)}

    def learning_rates(self, opt: AnchorParams) -> dict[str, tuple[float, float]]:
        """As in the base class, and of masks and context."""
        assert isinstance(opt, HacParams)
        context = (opt.context_lr, opt.context_lr_final)
        return {**super().learning_rates(opt), "mask": (opt.mask_lr, opt.mask_lr_final), "context": context}

    def trained_groups(self) -> dict[str, list[Parameter]]:
        """As in the base class, and the context."""
        return {**super().trained_groups(), "context": list(self.context.parameters())}

    def useless(self) -> Tensor:
        """Anchors without a live offset, bool [N]."""
        return ~self.live_offsets().any(dim=1)

    # Scheduled tasks.

    def register_pre_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """As in the base class, and the box of the hash grid."""
        super().register_pre_task(scheduler, ppl, opt)
        assert isinstance(opt, HacParams)
        scheduler.register_task(opt.rate_from_iter, task=self.freeze_box)

    def register_post_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """Statistics, growth and pruning, with the pause around the beginning of the noise."""
        assert isinstance(opt, HacParams)
        scheduler.register_task(opt.statistics_steps(), task=self.add_anchor_stats)
        scheduler.register_task(opt.adjustment_steps(), task=self.adjust_anchors)

    @task
    @torch.no_grad()
    def freeze_box(self) -> None:
        """Take the box of the present anchors, each bound 20 % outward, for the hash grid, and start the context."""
        low, high = self._voxels.amin(dim=0).long(), self._voxels.amax(dim=0).long()
        margin = (high - low + 4) // 5
        self.low = (low - margin).tolist()
        self.extent = (high - low + 2 * margin).clamp_min(1).tolist()
        self.context.start({group: self.values_of(group).flatten(1) for group in GROUPS})

    @torch.no_grad()
    def values_of(self, group: str) -> Tensor:
        """All anchors' values of a group, as they are quantized, detached."""
        values: Tensor = self.tensors()[group].detach()
        return values.exp() if group == "scales" else values

    @torch.no_grad()
    def live_offsets(self) -> Tensor:
        """Which offsets live, bool [N, K]."""
        return logistic(self._mask) > LIVE

    def points(self, voxels: Tensor) -> Tensor:
        """Where voxels [n, 3] lie in the box, int32 [n, 3] in 0..extent; those outside are moved to its surface."""
        low, extent = (torch.tensor(three, device=voxels.device) for three in (self.low, self.extent))
        return (voxels.long() - low).clamp_min(0).minimum(extent).to(torch.int32)

    # A step.

    def drawn(self, index: Tensor, step: int, opt: AnchorParams | None) -> Anchors:
        """Attributes with the noise of this step of the training; rounded, after training."""
        assert opt is None or isinstance(opt, HacParams)
        positions = self.get_xyz.index_select(0, index)
        masks = straight_mask(select_rows(self._mask, index), LIVE)
        values = {
            "features": select_rows(self._anchor_feat, index),
            "scales": select_rows(self._scaling, index).exp(),
            "offsets": select_rows(self._offset, index),
        }
        if opt is not None and step <= opt.noise_from_iter:
            return Anchors(positions, masks=masks, **values)
        if opt is not None and step <= opt.rate_from_iter:
            for group in GROUPS:
                values[group] = add_noise(values[group], self.context.steps[group], self.generator)
            return Anchors(positions, masks=masks, **values)
        if not self.extent:
            return Anchors(positions, masks=masks, **values)
        hidden, grid_bits = self.context.hidden(self.points(self._voxels.index_select(0, index)), self.extent)
        steps = self.context.step_sizes(hidden)
        for group in GROUPS:
            width = steps[group][:, :, None] if group == "offsets" else steps[group]
            if opt is None:
                values[group] = straight_round(values[group], width)
            else:
                values[group] = add_noise(values[group], width, self.generator)
        return CodedAnchors(positions, masks=masks, hidden=hidden, grid_bits=grid_bits, steps=steps, **values)

    def loss_func(
        self, viewpoint_cam: View, render_result: RenderResult, opt: OptimizationParams
    ) -> tuple[Tensor, LossPack]:
        """The loss of anchors; once steps are adaptive, also the rate and the masks (Chen et al. 2024, equation 12)."""
        assert isinstance(opt, HacParams)
        assert isinstance(render_result, AnchorRenderResult)
        loss, pack = super().loss_func(viewpoint_cam, render_result, opt)
        anchors = render_result.anchors
        if not isinstance(anchors, CodedAnchors):
            return loss, pack
        assert anchors.grid_bits is not None
        bits = self.bits_per_parameter(anchors, opt.rate_share)
        bits = bits + anchors.grid_bits / (len(self) * self.context.values)
        loss = loss + opt.lmbda * bits + self.mask_loss(opt)
        return loss, replace(pack, loss=loss.detach(), extras={**pack.extras, "bits_per_parameter": bits.detach()})

    def mask_loss(self, opt: HacParams) -> Tensor:
        """What keeps offsets from living for nothing."""
        return opt.lambda_mask * logistic(self._mask).mean()

    def bits_per_parameter(self, anchors: CodedAnchors, share: float) -> Tensor:
        """The mean bits of the values of a random share of `anchors`; offsets that do not live cost none."""
        n = len(anchors)
        sample = (torch.rand(n, generator=self.generator) < share).nonzero().squeeze(1)
        if len(sample) == 0:
            return anchors.positions.new_zeros(())
        sample = sample.to(anchors.positions.device)
        return self.bits(anchors, sample).sum() / (len(sample) * self.context.values)

    def bits(self, anchors: CodedAnchors, sample: Tensor) -> Tensor:
        """The bits of the anchors of the numbers `sample`, [n]."""
        assert anchors.hidden is not None
        assert anchors.steps is not None
        assert anchors.masks is not None
        values = {"features": anchors.features, "scales": anchors.scales, "offsets": anchors.offsets.flatten(1)}
        values = {group: select_rows(values[group], sample) for group in GROUPS}
        steps = {group: select_rows(anchors.steps[group], sample) for group in GROUPS}
        bits = self.context.bits(select_rows(anchors.hidden, sample), values, steps)
        of_offsets = bits["offsets"].view(len(sample), -1, 3).sum(dim=2)
        of_rest = bits["features"].sum(dim=1) + bits["scales"].sum(dim=1)
        return self.masked_bits(of_rest, of_offsets, select_rows(anchors.masks, sample))

    def masked_bits(self, of_anchors: Tensor, of_offsets: Tensor, masks: Tensor) -> Tensor:
        """The bits [n] of anchors, from those of features and scales [n] and those of offsets [n, K]."""
        return of_anchors + (of_offsets * masks).sum(dim=1)

    # State.

    def state(self) -> dict[str, Any]:
        """As in the base class, and the box of the hash grid."""
        return {**super().state(), "low": list(self.low), "extent": list(self.extent)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        super().load_state(state)
        self.low = [int(v) for v in state["low"]]
        self.extent = [int(v) for v in state["extent"]]


class HacPlusModel(HacModel):
    """HAC++ (Chen et al. 2025): a context within the anchor, and masks that answer for the rate of what they keep."""

    model_params: HacPlusModelParams

    def __init__(self, model_params: HacPlusModelParams | None = None) -> None:
        super().__init__(model_params if model_params is not None else HacPlusModelParams())

    def make_context(self) -> HacContext:
        """The hash grid's context, and the networks of the chunks."""
        return ChannelContext(self.model_params, self.model_params.chunk_width_for(len(self)))

    def reset_networks(self) -> None:
        """As in the base class, with networks of chunks that suit the number of anchors."""
        self.context = self.make_context()
        super().reset_networks()

    def state(self) -> dict[str, Any]:
        """As in the base class, and the width of the networks of chunks."""
        assert isinstance(self.context, ChannelContext)
        return {**super().state(), "chunk_width": self.context.chunk_width}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self.context = ChannelContext(self.model_params, int(state["chunk_width"]))
        super().load_state(state)

    def mask_loss(self, opt: HacParams) -> Tensor:
        """None: the rate is what masks cost."""
        return self._mask.new_zeros(())

    def masked_bits(self, of_anchors: Tensor, of_offsets: Tensor, masks: Tensor) -> Tensor:
        """As in the base class; an anchor without a live offset costs nothing. That is 1 or 0, with the gradient of the
        mean mask.
        """
        mean = masks.mean(dim=1)
        lives = mean + ((mean > 0.0).to(mean.dtype) - mean).detach()
        return of_anchors * lives + (of_offsets * masks).sum(dim=1)
