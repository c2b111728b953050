"""From anchors to an image: `Anchors`, `neural_gaussians`, `AnchorRenderable`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsbench.native.anchors import AnchorInputs, AnchorOutputs, anchor_gaussians, anchor_gradients
from gsbench.raster import Gaussians, RenderOptions, render, visible
from gsbench.splats import Camera, Splats
from gsbench.training.anchors.networks import AnchorNetworks


@dataclass(frozen=True)
class Anchors:
    """N anchors as they are drawn: activated values, float32.

    Fields:
        positions: [N, 3], scene units.
        features: [N, F].
        scales: [N, 6]: reach of the offsets, size of the Gaussians; scene units.
        offsets: [N, K, 3], in units of the reach.
        masks: [N, K], 0 or 1; None for ones.
    """

    positions: Tensor
    features: Tensor
    scales: Tensor
    offsets: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return int(self.positions.shape[0])

    def to(self, device: torch.device | str) -> Anchors:
        """The same on another device."""
        return Anchors(
            self.positions.to(device),
            self.features.to(device),
            self.scales.to(device),
            self.offsets.to(device),
            None if self.masks is None else self.masks.to(device),
        )

    def rows(self, index: Tensor) -> Anchors:
        """The anchors of these numbers, int64 [n], each at most once. Differentiable."""
        masks = None if self.masks is None else select_rows(self.masks, index)
        return Anchors(
            self.positions.index_select(0, index),
            select_rows(self.features, index),
            select_rows(self.scales, index),
            select_rows(self.offsets, index),
            masks,
        )


class _SelectRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = values.shape[0]
        return values.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        full = grad.new_zeros((ctx.rows, *grad.shape[1:]))
        full[index] = grad  # no row occurs twice: nothing is added up
        return full, None


def select_rows(values: Tensor, index: Tensor) -> Tensor:
    """``values[index]`` for an int64 index [n] without repetitions, whose gradient is written, not added up."""
    if not values.requires_grad:
        return values.index_select(0, index)
    result: Tensor = _SelectRows.apply(values, index)  # type: ignore[no-untyped-call]
    return result


class _Expand(torch.autograd.Function):
    """`anchor_gaussians` with its gradients. Returns means, scales, quats, opacities, colors."""

    @staticmethod
    def forward(ctx: Any, outputs: list[AnchorOutputs], positions: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        offsets, scales, opacities, shapes, colors, masks = rest
        assert offsets is not None
        assert scales is not None
        assert opacities is not None
        assert shapes is not None
        assert colors is not None
        inputs = AnchorInputs(positions, offsets, scales, opacities, shapes, colors, masks)
        found = anchor_gaussians(inputs)
        outputs.append(found)
        # Not the Gaussians themselves: a node that holds its own results is never freed.
        ctx.inputs, ctx.rows, ctx.starts = inputs, found.rows, found.starts
        return found.means, found.scales, found.quats, found.opacities, found.colors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        g = anchor_gradients(ctx.inputs, ctx.rows, ctx.starts, *(grad.contiguous() for grad in grads))
        return None, None, g.offsets, g.scales, g.opacities, g.shapes, g.colors, g.masks


@dataclass(frozen=True)
class NeuralGaussians:
    """The Gaussians of some anchors for one camera.

    Fields:
        gaussians: M of them.
        rows: int64 [M], ascending: which anchor times K plus which offset.
        opacities: float32 [n, K], detached: of all offsets, not above 0 for those that have no Gaussian.
    """

    gaussians: Gaussians
    rows: Tensor
    opacities: Tensor


def visible_anchors(positions: Tensor, scales: Tensor, camera: Camera) -> Tensor:
    """The numbers of the anchors whose reach `camera` sees, int64 [n] ascending."""
    upright = positions.new_zeros(positions.shape[0], 4)
    upright[:, 0] = 1.0
    return visible(positions, upright, scales[:, :3].contiguous(), camera).nonzero().squeeze(1)


def neural_gaussians(anchors: Anchors, networks: AnchorNetworks, camera: Camera) -> NeuralGaussians:
    """The Gaussians of `anchors` as `camera` sees them. Differentiable."""
    away = anchors.positions - camera.camera_center.to(anchors.positions)
    distance = away.square().sum(dim=1, keepdim=True).sqrt_()
    seen_from = torch.cat([away / distance.clamp_min(1e-12), distance], dim=1)
    opacities, shapes, colors = networks(anchors.features, seen_from)
    found: list[AnchorOutputs] = []
    means, scales, quats, live_opacities, live_colors = _Expand.apply(  # type: ignore[no-untyped-call]
        found, anchors.positions, anchors.offsets, anchors.scales, opacities, shapes, colors, anchors.masks
    )
    gaussians = Gaussians(means, live_opacities, live_colors, quats, scales)
    return NeuralGaussians(gaussians, found[0].rows, found[0].dense_opacities)


class AnchorRenderable:
    """Anchors with their networks: what the artifact of an anchor method decodes to.

    Args:
        anchors: detached.
        networks: their networks, on the same device.
    """

    def __init__(self, anchors: Anchors, networks: AnchorNetworks) -> None:
        self.anchors, self.networks = anchors, networks

    def to(self, device: torch.device | str) -> Self:
        """The same on another device; the networks are moved, not copied."""
        return type(self)(self.anchors.to(device), self.networks.to(device))

    @torch.no_grad()
    def render(self, camera: Camera, background: Tensor) -> Tensor:
        """The image, float32 [H, W, 3], over `background`, float32 [3]."""
        image: Tensor = render(self.gaussians(camera), camera, RenderOptions(background=background)).image
        return image

    @torch.no_grad()
    def gaussians(self, camera: Camera) -> Gaussians:
        """The Gaussians that `camera` sees, with direct colors, detached: what `render` draws. Other cameras see other
        Gaussians.
        """
        index = visible_anchors(self.anchors.positions, self.anchors.scales, camera)
        return neural_gaussians(self.anchors.rows(index), self.networks, camera).gaussians

    def splats(self) -> Splats:
        """Raises NotImplementedError: the Gaussians of anchors depend on the view; `gaussians` has those of one."""
        raise NotImplementedError("the Gaussians of anchors depend on where they are seen from: see gaussians(camera)")

    def counts(self) -> dict[str, int]:
        """Numbers for the record: live offsets ("gaussians") and "anchors"."""
        masks = self.anchors.masks
        offsets = self.anchors.offsets.shape[0] * self.anchors.offsets.shape[1]
        return {"gaussians": offsets if masks is None else int(masks.sum()), "anchors": len(self.anchors)}


class ExactAnchorRenderable(AnchorRenderable):
    """Anchors that decode to the same bits on every machine, so that records can have their hash.

    Not those of files whose decoding takes an exponential, say, which instruction sets round differently.
    """

    def decoded_tensors(self) -> dict[str, Tensor]:
        """All that was decoded, by name, for a hash of it."""
        a = self.anchors
        tensors = {"positions": a.positions, "features": a.features, "scales": a.scales, "offsets": a.offsets}
        if a.masks is not None:
            tensors["masks"] = a.masks
        networks = {f"networks.{name}": parameter.detach() for name, parameter in self.networks.named_parameters()}
        return {**tensors, **networks}
