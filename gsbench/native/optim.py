"""Steps of Adam over tensors, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gsbench.native import _abi
from gsbench.native._check import pointer
from gsbench.native._library import call


class AdamUpdate(NamedTuple):
    """A step of Adam over one tensor.

    Fields:
        parameter: float32, any shape, contiguous, on the CPU or a GPU; so are all tensors. They must not overlap.
        gradient: of the same shape.
        exp_avg: running mean of the gradient.
        exp_avg_sq: running mean of the squared gradient.
        lr: learning rate.
        betas: decay of the two means, in [0, 1).
        eps: added to the root.
        step: number of this step, from 1.
    """

    parameter: Tensor
    gradient: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    lr: float
    betas: tuple[float, float]
    eps: float
    step: int


def adam_steps(updates: Sequence[AdamUpdate], *, threads: int | None = None) -> None:
    """Update the `parameter`, `exp_avg` and `exp_avg_sq` of each in place, as `torch.optim.Adam` does (Kingma and Ba,
    "Adam: a method for stochastic optimization", 2015), without weight decay and AMSGrad.

    The result has the same bytes for any number of threads. Autograd's version counters are advanced.

    Args:
        updates: of different tensors.
        threads: how many to use; torch's number by default.

    Raises:
        ValueError: if an argument is not as stated; then nothing on the CPU has changed.
    """
    on_gpu = [update for update in updates if update.parameter.is_cuda]
    on_cpu = [update for update in updates if not update.parameter.is_cuda]
    if on_gpu:
        from gsbench.native.cuda import training

        for update in on_gpu:
            training.adam_step(update)
    if not on_cpu:
        return
    tasks = (_abi.AdamUpdate * len(on_cpu))(*map(_task, on_cpu))
    call("gsb_adam_steps", tasks, len(tasks), torch.get_num_threads() if threads is None else threads)
    torch.autograd.graph.increment_version(
        [tensor for u in on_cpu for tensor in (u.parameter, u.exp_avg, u.exp_avg_sq)]
    )


def _task(update: AdamUpdate) -> _abi.AdamUpdate:
    shape = update.parameter.shape
    return _abi.AdamUpdate(
        parameter=pointer("parameter", update.parameter, torch.float32, shape),
        gradient=pointer("gradient", update.gradient, torch.float32, shape),
        mean=pointer("exp_avg", update.exp_avg, torch.float32, shape),
        square=pointer("exp_avg_sq", update.exp_avg_sq, torch.float32, shape),
        count=update.parameter.numel(),
        lr=update.lr,
        beta1=update.betas[0],
        beta2=update.betas[1],
        epsilon=update.eps,
        step=update.step,
    )


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
    """`adam_steps` of one tensor; the arguments are those of `AdamUpdate`.

    Raises:
        ValueError: if an argument is not as stated there.
    """
    adam_steps([AdamUpdate(parameter, gradient, exp_avg, exp_avg_sq, lr, betas, eps, step)], threads=threads)
