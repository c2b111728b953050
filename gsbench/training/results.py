"""What passes between render, loss and tasks: `RenderResult` and `LossPack`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor

T = TypeVar("T")


class ViewspacePoints:
    """Projected centers with the gradient in the units of the original code.

    `means2d` is the rasterizer's tensor [1, N, 2] in pixels. `grad` is float32 [N, 2], the gradient with respect to
    normalized device coordinates (the pixel gradient times half the width and half the height), or None before the
    backward pass. So ``result.viewspace_points.grad[result.visibility_filter, :2]`` means what it means there.
    """

    def __init__(self, means2d: Tensor, width: int, height: int) -> None:
        self.means2d = means2d
        self._half = (0.5 * width, 0.5 * height)

    @property
    def grad(self) -> Tensor | None:
        """The gradient, float32 [N, 2], or None if there is none yet."""
        gradient = self.means2d.grad
        return None if gradient is None else gradient.reshape(-1, 2) * gradient.new_tensor(self._half)


class _Derived(Generic[T]):
    """A dataclass field that is computed from the others when it is first read, unless it was given."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> None: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> T | None:
        if instance is None:
            return None  # what dataclasses take for the field's default
        value: T | None = instance.__dict__[self._name]
        if value is None:
            value = instance.__dict__[self._name] = self._compute(instance)
        return value

    def __set__(self, instance: object, value: T | None) -> None:
        instance.__dict__[self._name] = value


def _other_layout(given: str, permutation: tuple[int, int, int]) -> Callable[[RenderResult], Tensor]:
    def compute(result: RenderResult) -> Tensor:
        image: Tensor | None = result.__dict__[given]
        if image is None:
            raise ValueError(f"{type(result).__name__} has no image: expected image or rendered_image to be given")
        return image.permute(permutation)

    return compute


def _from_meta(result: RenderResult, key: str, name: str) -> Any:
    if key not in result.meta:
        raise ValueError(
            f"{type(result).__name__} has no {name}: expected it to be given, or {key!r} in meta, "
            f"which has {sorted(result.meta) or 'nothing'}"
        )
    return result.meta[key]


def _viewspace_points(result: RenderResult) -> ViewspacePoints:
    height, width = result.image.shape[:2]
    return ViewspacePoints(_from_meta(result, "means2d", "viewspace_points"), int(width), int(height))


def _radii(result: RenderResult) -> Tensor:
    radii: Tensor = _from_meta(result, "radii", "radii")[0]
    return torch.maximum(radii[:, 0], radii[:, 1])


def _visibility_filter(result: RenderResult) -> Tensor:
    # Radii of invisible Gaussians are zero, those of visible ones positive along both axes.
    return result.radii > 0


@dataclass(eq=False, repr=False)
class RenderResult:
    """One rendered view. Methods subclass it (as a dataclass, with defaults) to carry more.

    ``RenderResult(image, alpha, meta)``, with what `rasterization` returned for one camera, is complete: all else
    follows from these three, when it is first read. It can also be given directly, as in
    ``RenderResult(rendered_image=..., viewspace_points=..., visibility_filter=..., radii=...)``.
    The keys of the original code's dictionary work as well: ``result["render"]``, ``result["radii"]``.

    Fields:
        image: float32 [H, W, 3], in the graph, not clamped.
        alpha: float32 [H, W, 1].
        meta: what the rasterizer reports, unpacked, for one camera: means2d [1, N, 2], radii int32 [1, N, 2], ...
            means2d keeps its gradient, which density control needs.
        rendered_image: the image as the original code has it, float32 [3, H, W].
        viewspace_points: the projected centers; their `grad`, in normalized device coordinates, is float32 [N, 2]
            after the backward pass.
        radii: radius in pixels of each Gaussian's footprint (the larger axis), int32 [N]; 0 where invisible.
        visibility_filter: True where a Gaussian is visible in this view, bool [N].

    Raises:
        ValueError: when something is read that was neither given nor follows from what was.
    """

    image: _Derived[Tensor] = _Derived(_other_layout("rendered_image", (1, 2, 0)))
    alpha: Tensor | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    rendered_image: _Derived[Tensor] = _Derived(_other_layout("image", (2, 0, 1)))
    viewspace_points: _Derived[Any] = _Derived(_viewspace_points)
    radii: _Derived[Tensor] = _Derived(_radii)
    visibility_filter: _Derived[Tensor] = _Derived(_visibility_filter)

    def __post_init__(self) -> None:
        means2d = self.meta.get("means2d")
        if isinstance(means2d, Tensor) and means2d.requires_grad:
            means2d.retain_grad()

    @property
    def render(self) -> Tensor:
        """`rendered_image` under the name that it has in the original code's dictionary."""
        return self.rendered_image

    def __getitem__(self, name: str) -> Any:
        """A field by its name; ``"render"`` is `rendered_image`.

        Raises:
            KeyError: if there is no such field.
        """
        if name != "render" and name not in self.__dataclass_fields__:
            raise KeyError(
                f"{type(self).__name__} has no {name!r}; expected one of {sorted(self.__dataclass_fields__)}"
            )
        return getattr(self, name)


@dataclass
class LossPack:
    """The parts of a loss, scalars, for progress displays and tasks.

    Fields:
        loss: what was minimized.
        l1_loss: mean absolute difference to the photograph.
        ssim_loss: 1 - SSIM.
        l2_loss: mean squared difference.
        extras: further parts by name.

    Parts are None where a method has no such part.
    """

    loss: Tensor
    l1_loss: Tensor | None = None
    ssim_loss: Tensor | None = None
    l2_loss: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)
