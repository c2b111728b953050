"""`BaseGaussianModel`: the model class that researchers know, with working defaults for all of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from gsbench.native import knn_mean_distance
from gsbench.raster import RenderOptions, rasterization, render
from gsbench.scenes.scene import PointCloud, View
from gsbench.splats import Camera, Splats
from gsbench.splats.activation import logistic
from gsbench.splats.splats import SH_BASES
from gsbench.training.density import DensityControl
from gsbench.training.losses import l1_dssim_loss
from gsbench.training.optim import FusedAdam
from gsbench.training.params import ModelParams, OptimizationParams, PipelineParams, exponential_decay
from gsbench.training.results import LossPack, RenderResult
from gsbench.training.scheduler import Scheduler
from gsbench.training.tasks import task

#: The constant spherical harmonic, 1 / (2 sqrt(pi)).
SH_C0 = 0.5 / math.sqrt(math.pi)
#: Initial squared distances are not taken below this, so that coinciding points get a finite log-scale.
MIN_SQUARED_DISTANCE = 1e-7


class BaseGaussianModel(DensityControl):
    """Parameters, optimizer, density control, rendering and loss of plain 3D Gaussian Splatting, in one class.

    Subclass it and override what differs. Parameters are stored before activation:

        _xyz [N, 3]; _features_dc [N, 1, 3]; _features_rest [N, K - 1, 3]; _scaling [N, 3] (log);
        _rotation [N, 4] (wxyz, not normalized); _opacity [N, 1] (logit).

    `spatial_lr_scale` is the extent of the scene, `active_sh_degree` the SH degree in use so far, `generator` the
    source of all randomness of the model.
    """

    def __init__(self, model_params: ModelParams | None = None) -> None:
        self.model_params = model_params if model_params is not None else ModelParams()
        self.max_sh_degree = self.model_params.sh_degree
        self.active_sh_degree = 0
        self.spatial_lr_scale = 1.0
        self.percent_dense = 0.01
        self.device = torch.device("cpu")
        self.generator = torch.Generator().manual_seed(0)
        self._xyz = torch.empty(0, 3)
        self._features_dc = torch.empty(0, 1, 3)
        self._features_rest = torch.empty(0, SH_BASES[self.max_sh_degree] - 1, 3)
        self._scaling = torch.empty(0, 3)
        self._rotation = torch.empty(0, 4)
        self._opacity = torch.empty(0, 1)
        self.reset_statistics()
        self.setup_functions()

    # Activations.

    def setup_functions(self) -> None:
        """The maps from stored to rendered values. Density control expects exp for scales and sigmoid for opacities."""
        self.scaling_activation: Callable[[Tensor], Tensor] = torch.exp
        self.scaling_inverse_activation: Callable[[Tensor], Tensor] = torch.log
        self.opacity_activation: Callable[[Tensor], Tensor] = logistic
        self.inverse_opacity_activation: Callable[[Tensor], Tensor] = torch.logit
        self.rotation_activation: Callable[[Tensor], Tensor] = torch.nn.functional.normalize

    @property
    def get_xyz(self) -> Tensor:
        """Means, [N, 3]."""
        return self._xyz

    @property
    def get_scaling(self) -> Tensor:
        """Standard deviations, [N, 3]."""
        return self.scaling_activation(self._scaling)

    @property
    def get_rotation(self) -> Tensor:
        """Unit quaternions, [N, 4]."""
        return self.rotation_activation(self._rotation)

    @property
    def get_opacity(self) -> Tensor:
        """Opacities, [N, 1]."""
        return self.opacity_activation(self._opacity)

    @property
    def get_features(self) -> Tensor:
        """SH coefficients, [N, K, 3]."""
        return torch.cat([self._features_dc, self._features_rest], dim=1)

    def __len__(self) -> int:
        return len(self._xyz)

    # Set-up.

    def create_from_points(self, points: PointCloud, spatial_lr_scale: float) -> None:
        """One Gaussian per point: its color, the mean distance to its three nearest neighbors as scale in all
        directions, no rotation, opacity `init_opacity`.

        Args:
            points: at least one.
            spatial_lr_scale: extent of the scene; learning rates of positions are multiples of it.

        Raises:
            ValueError: if there are no points.
        """
        n = len(points)
        if n == 0:
            raise ValueError("points: expected at least one to start from, got none")
        xyz = points.xyz.detach().cpu().float().contiguous()
        if n > 3:
            distance = knn_mean_distance(xyz, 3)
        else:
            # Too few neighbors to measure: a tenth of the scene, or 1 where that has no size.
            distance = torch.full((n,), 0.1 * spatial_lr_scale if spatial_lr_scale > 0 else 1.0)
        distance = distance.double().clamp_min(math.sqrt(MIN_SQUARED_DISTANCE))
        rotation = torch.zeros(n, 4)
        rotation[:, 0] = 1.0
        rest = SH_BASES[self.max_sh_degree] - 1
        self.spatial_lr_scale = float(spatial_lr_scale)
        self.active_sh_degree = 0
        self._set(
            {
                "means": xyz,
                "f_dc": ((points.rgb.cpu().double() / 255.0 - 0.5) / SH_C0).float()[:, None, :],
                "f_rest": torch.zeros(n, rest, 3),
                "scales": distance.log().float()[:, None].repeat(1, 3),
                "quats": rotation,
                "opacities": torch.full((n, 1), _logit(self.model_params.init_opacity)),
            }
        )

    def create_from_splats(self, splats: Splats, spatial_lr_scale: float) -> None:
        """Start from trained Gaussians, with all of their SH degrees active.

        Raises:
            ValueError: if their SH degree exceeds the model's.
        """
        if splats.sh_degree > self.max_sh_degree:
            raise ValueError(f"splats: expected SH degree up to {self.max_sh_degree}, got {splats.sh_degree}")
        rest = torch.zeros(len(splats), SH_BASES[self.max_sh_degree] - 1, 3)
        rest[:, : splats.sh.shape[1] - 1] = splats.sh[:, 1:]
        self.spatial_lr_scale = float(spatial_lr_scale)
        self.active_sh_degree = self.max_sh_degree
        self._set(
            {
                "means": splats.means,
                "f_dc": splats.sh[:, :1],
                "f_rest": rest,
                "scales": splats.log_scales,
                "quats": splats.quats,
                "opacities": splats.opacity_logits[:, None],
            }
        )

    def _set(self, values: Mapping[str, Tensor]) -> None:
        """Make the tensors parameters on the model's device, and zero the statistics."""
        for role, value in values.items():
            parameter = Parameter(value.detach().clone().contiguous().to(self.device))
            setattr(self, self.attributes[role][0], parameter)
        self.reset_statistics()

    def training_setup(self, opt: OptimizationParams) -> None:
        """Make the optimizer: one Adam, one named group per tensor."""
        self.percent_dense = opt.percent_dense
        self.max_gaussians = opt.max_gaussians
        self.reset_statistics()
        rates = {
            "xyz": opt.position_lr_init * self.spatial_lr_scale,
            "f_dc": opt.feature_lr,
            "f_rest": opt.feature_lr / opt.feature_rest_divisor,
            "opacity": opt.opacity_lr,
            "scaling": opt.scaling_lr,
            "rotation": opt.rotation_lr,
        }
        groups = [
            {"params": [getattr(self, attribute)], "lr": rates[group], "name": group}
            for attribute, group in self.attributes.values()
            if group in rates
        ]
        self.optimizer = FusedAdam(groups, lr=0.0, eps=1e-15)
        self.xyz_scheduler_args = exponential_decay(
            opt.position_lr_init * self.spatial_lr_scale,
            opt.position_lr_final * self.spatial_lr_scale,
            opt.position_lr_max_steps,
            opt.position_lr_delay_steps,
            opt.position_lr_delay_mult,
        )

    # Scheduled tasks.

    @task
    def update_learning_rate(self, step: int) -> None:
        """Set the learning rate of positions for this step."""
        for group in self.optimizer.param_groups:
            if group["name"] == "xyz":
                group["lr"] = self.xyz_scheduler_args(step)

    @task
    def oneup_sh_degree(self) -> None:
        """Use one SH degree more, up to the model's maximum."""
        self.active_sh_degree = min(self.active_sh_degree + 1, self.max_sh_degree)

    def register_pre_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """Tasks before the render: learning rates and SH degrees."""
        scheduler.register_task(range(opt.iterations), task=self.update_learning_rate)
        scheduler.register_task(opt.sh_degree_steps(), task=self.oneup_sh_degree)

    def register_post_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """Tasks between backward pass and optimizer step, without autograd: the density control."""
        until = min(opt.densify_until_iter, opt.iterations)
        scheduler.register_task(range(until), task=self.add_densification_stats)
        scheduler.register_task(opt.densification_steps(), task=self.densify_and_prune_task)
        scheduler.register_task(opt.opacity_reset_steps(), task=self.reset_opacity)

    def register_end_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """Tasks after the optimizer step, without autograd: none by default. Strategies go here."""

    # A step.

    def live_splats(self) -> Splats:
        """The Gaussians as the rasterizer takes them, in the graph, with all SH degrees, active or not."""
        scaling = self._scaling if self.scaling_activation is torch.exp else self.get_scaling.log()
        opacity = self._opacity if self.opacity_activation is logistic else self.get_opacity.logit()
        return Splats(self._xyz, scaling, self._rotation, opacity.squeeze(-1), self.get_features)

    def render(
        self,
        viewpoint_camera: Camera,
        bg_color: Tensor,
        pipe: PipelineParams,
        opt: OptimizationParams | None = None,
        step: int = 0,
        scaling_modifier: float = 1.0,
        override_color: Tensor | None = None,
    ) -> RenderResult:
        """Render one view.

        Args:
            viewpoint_camera: on the model's device.
            bg_color: float32 [3].
            pipe: how to render.
            opt: the schedule, during training.
            step: the step, during training.
            scaling_modifier: factor on all scales.
            override_color: float32 [N, 3], used in place of the spherical harmonics.
        """
        splats = self.live_splats()
        log_scales = splats.log_scales if scaling_modifier == 1.0 else splats.log_scales + math.log(scaling_modifier)
        if override_color is not None:
            return self._render_colors(viewpoint_camera, bg_color, pipe, splats, log_scales, override_color)
        if log_scales is not splats.log_scales:
            splats = Splats(splats.means, log_scales, splats.quats, splats.opacity_logits, splats.sh)
        options = RenderOptions(
            sh_degree=self.active_sh_degree,
            background=bg_color,
            backend=pipe.backend,
        )
        output = render(splats, viewpoint_camera, options)
        return _result(output.image, output.alpha, output.meta)

    @staticmethod
    def _render_colors(
        camera: Camera, background: Tensor, pipe: PipelineParams, splats: Splats, log_scales: Tensor, colors: Tensor
    ) -> RenderResult:
        image, alpha, meta = rasterization(
            splats.means,
            splats.quats,
            log_scales.exp(),
            splats.opacities,
            colors,
            camera.viewmat[None],
            camera.K[None],
            camera.width,
            camera.height,
            packed=False,
            backgrounds=background[None],
            backend=pipe.backend,
        )
        return _result(image[0], alpha[0], meta)

    def loss_func(
        self, viewpoint_cam: View, render_result: RenderResult, opt: OptimizationParams
    ) -> tuple[Tensor, LossPack]:
        """(1 - lambda) L1 + lambda (1 - SSIM) against the view's photograph.

        Returns:
            The loss to minimize, a scalar in the graph, and its parts, detached.
        """
        target = getattr(viewpoint_cam, "target", None)
        if target is None:
            target = viewpoint_cam.original_image.permute(1, 2, 0).contiguous()
        loss, l1, ssim = l1_dssim_loss(render_result.image, target, opt.lambda_dssim)
        return loss, LossPack(loss.detach(), l1.detach(), ssim.detach())

    def optimizer_step(self) -> None:
        """Step the optimizer and drop the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    # Export and state.

    @torch.no_grad()
    def splats(self) -> Splats:
        """The trained Gaussians, detached and on the CPU. Coefficients of SH degrees not yet active are zero."""
        live = self.live_splats()
        sh = live.sh.detach().clone()
        sh[:, SH_BASES[self.active_sh_degree] :] = 0.0
        tensors = (live.means, live.log_scales, live.quats, live.opacity_logits, sh)
        means, log_scales, quats, logits, sh = (t.detach().cpu().clone() for t in tensors)
        return Splats(means, log_scales, quats, logits, sh)

    def state(self) -> dict[str, Any]:
        """What describes the trained model: tensors and plain values. Subclasses add their own."""
        return {
            "tensors": {role: tensor.detach().cpu().clone() for role, tensor in self.tensors().items()},
            "active_sh_degree": self.active_sh_degree,
            "spatial_lr_scale": self.spatial_lr_scale,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`.

        Raises:
            ValueError: if a tensor is missing or unknown.
        """
        tensors: Mapping[str, Tensor] = state["tensors"]
        if set(tensors) != set(self.attributes):
            raise ValueError(f"tensors: expected {sorted(self.attributes)}, got {sorted(tensors)}")
        self._set(tensors)
        self.active_sh_degree = int(state["active_sh_degree"])
        self.spatial_lr_scale = float(state["spatial_lr_scale"])

    @classmethod
    def from_state(cls, state: Mapping[str, Any], model_params: ModelParams | None = None) -> BaseGaussianModel:
        """A model of this class with the given state."""
        model = cls(model_params)
        model.load_state(state)
        return model

    def training_state(self) -> dict[str, Any]:
        """What `state` leaves out and training needs: optimizer, statistics, generator. Subclasses add their own."""
        return {
            # Of the tensors themselves, which training goes on to change.
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "statistics": {name: value.detach().clone() for name, value in self.statistics().items()},
            "generator": self.generator.get_state(),
        }

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `training_state`; call it after `load_state` and `training_setup`."""
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in state["statistics"].items():
            setattr(self, name, value.clone().to(self.device))
        self.generator.set_state(state["generator"])


def _result(image: Tensor, alpha: Tensor, meta: dict[str, Any]) -> RenderResult:
    if meta["means2d"].requires_grad:
        meta["means2d"].retain_grad()
    return RenderResult(image, alpha, meta)


def _logit(value: float) -> float:
    return math.log(value / (1.0 - value))
