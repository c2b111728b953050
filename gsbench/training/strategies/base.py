"""`Strategy`: the interface of density control, and the checks that all strategies share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.training.densify import Optimizers, Params, State, row_count

#: Trailing shapes of the parameters that every strategy needs; opacities may be [N] or [N, 1].
_SHAPES: Final[dict[str, tuple[tuple[int, ...], ...]]] = {
    "means": ((3,),),
    "scales": ((3,),),
    "quats": ((4,),),
    "opacities": ((), (1,)),
}


def check_intervals(**intervals: int) -> None:
    """Refuse numbers of steps, by name, that are not at least 1.

    Raises:
        ValueError: naming the first.
    """
    for name, steps in intervals.items():
        if steps < 1:
            raise ValueError(f"{name}: expected at least 1 step, got {steps}")


class Strategy(ABC):
    """Decides which Gaussians are duplicated, split, moved or removed during training.

    The interface is that of gsplat: call `check_sanity` once, `initialize_state` once, and in every step
    `step_pre_backward` before and `step_post_backward` after the backward pass and the optimizers' step.
    """

    def check_sanity(self, params: Params, optimizers: Optimizers) -> None:
        """Check names, shapes, and that every trainable parameter is held by its optimizer.

        Raises:
            ValueError: naming the parameter or optimizer, what was expected and what came.
        """
        for name, shapes in _SHAPES.items():
            if name not in params:
                raise ValueError(f"params: expected {name!r} among the names, got {sorted(params)}")
            shape = tuple(params[name].shape)
            if not shape or shape[1:] not in shapes:
                wanted = " or ".join("[" + ", ".join(["N", *map(str, s)]) + "]" for s in shapes)
                raise ValueError(f"params[{name!r}]: expected shape {wanted}, got {list(shape)}")
        row_count(params)
        trainable = {name for name, p in params.items() if p.requires_grad}
        if trainable != set(optimizers):
            raise ValueError(
                f"optimizers: expected one for each trainable parameter {sorted(trainable)}, got {sorted(optimizers)}"
            )
        for name, optimizer in optimizers.items():
            held = [p for group in optimizer.param_groups for p in group["params"]]
            if not any(p is params[name] for p in held):
                raise ValueError(f"optimizers[{name!r}] does not hold params[{name!r}]")

    @abstractmethod
    def initialize_state(self) -> dict[str, Any]:
        """The strategy's running state, to be passed to every step."""

    @staticmethod
    def state_dict(state: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of a running state, of tensors and plain values only, for checkpoints."""
        saved: dict[str, Any] = {}
        for key, value in state.items():
            if isinstance(value, torch.Generator):
                saved[key] = value.get_state()
            else:
                saved[key] = value.detach().clone() if isinstance(value, Tensor) else value
        return saved

    @staticmethod
    def load_state_dict(state: State, saved: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken: `state`, from `initialize_state`, gets the values of `saved`.

        Raises:
            ValueError: if the names differ.
        """
        if set(state) != set(saved):
            raise ValueError(f"state: expected the names {sorted(state)}, got {sorted(saved)}")
        for key, value in saved.items():
            if isinstance(state[key], torch.Generator):
                state[key].set_state(value)
            else:
                state[key] = value.detach().clone() if isinstance(value, Tensor) else value

    def step_pre_backward(  # noqa: B027 (not every strategy needs it)
        self, params: Params, optimizers: Optimizers, state: State, step: int, info: dict[str, Any]
    ) -> None:
        """To be called between rendering and ``loss.backward()``."""

    @abstractmethod
    def step_post_backward(
        self, params: Params, optimizers: Optimizers, state: State, step: int, info: dict[str, Any]
    ) -> None:
        """To be called after ``loss.backward()`` and the optimizers' step."""


def logit(value: float) -> float:
    """The value before the sigmoid; infinite at 0 and 1."""
    if value <= 0.0:
        return -math.inf
    return math.inf if value >= 1.0 else math.log(value / (1.0 - value))


class ViewGradients:
    """The 2D gradients of one render, checked, whichever layout `info` has.

    Unpacked: gradient [C, N, 2], radii [C, N, 2] or [C, N]. Packed: gradient [M, 2], radii [M, 2] or [M], and
    gaussian_ids [M]. Gradients are scaled from pixels to normalized device coordinates (W/2, H/2) and by the number
    of cameras, since the loss is a mean over them.

    Raises:
        ValueError: if something is missing from `info` or of another shape.
    """

    def __init__(self, info: Mapping[str, Any], key: str, n: int, absolute: bool) -> None:
        for needed in (key, "width", "height", "n_cameras", "radii"):
            if needed not in info:
                raise ValueError(f"info: expected {needed!r} among the names, got {sorted(info)}")
        if int(info.get("n_batches", 1)) != 1:
            raise ValueError(f"info: expected the render of one scene, got a batch of {info['n_batches']}")
        points: Tensor = info[key]
        gradient: Tensor | None = getattr(points, "absgrad", None) if absolute else points.grad
        if gradient is None:
            what = "absgrad=True in the rasterization" if absolute else "step_pre_backward before the backward pass"
            raise ValueError(f"info[{key!r}] has no gradient: expected {what}")

        cameras = int(info["n_cameras"])
        ids: Tensor | None = None
        if gradient.ndim == 2:
            ids = info.get("gaussian_ids")
            if ids is None:
                raise ValueError(f"info: {key!r} of shape {list(gradient.shape)} is packed; expected 'gaussian_ids'")
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < n:
                span = f"{int(ids.min())} to {int(ids.max())}"
                raise ValueError(f"info['gaussian_ids']: expected indices below {n}, got {span}")
            expected: tuple[int, ...] = (len(ids), 2)
        else:
            expected = (cameras, n, 2)
        if tuple(gradient.shape) != expected:
            raise ValueError(
                f"info[{key!r}]: expected a gradient of shape {list(expected)}, got {list(gradient.shape)}"
            )
        radii: Tensor = info["radii"]
        if tuple(radii.shape) not in (expected, expected[:-1]):
            raise ValueError(f"info['radii']: expected shape {list(expected)}, got {list(radii.shape)}")

        half = gradient.new_tensor([0.5 * info["width"] * cameras, 0.5 * info["height"] * cameras])
        scaled = gradient * half
        x, y = scaled[..., 0], scaled[..., 1]
        both = radii.ndim == gradient.ndim
        #: Length of the scaled gradient, float32 [C, N] or [M].
        self.norms = (x * x + y * y).sqrt()
        #: True where the Gaussian is visible, bool [C, N] or [M].
        self.visible = (radii[..., 0] > 0) & (radii[..., 1] > 0) if both else radii > 0
        #: The larger radius, in pixels, [C, N] or [M].
        self.radii = torch.maximum(radii[..., 0], radii[..., 1]) if both else radii
        #: Which Gaussian each row is of, int64 [M]; None if unpacked.
        self.ids = None if ids is None else ids.long()

    def add_to(self, total: Tensor, count: Tensor) -> None:
        """Add the norms of visible Gaussians to `total` and 1 each to `count`, both float32 [N]."""
        if self.ids is not None:
            for sums, values in ((total, torch.where(self.visible, self.norms, 0.0)), (count, self.visible)):
                if sums.is_cuda:  # index_add_ adds in no fixed order there, this does
                    sums.index_put_((self.ids,), values.to(sums.dtype), accumulate=True)
                else:
                    sums.index_add_(0, self.ids, values.to(sums.dtype))
            return
        for norms, visible in zip(self.norms, self.visible, strict=True):
            total += torch.where(visible, norms, 0.0)
            count += visible

    def max_into(self, largest: Tensor, unit: float) -> None:
        """Raise `largest`, float32 [N], to the radii of visible Gaussians divided by `unit`."""
        shares = torch.where(self.visible, self.radii / unit, 0.0).to(largest.dtype)
        if self.ids is not None:
            largest.scatter_reduce_(0, self.ids, shares, "amax")
            return
        for share in shares:
            torch.maximum(largest, share, out=largest)
