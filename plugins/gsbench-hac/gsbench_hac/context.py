"""`HacContext` and `ChannelContext`: what is known of an anchor's attributes before they are decoded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from gsbench.coding.gaussian import gaussian_bits
from gsbench.coding.steps import STEP_LIMIT, STEP_UNIT
from gsbench.training.anchors.networks import TwoLayers, reset_linear
from gsbench.training.hashgrid import HashGrid
from gsbench_hac.params import HacModelParams, HacPlusModelParams

#: The groups of attributes, in the order in which they are coded.
GROUPS: Final = ("features", "scales", "offsets")
#: Means come from the network in units of 2^MEAN_SHIFT base steps: scales are hundreds of their steps.
MEAN_SHIFT: Final = {"features": 2, "scales": 6, "offsets": 3}
#: Bounds of log2 of standard deviations in base steps.
LOG2_LOW: Final = -8.0
LOG2_HIGH: Final = 14.0
#: The step's multiplier is 1 + tanh r, with r within this.
MOST_R: Final = STEP_LIMIT / STEP_UNIT
#: Least mass of a symbol in the loss.
FLOOR: Final = 1e-6
#: Slope of the leaky ReLU of the channel networks, for negative inputs: a shift in integers.
LEAK: Final = 2.0**-6


class HacContext(nn.Module):
    """A binary hash grid, and a network with one hidden layer that predicts the attributes of an anchor from its voxel.

    The outputs of the network are, for each group, the means of its values and the logarithms of their standard
    deviations; and r for each group, which makes its step Q (1 + tanh r).
    """

    def __init__(self, params: HacModelParams) -> None:
        super().__init__()
        f, k = params.feat_dim, params.n_offsets
        self.sizes: dict[str, int] = {"features": f, "scales": 6, "offsets": 3 * k}
        self.steps = {"features": params.q_features, "scales": params.q_scales, "offsets": params.q_offsets}
        self.values = sum(self.sizes.values())
        self.grid = HashGrid(params.layout())
        outputs = sum(self.outputs_of(group) for group in GROUPS) + len(GROUPS)
        self.network = TwoLayers(self.grid.width, params.context_width, outputs)

    def outputs_of(self, group: str) -> int:
        """How many outputs of the network are about a group."""
        return 2 * self.sizes[group]

    def reset(self, generator: torch.Generator) -> None:
        """Draw the grid and all weights anew."""
        self.grid.reset(generator)
        reset_linear(self, generator)

    @torch.no_grad()
    def start(self, values: Mapping[str, Tensor]) -> None:
        """Begin with the mean and the standard deviation of `values` (group -> [n, size]) as the prediction for all
        anchors, by the last layer's biases, and with steps that are not adapted.
        """
        last = self.network.second
        last.weight.mul_(0.1)
        last.bias.zero_()
        for group, biases in zip(GROUPS, self.parts(last.bias[None]), strict=True):
            scaled = values[group].double() / self.steps[group]
            deviation = scaled.std(dim=0, correction=0).clamp_min(0.5)
            size = self.sizes[group]
            biases[0, :size] = scaled.mean(dim=0) / 2.0 ** MEAN_SHIFT[group]
            biases[0, size : 2 * size] = deviation.log2()

    def parts(self, outputs: Tensor) -> list[Tensor]:
        """The outputs [n, ...] of each group; views."""
        sizes = [self.outputs_of(group) for group in GROUPS]
        return list(torch.split(outputs[:, : sum(sizes)], sizes, dim=1))

    def hidden(self, points: Tensor, extent: list[int]) -> tuple[Tensor, Tensor]:
        """The hidden layer at int32 points [n, 3] in 0..extent, [n, width]; and the bits of the grid."""
        features, positive = self.grid(points, extent)
        return self.network.hidden(features), self.grid.bits(positive)

    def step_sizes(self, hidden: Tensor) -> dict[str, Tensor]:
        """The adaptive step of each group, float32 [n, 1]."""
        last = self.network.second
        r = torch.addmm(last.bias[-len(GROUPS) :], hidden, last.weight[-len(GROUPS) :].T)
        factors = 1.0 + torch.tanh(r.clamp(-MOST_R, MOST_R))
        return {group: self.steps[group] * factors[:, i : i + 1] for i, group in enumerate(GROUPS)}

    def bits(self, hidden: Tensor, values: Mapping[str, Tensor], steps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each value costs, in bits: group -> [n, size], for values of that shape, quantized with `steps`."""
        last = self.network.second
        outputs = torch.addmm(last.bias[: -len(GROUPS)], hidden, last.weight[: -len(GROUPS)].T)
        bits = {}
        for group, part in zip(GROUPS, self.parts(outputs), strict=True):
            bits[group] = self.group_bits(group, part, values[group], steps[group])
        return bits

    def group_bits(self, group: str, outputs: Tensor, values: Tensor, step: Tensor) -> Tensor:
        """The bits of one group, from the network's outputs about it."""
        size = self.sizes[group]
        return self.gaussian(group, outputs[:, :size], outputs[:, size : 2 * size], values, step)

    def gaussian(self, group: str, mean: Tensor, log2: Tensor, values: Tensor, step: Tensor) -> Tensor:
        """The bits of values by Gaussians that are given as a network's outputs."""
        base = self.steps[group]
        deviation = base * torch.exp2(log2.clamp(LOG2_LOW, LOG2_HIGH))
        return gaussian_bits(values, mean * (base * 2.0 ** MEAN_SHIFT[group]), deviation, step, floor=FLOOR)


