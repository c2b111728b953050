"""One step of Adam over one tensor, in place."""

from __future__ import annotations

import torch
from torch import Tensor

from gsbench.native._check import pointer
from gsbench.native._library import call


def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    step: int,
    threads: int | None = None,
) -> None:
    """Update `parameter`, `exp_avg` and `exp_avg_sq` in place, as `torch.optim.Adam` does (Kingma and Ba, "Adam: a
    method for stochastic optimization", 2015), without weight decay and AMSGrad.

    The result has the same bytes for any number of threads. Autograd's version counters are advanced.

    Args:
        parameter: float32, any shape, contiguous, on the CPU or a GPU; so are all tensors. They must not overlap.
        gradient: of the same shape.
        exp_avg: running mean of the gradient.
        exp_avg_sq: running mean of the squared gradient.
        lr: learning rate.
        betas: decay of the two means, in [0, 1).
        eps: added to the root.
        step: number of this step, from 1.
        threads: how many to use; torch's number by default.

    Raises:
        ValueError: if an argument is not as stated.
    """
    if parameter.is_cuda:
        from gsbench.native.cuda import training

        training.adam_step(parameter, gradient, exp_avg, exp_avg_sq, lr=lr, betas=betas, eps=eps, step=step)
        return
    shape = parameter.shape
    call(
        "gsb_adam_step",
        pointer("parameter", parameter, torch.float32, shape),
        pointer("gradient", gradient, torch.float32, shape),
        pointer("exp_avg", exp_avg, torch.float32, shape),
        pointer("exp_avg_sq", exp_avg_sq, torch.float32, shape),
        parameter.numel(),
        lr,
        betas[0],
        betas[1],
        eps,
        step,
        torch.get_num_threads() if threads is None else threads,
    )
    torch.autograd.graph.increment_version([parameter, exp_avg, exp_avg_sq])
