"""`BaseGaussianModel`: the model class that researchers know, with working defaults for all of it."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import Parameter

from gsbench.native import knn_mean_distance
from gsbench.raster import rasterization
from gsbench.scenes.scene import PointCloud, Scene, View
from gsbench.splats import Camera, Splats, rgb_to_sh_dc
from gsbench.splats.activation import logistic
from gsbench.splats.splats import SH_BASES
from gsbench.training.density import DensityControl
from gsbench.training.features import joined_features
from gsbench.training.losses import l1_dssim_loss
from gsbench.training.optim import FusedAdam
from gsbench.training.params import ModelParams, OptimizationParams, PipelineParams, exponential_decay
from gsbench.training.results import LossPack, RenderResult
from gsbench.training.scheduler import Scheduler
from gsbench.training.tasks import task

T = TypeVar("T")

#: Initial squared distances are not taken below this, so that coinciding points get a finite log-scale.
MIN_SQUARED_DISTANCE = 1e-7


class BaseGaussianModel(DensityControl):
    """Parameters, optimizer, density control, rendering and loss of plain 3D Gaussian Splatting, in one class.

    Subclass it and override what differs (docs/tutorial-model.md writes all of it out). Parameters are stored before
    activation:

        _xyz [N, 3]; _features_dc [N, 1, 3]; _features_rest [N, K - 1, 3]; _scaling [N, 3] (log);
        _rotation [N, 4] (wxyz, not normalized); _opacity [N, 1] (logit).

    They are rendered as the properties get_xyz, get_scaling, get_rotation, get_opacity and get_features give them.
    Further parameters and networks (`torch.nn.Parameter`, `torch.nn.Module`) that are attributes of the model are saved
    and restored with it; those with a row per Gaussian belong into `attributes`, so that density control edits them.

    `spatial_lr_scale` is the extent of the scene, `active_sh_degree` the SH degree in use so far, `generator` the
    source of all randomness of the model. `model_params` is what the model was constructed with, also where the
    `__init__` of a subclass calls ``super().__init__()`` without arguments.
    """

    model_params: ModelParams

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        model = super().__new__(cls)
        for value in (*args, *kwargs.values()):
            if isinstance(value, ModelParams):
                model.model_params = value
        return model

    @classmethod
    def construct(cls, model_params: ModelParams | None = None) -> Self:
        """A model of this class, whether its `__init__` takes the params or nothing at all."""
        if model_params is None:
            return cls()
        model = cls.__new__(cls, model_params)
        if _takes_an_argument(model.__init__):  # type: ignore[misc]
            model.__init__(model_params)  # type: ignore[misc]
        else:
            model.__init__()  # type: ignore[misc]
        return model

    def __init__(self, model_params: ModelParams | None = None) -> None:
        if model_params is not None:
            self.model_params = model_params
        elif not hasattr(self, "model_params"):
            self.model_params = ModelParams()
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
        BaseGaussianModel.setup_functions(self)  # what an override leaves out
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
        return joined_features(self._features_dc, self._features_rest)

    def __len__(self) -> int:
        return len(self._xyz)

    # Set-up.

    def create_from_scene(self, scene: Scene) -> None:
        """What `Trainer` starts an empty model with: `create_from_points`. Override it to look at more of the scene."""
        self.create_from_points(scene.points, scene.extent)

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
                "f_dc": rgb_to_sh_dc(points.rgb.cpu().double() / 255.0).float()[:, None, :],
                "f_rest": torch.zeros(n, rest, 3),
                "scales": distance.log().float()[:, None].repeat(1, 3),
                "quats": rotation,
                "opacities": torch.full((n, 1), _logit(self.model_params.init_opacity)),
            }
        )

    def create_from_splats(self, splats: Splats, spatial_lr_scale: float) -> None:
        """Start from trained Gaussians, with all of their SH degrees active.

        Args:
            splats: moved to the model's device.
            spatial_lr_scale: extent of the scene, scene units.

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
        """Register tasks that run before the render: learning rates and SH degrees.

        Args:
            scheduler: takes them, into this phase.
            ppl: how images are rendered.
            opt: the schedule, scaled to the number of steps.
        """
        scheduler.register_task(range(opt.iterations), task=self.update_learning_rate)
        scheduler.register_task(opt.sh_degree_steps(), task=self.oneup_sh_degree)

    def register_post_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """Register tasks that run between backward pass and optimizer step, without autograd: the density control.
        Arguments as for `register_pre_task`.
        """
        until = min(opt.densify_until_iter, opt.iterations)
        scheduler.register_task(range(until), task=self.add_densification_stats)
        scheduler.register_task(opt.densification_steps(), task=self.densify_and_prune_task)
        scheduler.register_task(opt.opacity_reset_steps(), task=self.reset_opacity)

    def register_end_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """Register tasks that run after the optimizer step, without autograd: none by default. Strategies go here.
        Arguments as for `register_pre_task`.
        """

    # A step.

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
            viewpoint_camera: the view.
            bg_color: float32 [3].
            pipe: how to render.
            opt: the schedule, during training.
            step: the step, during training.
            scaling_modifier: factor on all scales.
            override_color: float32 [N, 3], used in place of the spherical harmonics.
        """
        device = self._xyz.device
        scales = self.get_scaling if scaling_modifier == 1.0 else self.get_scaling * scaling_modifier
        image, alpha, meta = rasterization(
            self.get_xyz,
            self._quats(),
            scales,
            self.get_opacity.squeeze(-1),
            self.get_features if override_color is None else override_color,
            viewpoint_camera.viewmat.to(device)[None],
            viewpoint_camera.K.to(device)[None],
            viewpoint_camera.width,
            viewpoint_camera.height,
            sh_degree=self.active_sh_degree if override_color is None else None,
            packed=False,
            backgrounds=bg_color.to(device)[None],
            backend=pipe.backend,
        )
        # Not image[0], whose gradient is made by filling zeros and copying.
        return RenderResult(image.squeeze(0), alpha.squeeze(0), meta)

    def loss_func(
        self, viewpoint_cam: View, render_result: RenderResult, opt: OptimizationParams
    ) -> tuple[Tensor, LossPack]:
        """(1 - lambda) L1 + lambda (1 - SSIM) against the view's photograph, lambda being `opt.lambda_dssim`.

        Args:
            viewpoint_cam: the view, with its photograph.
            render_result: what `render` gave for it.
            opt: the schedule, with the weights.

        Returns:
            The loss to minimize, a scalar in the graph, and its parts, detached.
        """
        target = getattr(viewpoint_cam, "target", None)
        if target is None:
            target = viewpoint_cam.original_image.permute(1, 2, 0).contiguous()
        loss, l1, ssim = l1_dssim_loss(render_result.image, target, opt.lambda_dssim)
        return loss, LossPack(loss.detach(), l1.detach(), 1.0 - ssim.detach())

    def optimizer_step(self) -> None:
        """Step the optimizer and drop the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    # Export and state.

    @torch.no_grad()
    def splats(self) -> Splats:
        """The trained Gaussians, detached and on the CPU. Coefficients of SH degrees not yet active are zero."""
        exact = self._plain("get_scaling", self.scaling_activation, torch.exp)
        log_scales = self._scaling if exact else self.get_scaling.log()
        exact = self._plain("get_opacity", self.opacity_activation, logistic, torch.sigmoid)
        logits = self._opacity if exact else self.get_opacity.logit()
        quats = self._quats()
        sh = self.get_features.clone()
        sh[:, SH_BASES[self.active_sh_degree] :] = 0.0
        tensors = (self.get_xyz, log_scales, quats, logits.squeeze(-1), sh)
        return Splats(*(tensor.detach().cpu().clone() for tensor in tensors))

    def _quats(self) -> Tensor:
        """Quaternions to render, [N, 4]. The rasterizer normalizes, so that it need not be done before."""
        plain = self._plain("get_rotation", self.rotation_activation, torch.nn.functional.normalize)
        return self._rotation if plain else self.get_rotation

    def _plain(self, name: str, activation: object, *expected: object) -> bool:
        """True if the property `name` is the base class's own, and its activation one of the expected."""
        return getattr(type(self), name) is getattr(BaseGaussianModel, name) and activation in expected

    def state(self) -> dict[str, Any]:
        """What describes the trained model: tensors and plain values. Subclasses add values of their own."""
        return {
            "tensors": {role: tensor.detach().cpu().clone() for role, tensor in self.tensors().items()},
            "parameters": {name: value.detach().cpu().clone() for name, value in self._further(Parameter).items()},
            "modules": {
                name: {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
                for name, module in self._further(torch.nn.Module).items()
            },
            "active_sh_degree": self.active_sh_degree,
            "spatial_lr_scale": self.spatial_lr_scale,
        }

    def _further(self, kind: type[T]) -> dict[str, T]:
        """The attributes of this kind that are not among the per-Gaussian tensors, by name."""
        per_gaussian = {attribute for attribute, _ in self.attributes.values()}
        return {k: v for k, v in vars(self).items() if isinstance(v, kind) and k not in per_gaussian}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`.

        Raises:
            ValueError: if a tensor or network is missing or unknown.
        """
        tensors: Mapping[str, Tensor] = state["tensors"]
        if set(tensors) != set(self.attributes):
            raise ValueError(f"tensors: expected {sorted(self.attributes)}, got {sorted(tensors)}")
        modules = self._further(torch.nn.Module)
        if set(state["modules"]) != set(modules):
            raise ValueError(f"modules: expected {sorted(modules)} as constructed, got {sorted(state['modules'])}")
        self._set(tensors)
        for name, value in state["parameters"].items():
            setattr(self, name, Parameter(value.detach().clone().to(self.device)))
        for name, values in state["modules"].items():
            modules[name].load_state_dict(values)
            modules[name].to(self.device)
        self.active_sh_degree = int(state["active_sh_degree"])
        self.spatial_lr_scale = float(state["spatial_lr_scale"])

    @classmethod
    def from_state(cls, state: Mapping[str, Any], model_params: ModelParams | None = None) -> Self:
        """A model of this class with the given state.

        Args:
            state: from `state`.
            model_params: what the model is constructed with.
        """
        model = cls.construct(model_params)
        model.load_state(state)
        return model

    def training_state(self) -> dict[str, Any]:
        """What `state` leaves out and training needs: optimizers, statistics, generator. Subclasses add their own."""
        return {
            # Of the tensors themselves, which training goes on to change.
            "optimizers": {
                name: copy.deepcopy(optimizer.state_dict())
                for name, optimizer in self._further(torch.optim.Optimizer).items()
            },
            "statistics": {name: value.detach().clone() for name, value in self.statistics().items()},
            "generator": self.generator.get_state(),
        }

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `training_state`; call it after `load_state` and `training_setup`.

        Raises:
            ValueError: if the model has other optimizers.
        """
        optimizers = self._further(torch.optim.Optimizer)
        if set(state["optimizers"]) != set(optimizers):
            raise ValueError(f"optimizers: expected {sorted(optimizers)}, got {sorted(state['optimizers'])}")
        for name, values in state["optimizers"].items():
            # torch keeps the tensors that it is given, and steps change them in place.
            optimizers[name].load_state_dict(copy.deepcopy(values))
        for name, value in state["statistics"].items():
            setattr(self, name, value.clone().to(self.device))
        self.generator.set_state(state["generator"])


def _takes_an_argument(function: Callable[..., object]) -> bool:
    """True if the (bound) function can be called with one positional argument."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return any(p.kind in kinds for p in inspect.signature(function).parameters.values())


def _logit(value: float) -> float:
    return math.log(value / (1.0 - value))