class ChannelContext(HacContext):
    """The context of HAC++ (Chen et al. 2025, section 4.2): features are coded in chunks of channels, and a network for
    each chunk makes a second Gaussian from what the first network says about the features, and the chunks before; both
    are mixed, by the softmax of two further outputs.
    """

    def __init__(self, params: HacPlusModelParams, chunk_width: int) -> None:
        super().__init__(params)
        self.chunk_width = chunk_width
        channels = params.feat_dim // params.chunks
        self.channels = channels
        self.chunks = nn.ModuleList(
            TwoLayers(3 * params.feat_dim + channels * c, chunk_width, 3 * channels, leak=LEAK)
            for c in range(params.chunks)
        )

    def outputs_of(self, group: str) -> int:
        """As in the base class, and a weight for every feature."""
        return (3 if group == "features" else 2) * self.sizes[group]

    @torch.no_grad()
    def start(self, values: Mapping[str, Tensor]) -> None:
        """As in the base class; second Gaussians begin around the first ones' means."""
        super().start(values)
        size, base = self.channels, self.steps["features"]
        for c, network in enumerate(self.chunks):
            assert isinstance(network, TwoLayers)
            scaled = values["features"][:, c * size : (c + 1) * size].double() / base
            network.second.weight.mul_(0.1)
            network.second.bias.zero_()
            network.second.bias[:size] = scaled.mean(dim=0) / 2.0 ** MEAN_SHIFT["features"]
            network.second.bias[size : 2 * size] = scaled.std(dim=0, correction=0).clamp_min(0.5).log2()

    def group_bits(self, group: str, outputs: Tensor, values: Tensor, step: Tensor) -> Tensor:
        """As in the base class; features by two Gaussians."""
        first = super().group_bits(group, outputs, values, step)
        if group != "features":
            return first
        size, base = self.channels, self.steps[group]
        of_chunks = []
        for c, network in enumerate(self.chunks):
            before = values[:, : c * size] / (base * 2.0 ** MEAN_SHIFT[group])
            of_chunks.append(network(torch.cat([outputs, before], dim=1)))
        mean, log2, weight = (torch.cat([o[:, i * size : (i + 1) * size] for o in of_chunks], dim=1) for i in range(3))
        second = self.gaussian(group, mean, log2, values, step)
        shares = torch.log_softmax(torch.stack([outputs[:, 2 * self.sizes[group] :], weight]), dim=0)
        masses = shares - math.log(2.0) * torch.stack([first, second])
        return torch.logsumexp(masses, dim=0) * (-1.0 / math.log(2.0))
