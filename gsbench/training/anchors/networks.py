"""`AnchorNetworks`: the three networks that turn anchors into Gaussians."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def reset_linear(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights and biases as `torch.nn.Linear` does, uniform in +-1/sqrt(inputs), but from `generator`."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            bound = 1.0 / math.sqrt(layer.in_features)
            with torch.no_grad():
                for values in (layer.weight, layer.bias):
                    drawn = torch.rand(values.shape, generator=generator).mul_(2.0 * bound).sub_(bound)
                    values.copy_(drawn.to(values.device))


class TwoLayers(nn.Module):
    """Linear, ReLU (or leaky ReLU), Linear."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, leak: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs)
        self.leak = leak

    def hidden(self, inputs: Tensor) -> Tensor:
        """The hidden layer."""
        if self.leak:
            return nn.functional.leaky_relu(self.first(inputs), self.leak)
        return torch.relu(self.first(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """[n, inputs] to [n, outputs]."""
        outputs: Tensor = self.second(self.hidden(inputs))
        return outputs


class AnchorNetworks(nn.Module):
    """Opacities, shapes and colors of the K Gaussians of an anchor, from its feature and where it is seen from.

    Each network has one hidden layer, as wide as the feature; its input is the feature, the unit vector from the
    camera to the anchor, and their distance.
    """

    def __init__(self, feat_dim: int, n_offsets: int) -> None:
        super().__init__()
        self.feat_dim, self.n_offsets = feat_dim, n_offsets
        self.opacity = TwoLayers(feat_dim + 4, feat_dim, n_offsets)
        self.shape = TwoLayers(feat_dim + 4, feat_dim, 7 * n_offsets)
        self.color = TwoLayers(feat_dim + 4, feat_dim, 3 * n_offsets)

    def reset(self, generator: torch.Generator) -> None:
        """Draw all weights anew."""
        reset_linear(self, generator)

    def forward(self, features: Tensor, seen_from: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the networks say, before any activation.

        Args:
            features: float32 [n, feat_dim].
            seen_from: float32 [n, 4]: direction from the camera, distance.

        Returns:
            opacities [n, K], shapes [n, K, 7] (scales, quaternion), colors [n, K, 3].
        """
        # The three first layers in one product.
        first = (self.opacity.first, self.shape.first, self.color.first)
        weight = torch.cat([layer.weight for layer in first])
        bias = torch.cat([layer.bias for layer in first])
        hidden = torch.addmm(bias, features, weight[:, : self.feat_dim].T)
        hidden = hidden.addmm_(seen_from, weight[:, self.feat_dim :].T).relu_()
        of_opacity, of_shape, of_color = torch.split(hidden, self.feat_dim, dim=1)
        n, k = features.shape[0], self.n_offsets
        shapes = self.shape.second(of_shape).view(n, k, 7)
        opacities: Tensor = self.opacity.second(of_opacity)
        return opacities, shapes, self.color.second(of_color).view(n, k, 3)
