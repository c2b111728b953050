"""`FusedAdam`: Adam in one pass over memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from gsbench.native.cuda import cuda_library_path
from gsbench.native.optim import AdamUpdate, adam_steps


class FusedAdam(Optimizer):
    """Adam with the update and the state of `torch.optim.Adam` (no weight decay, no AMSGrad), in native code.

    Contiguous float32 parameters on the CPU take one native pass, those on a GPU one each; the result has the same
    bytes for any number of threads. Other parameters (another device, dtype or layout) are updated by torch operations
    with the same formula. State per parameter: ``step`` (float32 scalar on the CPU), ``exp_avg``, ``exp_avg_sq``; state
    dicts are interchangeable with those of `torch.optim.Adam`. Extra keys in parameter groups ("name", say) are kept.

    Args:
        params: parameters or parameter groups, as for any optimizer of torch.
        lr: learning rate; may differ and change per group, as `betas` and `eps`.
        betas: decay of the running means of the gradient and its square, in [0, 1).
        eps: added to the denominator.

    Raises:
        ValueError: if a hyperparameter is out of its range.
        NotImplementedError: if a group asks for weight decay, AMSGrad or maximization.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        # torch.optim.Adam needs the key weight_decay in the state dicts that it loads.
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in any optimizer of torch.

        Raises:
            ValueError: if a hyperparameter of the group is out of its range.
            NotImplementedError: if it asks for weight decay, AMSGrad or maximization.
        """
        _check_group({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What `load_state_dict` and unpickling end with. Raises as `add_param_group` does."""
        for group in state["param_groups"]:
            _check_group(group)
        super().__setstate__(state)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Args:
            closure: evaluates the model again and returns the loss.

        Raises:
            NotImplementedError: if a gradient is sparse or a parameter complex.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found = [(p, p.grad, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not found:
            return loss
        states = [self._state_of(parameter, gradient) for parameter, gradient, _ in found]
        torch._foreach_add_([state["step"] for state in states], 1)
        native = []
        for (parameter, gradient, group), state in zip(found, states, strict=True):
            update = AdamUpdate(
                parameter,
                gradient.contiguous(),  # it may be an expanded view; the copy is the exception
                state["exp_avg"],
                state["exp_avg_sq"],
                float(group["lr"]),
                (float(group["betas"][0]), float(group["betas"][1])),
                float(group["eps"]),
                int(state["step"]),
            )
            if all(map(_native, update[:4])):
                native.append(update)
            else:
                _adam_step_torch(update)
        adam_steps(native)
        return loss

    def _state_of(self, parameter: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        if gradient.layout != torch.strided:
            raise NotImplementedError(
                f"FusedAdam takes dense gradients only, got layout {gradient.layout} for a parameter of shape "
                f"{list(parameter.shape)}"
            )
        if parameter.is_complex():
            raise NotImplementedError(f"FusedAdam takes real parameters only, got {parameter.dtype}")
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state


def _check_group(group: dict[str, Any]) -> None:
    lr, eps, betas = group["lr"], group["eps"], group["betas"]
    if not lr >= 0.0:
        raise ValueError(f"lr: expected 0 or more, got {lr}")
    if not eps >= 0.0:
        raise ValueError(f"eps: expected 0 or more, got {eps}")
    if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
        raise ValueError(f"betas: expected two values in [0, 1), got {betas}")
    for option in ("weight_decay", "amsgrad", "maximize"):
        if group.get(option):
            raise NotImplementedError(f"FusedAdam has no {option}, got {option}={group[option]}; use torch.optim.Adam")


def _native(tensor: Tensor) -> bool:
    on_device = tensor.device.type == "cpu" or (tensor.is_cuda and cuda_library_path() is not None)
    return on_device and tensor.dtype == torch.float32 and tensor.is_contiguous()


def _adam_step_torch(update: AdamUpdate) -> None:
    """`gsbench.native.adam_steps` for tensors of any device, floating dtype and layout in memory."""
    parameter, gradient, exp_avg, exp_avg_sq, lr, betas, eps, step = update
    exp_avg.lerp_(gradient, 1.0 - betas[0])
    exp_avg_sq.mul_(betas[1]).addcmul_(gradient, gradient, value=1.0 - betas[1])
    root = exp_avg_sq.sqrt().div_((1.0 - betas[1] ** step) ** 0.5).add_(eps)
    parameter.addcdiv_(exp_avg, root, value=-lr / (1.0 - betas[0] ** step))
