"""`HacContext`: what the hash grid and the context network say about the attributes of anchors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from gsbench.coding.steps import STEP_LIMIT, STEP_UNIT
from gsbench.training.anchors.networks import reset_linear, two_layers
from gsbench.training.hashgrid import HashGrid
from gsbench_hac.params import HacModelParams

#: The groups of attributes, in the order in which they are coded.
GROUPS: Final = ("features", "scales", "offsets")
#: What the network says about means counts in 2^MEAN_SHIFT base steps: scales are hundreds of their steps.
MEAN_SHIFT: Final = {"features": 2, "scales": 6, "offsets": 3}
#: Logarithms (base 2) of standard deviations in base steps are kept in these bounds, which are those of the tables.
LOG2_LOW: Final = -8.0
LOG2_HIGH: Final = 14.0
#: The step's multiplier is 1 + tanh r, with r within this.
MOST_R: Final = STEP_LIMIT / STEP_UNIT


@dataclass(frozen=True)
class Prediction:
    """A Gaussian for each value of a group, in the group's unit; [n, values]."""

    mean: Tensor
    scale: Tensor


class HacContext(nn.Module):
    """A binary hash grid and a network with one hidden layer, that predict the attributes of an anchor from its voxel.

    The network's output is, for each group, the means of its values and the logarithms of their standard deviations;
    then r for each group, which makes its step Q (1 + tanh r).
    """

    def __init__(self, params: HacModelParams) -> None:
        super().__init__()
        f, k = params.feat_dim, params.n_offsets
        self.sizes = {"features": f, "scales": 6, "offsets": 3 * k}
        self.steps = {"features": params.q_features, "scales": params.q_scales, "offsets": params.q_offsets}
        self.grid = HashGrid(params.layout())
        self.values = sum(self.sizes.values())
        self.network = two_layers(self.grid.width, params.context_width, 2 * self.values + len(GROUPS))

    def reset(self, generator: torch.Generator) -> None:
        """Draw the grid and all weights anew."""
        self.grid.reset(generator)
        reset_linear(self.network, generator)

    @torch.no_grad()
    def start(self, values: dict[str, Tensor]) -> None:
        """Begin with the mean and the standard deviation of `values` (group -> [n, size]) as the prediction for all
        anchors, and no adaption of the steps: the last layer's biases, beside weights of a tenth.
        """
        last = self.network[2]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(0.1)
        biases = []
        for group in GROUPS:
            scaled = values[group].double() / self.steps[group]
            deviation = scaled.std(dim=0, correction=0).clamp_min(0.5)
            biases += [scaled.mean(dim=0) / 2.0 ** MEAN_SHIFT[group], deviation.log2()]
        last.bias.copy_(torch.cat([*biases, last.bias.new_zeros(len(GROUPS))]))

    def hidden(self, points: Tensor, extent: list[int]) -> Tensor:
        """The hidden layer at int32 points [n, 3] in 0..extent, [n, width]."""
        hidden: Tensor = self.network[1](self.network[0](self.grid(points, extent)))
        return hidden

    def step_sizes(self, hidden: Tensor) -> dict[str, Tensor]:
        """The adaptive step of each group, float32 [n, 1]."""
        last = self.network[2]
        assert isinstance(last, nn.Linear)
        r = torch.addmm(last.bias[-len(GROUPS) :], hidden, last.weight[-len(GROUPS) :].T)
        factors = 1.0 + torch.tanh(r.clamp(-MOST_R, MOST_R))
        return {group: self.steps[group] * factors[:, i : i + 1] for i, group in enumerate(GROUPS)}

    def predict(self, hidden: Tensor) -> dict[str, Prediction]:
        """The Gaussians of all groups."""
        last = self.network[2]
        assert isinstance(last, nn.Linear)
        outputs = torch.addmm(last.bias[: -len(GROUPS)], hidden, last.weight[: -len(GROUPS)].T)
        predictions, at = {}, 0
        for group in GROUPS:
            size, step = self.sizes[group], self.steps[group]
            mean, log2 = outputs[:, at : at + size], outputs[:, at + size : at + 2 * size]
            scale = step * torch.exp2(log2.clamp(LOG2_LOW, LOG2_HIGH))
            predictions[group] = Prediction(mean * (step * 2.0 ** MEAN_SHIFT[group]), scale)
            at += 2 * size
        return predictions
