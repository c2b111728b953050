"""`DensityControl`: densification under the names of the original code, as thin callers of `densify`."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from gsbench.training import densify
from gsbench.training.params import OptimizationParams
from gsbench.training.results import RenderResult
from gsbench.training.strategies.base import Strategy, logit
from gsbench.training.tasks import task

#: Opacity that a reset leaves at most.
RESET_OPACITY: Final = 0.01


class DensityControl:
    """The part of a model that adds and removes Gaussians. `BaseGaussianModel` has it; override what differs.

    Per-Gaussian tensors are attributes of the model; `attributes` says which: role -> (attribute, name of the
    optimizer's parameter group). A subclass with further per-Gaussian tensors extends the mapping, and they are
    edited along.
    """

    attributes: ClassVar[dict[str, tuple[str, str]]] = {
        "means": ("_xyz", "xyz"),
        "f_dc": ("_features_dc", "f_dc"),
        "f_rest": ("_features_rest", "f_rest"),
        "opacities": ("_opacity", "opacity"),
        "scales": ("_scaling", "scaling"),
        "quats": ("_rotation", "rotation"),
    }

    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    percent_dense: float
    #: No growth beyond this number; 0 for no limit.
    max_gaussians: int = 0
    spatial_lr_scale: float
    #: Sums of 2D gradient norms and of visits since the last densification, float32 [N, 1], and the largest radius in
    #: pixels, float32 [N].
    xyz_gradient_accum: Tensor
    denom: Tensor
    max_radii2D: Tensor  # noqa: N815 (the original code's name)

    # Access for `densify`.

    def tensors(self) -> dict[str, Tensor]:
        """The per-Gaussian tensors by role ("means", "scales", "quats", "opacities", "f_dc", "f_rest", ...)."""
        return {role: getattr(self, attribute) for role, (attribute, _) in self.attributes.items()}

    def statistics(self) -> dict[str, Any]:
        """The densification statistics, which are edited along with the Gaussians."""
        return {name: getattr(self, name) for name in ("xyz_gradient_accum", "denom", "max_radii2D")}

    def _write_back(self, params: dict[str, Any], state: dict[str, Any]) -> None:
        for role, value in params.items():
            setattr(self, self.attributes[role][0], value)
        for name, value in state.items():
            setattr(self, name, value)

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return dict.fromkeys(self.attributes, self.optimizer)

    def _role(self, group: str) -> str:
        for role, (_, name) in self.attributes.items():
            if name == group:
                return role
        known = sorted(name for _, name in self.attributes.values())
        raise ValueError(f"no per-Gaussian parameter group {group!r}; expected one of {known}")

    def _by_group(self, params: dict[str, Any]) -> dict[str, Any]:
        return {name: params[role] for role, (_, name) in self.attributes.items()}

    def reset_statistics(self) -> None:
        """Zero statistics for the present number of Gaussians."""
        xyz: Tensor = self.tensors()["means"]
        self.xyz_gradient_accum = torch.zeros((len(xyz), 1), device=xyz.device)
        self.denom = torch.zeros((len(xyz), 1), device=xyz.device)
        self.max_radii2D = torch.zeros(len(xyz), device=xyz.device)

    def apply_strategy(self, strategy: Strategy, state: dict[str, Any], step: int, render_result: RenderResult) -> None:
        """Let a strategy edit this model: its `step_post_backward`, from an end task. `state` is the strategy's.

        The names that the strategy sees are the roles in `attributes`; the model's own statistics start over.
        """
        params: dict[str, Any] = self.tensors()
        before = params["means"]
        strategy.step_post_backward(params, self._optimizers(), state, step, render_result.meta)
        self._write_back(params, {})
        if params["means"] is not before:
            self.reset_statistics()

    # The original code's operations.

    def replace_tensor_to_optimizer(self, tensor: Tensor, name: str) -> dict[str, Any]:
        """Replace the parameter of the group `name` by `tensor` (same rows) and zero its moments.

        Returns:
            The new parameter under its group's name.
        """
        role = self._role(name)
        params: dict[str, Any] = self.tensors()
        densify.replace(params, self._optimizers(), role, tensor)
        self._write_back({role: params[role]}, {})
        return {name: params[role]}

    def _prune_optimizer(self, mask: Tensor) -> dict[str, Any]:
        """Keep the Gaussians where `mask` (bool [N]) is true, parameters and moments alike, but not the statistics.

        Returns:
            The new parameters by their groups' names.
        """
        params: dict[str, Any] = self.tensors()
        densify.remove(params, self._optimizers(), {}, ~mask)
        self._write_back(params, {})
        return self._by_group(params)

    def prune_points(self, mask: Tensor) -> None:
        """Remove the Gaussians where `mask` (bool [N]) is true."""
        params, state = self.tensors(), self.statistics()
        densify.remove(params, self._optimizers(), state, mask)
        self._write_back(params, state)

    def cat_tensors_to_optimizer(self, tensors_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Append rows to every parameter, given by its group's name; their moments are zero.

        Returns:
            The new parameters by their groups' names.
        """
        params: dict[str, Any] = self.tensors()
        rows = {self._role(name): rows for name, rows in tensors_dict.items()}
        densify.append(params, self._optimizers(), {}, rows)
        self._write_back(params, {})
        return self._by_group(params)

    def densification_postfix(
        self,
        new_xyz: Tensor,
        new_features_dc: Tensor,
        new_features_rest: Tensor,
        new_opacities: Tensor,
        new_scaling: Tensor,
        new_rotation: Tensor,
    ) -> None:
        """Append Gaussians, given before activation, and zero the statistics of all."""
        self.cat_tensors_to_optimizer(
            {
                "xyz": new_xyz,
                "f_dc": new_features_dc,
                "f_rest": new_features_rest,
                "opacity": new_opacities,
                "scaling": new_scaling,
                "rotation": new_rotation,
            }
        )
        self.reset_statistics()

    def densify_and_clone(self, grads: Tensor, grad_threshold: float, scene_extent: float) -> None:
        """Duplicate the Gaussians of at most `percent_dense` of the extent whose gradient reaches the threshold.

        Args:
            grads: mean 2D gradients of the first M Gaussians, float32 [M, 1] (or [M]).
            grad_threshold: in normalized device coordinates.
            scene_extent: the size of the scene.
        """
        selected = self._reaches(grads, grad_threshold) & ~self._larger_than(self.percent_dense * scene_extent)
        params, state = self.tensors(), self.statistics()
        densify.duplicate(params, self._optimizers(), state, selected)
        self._write_back(params, state)
        self.reset_statistics()

    def densify_and_split(self, grads: Tensor, grad_threshold: float, scene_extent: float, N: int = 2) -> None:
        """Replace the larger Gaussians whose gradient reaches the threshold by `N` smaller ones.

        Gaussians after the first M (those that `densify_and_clone` has just made) are left alone.
        """
        selected = self._reaches(grads, grad_threshold) & self._larger_than(self.percent_dense * scene_extent)
        params, state = self.tensors(), self.statistics()
        densify.split(params, self._optimizers(), state, selected, generator=self.generator, parts=N)
        self._write_back(params, state)
        self.reset_statistics()

    def densify_and_prune(
        self,
        max_grad: float,
        min_opacity: float,
        extent: float,
        max_screen_size: float | None,
    ) -> None:
        """Clone, split, and then remove what is nearly transparent or too large.

        Growth stops at `max_gaussians`, where that is set; the largest gradients come first.

        Args:
            max_grad: mean 2D gradient (normalized device coordinates) from which a Gaussian grows.
            min_opacity: Gaussians below it are removed.
            extent: the size of the scene. Gaussians larger than a tenth of it are removed, unless max_screen_size is
                None.
            max_screen_size: radius in pixels. As in the original code, densification has just cleared the radii when
                this is tested, so that a number here has the effect of the size test in space alone.
        """
        grads = (self.xyz_gradient_accum / self.denom.clamp_min(1.0)).flatten()
        threshold = self._limited(grads, max_grad, self.max_gaussians)
        self.densify_and_clone(grads, threshold, extent)
        self.densify_and_split(grads, threshold, extent)

        removed = self.tensors()["opacities"].detach().flatten() < logit(min_opacity)
        if max_screen_size is not None:
            removed |= (self.max_radii2D > max_screen_size) | self._larger_than(0.1 * extent)
        self.prune_points(removed)

    @task
    def reset_opacity(self) -> None:
        """Bring all opacities down to at most 0.01 and zero their moments."""
        params: dict[str, Any] = self.tensors()
        densify.reset_opa(params, self._optimizers(), {}, RESET_OPACITY)
        self._write_back(params, {})

    @task
    @torch.no_grad()
    def add_densification_stats(self, render_result: RenderResult) -> None:
        """Add the 2D gradients, visits and radii of one view, after its backward pass."""
        gradient = render_result.viewspace_points.grad
        if gradient is None:
            raise ValueError("viewspace_points has no gradient: expected a render with gradients and a backward pass")
        # Invisible Gaussians have zero gradients and radii, so that no selection is needed.
        x, y = gradient[:, 0], gradient[:, 1]
        self.xyz_gradient_accum += (x * x + y * y).sqrt()[:, None]
        self.denom += render_result.visibility_filter[:, None]
        torch.maximum(self.max_radii2D, render_result.radii.to(torch.float32), out=self.max_radii2D)

    @task
    def densify_and_prune_task(self, opt: OptimizationParams, step: int) -> None:
        """Densify; large Gaussians are removed only after the first opacity reset, as in the original code."""
        sizes = math.inf if 0 < opt.opacity_reset_interval < step else None
        self.densify_and_prune(opt.densify_grad_threshold, opt.prune_opacity, self.spatial_lr_scale, sizes)

    # Selections.

    def _reaches(self, grads: Tensor, threshold: float) -> Tensor:
        """True where the gradient is at least `threshold`, bool [N]; false for Gaussians that have none."""
        selected = torch.zeros(len(self.tensors()["means"]), dtype=torch.bool, device=grads.device)
        flat = grads.flatten() if grads.ndim < 2 or grads.shape[1] == 1 else grads.norm(dim=1)
        selected[: len(flat)] = flat >= threshold
        return selected

    def _larger_than(self, size: float) -> Tensor:
        """True where the largest axis exceeds `size`, bool [N]. Compared as logarithms: no exponential per Gaussian."""
        limit = math.log(size) if size > 0.0 else -math.inf
        return self.tensors()["scales"].detach().amax(dim=1) > limit

    @staticmethod
    def _limited(grads: Tensor, threshold: float, max_gaussians: int) -> float:
        """A threshold, at least the given one, that lets no more than the allowed number of Gaussians grow."""
        if max_gaussians <= 0:
            return threshold
        # Every Gaussian that grows adds one: a clone, or two parts for one.
        allowed = max(0, max_gaussians - len(grads))
        if int((grads >= threshold).sum()) <= allowed:
            return threshold
        # The largest gradient that may not grow, and the next number above it.
        barred = grads.topk(allowed + 1).values[-1]
        return float(torch.nextafter(barred, barred.new_tensor(math.inf)))
