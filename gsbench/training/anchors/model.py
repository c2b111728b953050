"""`AnchorModel`: anchors, their networks, growth and pruning, rendering and loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import torch
from torch import Tensor
from torch.nn import Parameter

from gsbench.native import knn_mean_distance
from gsbench.raster import RenderOptions, render
from gsbench.scenes.scene import PointCloud, Scene, View
from gsbench.splats import Camera, Splats
from gsbench.training import densify
from gsbench.training.anchors.growth import (
    MOST_VOXELS,
    free_cells,
    grid_thresholds,
    median_distance,
    rounded_quotient,
    to_voxels,
)
from gsbench.training.anchors.networks import AnchorNetworks
from gsbench.training.anchors.neural import (
    AnchorRenderable,
    Anchors,
    NeuralGaussians,
    neural_gaussians,
    visible_anchors,
)
from gsbench.training.anchors.params import OTHER_VOXELS, VOXELS, AnchorModelParams, AnchorParams
from gsbench.training.model import MIN_SQUARED_DISTANCE, BaseGaussianModel
from gsbench.training.optim import FusedAdam
from gsbench.training.params import OptimizationParams, PipelineParams, exponential_decay
from gsbench.training.results import LossPack, RenderResult
from gsbench.training.scheduler import Scheduler
from gsbench.training.tasks import task

#: Statistics of a model, with a row per anchor.
_STATISTICS: Final = ("opacity_accum", "anchor_demon", "offset_gradient_accum", "offset_denom")


@dataclass(eq=False, repr=False)
class AnchorRenderResult(RenderResult):
    """A rendered view, and the anchors that were in it.

    Fields:
        visible: int64 [n]: the anchors in view.
        anchors: they themselves, as they were drawn.
        neural: their Gaussians; `viewspace_points`, `radii` and `visibility_filter` are of these.
    """

    visible: Tensor | None = None
    anchors: Anchors | None = None
    neural: NeuralGaussians | None = None


class AnchorModel(BaseGaussianModel):
    """Anchors on a grid of voxels that grow and are pruned but do not move.

    Per-anchor tensors, before activation:

        _voxels int32 [N, 3], in units of `voxel_size`; _anchor_feat [N, F]; _scaling [N, 6] (log): reach of the
        offsets, size of the Gaussians; _offset [N, K, 3].

    `networks` turns them into Gaussians. Subclasses add per-anchor tensors by extending `attributes` and
    `initial_rows`, and change what is drawn by `drawn`.
    """

    attributes: ClassVar[dict[str, tuple[str, str]]] = {
        "voxels": ("_voxels", ""),
        "features": ("_anchor_feat", "anchor_feat"),
        "scales": ("_scaling", "scaling"),
        "offsets": ("_offset", "offset"),
    }
    #: The roles above that are not trained.
    fixed: ClassVar[frozenset[str]] = frozenset({"voxels"})

    model_params: AnchorModelParams
    opacity_accum: Tensor
    anchor_demon: Tensor
    offset_gradient_accum: Tensor
    offset_denom: Tensor

    def __init__(self, model_params: AnchorModelParams | None = None) -> None:
        super().__init__(model_params if model_params is not None else AnchorModelParams())
        params = self.model_params
        self.feat_dim, self.n_offsets = params.feat_dim, params.n_offsets
        self.voxel_size = params.voxel_size
        self.update_init_factor = params.update_init_factor
        self._voxels = torch.empty(0, 3, dtype=torch.int32)
        self._anchor_feat = torch.empty(0, self.feat_dim)
        self._scaling = torch.empty(0, 6)
        self._offset = torch.empty(0, self.n_offsets, 3)
        self.networks = AnchorNetworks(self.feat_dim, self.n_offsets)
        self.reset_statistics()

    def __len__(self) -> int:
        return len(self._voxels)

    @property
    def get_xyz(self) -> Tensor:
        """Positions of the anchors, [N, 3]."""
        return self._voxels.to(torch.float32) * self.voxel_size

    # Set-up.

    def create_from_scene(self, scene: Scene) -> None:
        """Anchors from the scene's points, with the voxels that suit its data set where no settings say otherwise."""
        voxel_size, init_factor = VOXELS.get(scene.dataset, OTHER_VOXELS)
        if self.voxel_size < 0.0:
            self.voxel_size = voxel_size
        if self.update_init_factor == 0:
            self.update_init_factor = init_factor
        self.create_from_points(scene.points, scene.extent)

    def create_from_points(self, points: PointCloud, spatial_lr_scale: float) -> None:
        """One anchor per voxel that holds a point.

        Raises:
            ValueError: if there are no points.
            SceneError: if they are too far apart for the voxel size.
        """
        if len(points) == 0:
            raise ValueError("points: expected at least one to start from, got none")
        xyz = points.xyz.detach().cpu().float().contiguous()
        self.spatial_lr_scale = float(spatial_lr_scale)
        if self.voxel_size <= 0.0:
            self.voxel_size = median_distance(xyz)
        # What a float32 holds, so that a file with a float32 has the same positions.
        self.voxel_size = float(torch.tensor(self.voxel_size, dtype=torch.float32))
        if self.update_init_factor == 0:
            self.update_init_factor = OTHER_VOXELS[1]
        voxels = to_voxels(xyz, self.voxel_size)
        centers = (voxels.to(torch.float32) * self.voxel_size).contiguous()
        if len(voxels) > 3:
            distance = knn_mean_distance(centers, 3).double().clamp_min(math.sqrt(MIN_SQUARED_DISTANCE))
        else:
            distance = torch.full((len(voxels),), 0.1 * (self.spatial_lr_scale or 1.0), dtype=torch.float64)
        log_scales = distance.log().float()
        self._set(self.initial_rows(voxels, log_scales, torch.zeros(len(voxels), self.feat_dim)))
        self.reset_networks()

    def reset_networks(self) -> None:
        """Draw the weights of all networks from the model's generator."""
        self.networks.reset(self.generator)
        self.networks.to(self.device)

    def initial_rows(self, voxels: Tensor, log_scales: Tensor, features: Tensor) -> dict[str, Tensor]:
        """New anchors at `voxels` [n, 3] with log-scales [n] for all their six, and features [n, F], by role."""
        n = len(voxels)
        return {
            "voxels": voxels,
            "features": features,
            "scales": log_scales[:, None].repeat(1, 6),
            "offsets": torch.zeros(n, self.n_offsets, 3, device=voxels.device),
        }

    def create_from_splats(self, splats: Splats, spatial_lr_scale: float) -> None:
        """Raises NotImplementedError: features and networks are only to be had by training on photos."""
        raise NotImplementedError("anchors are trained on photos and cannot start from Gaussians")

    def _set(self, values: Mapping[str, Tensor]) -> None:
        for role, value in values.items():
            tensor = value.detach().clone().contiguous().to(self.device)
            setattr(self, self.attributes[role][0], Parameter(tensor, requires_grad=role not in self.fixed))
        self.reset_statistics()

    def training_setup(self, opt: OptimizationParams) -> None:
        """Make the optimizer, a named group for each tensor and network, and the decay of its learning rates."""
        assert isinstance(opt, AnchorParams)
        self.reset_statistics()
        self.rates = self.learning_rates(opt)
        trained = self.trained_groups()
        groups = [{"params": trained[name], "lr": rates[0], "name": name} for name, rates in self.rates.items()]
        self.optimizer = FusedAdam(groups, lr=0.0, eps=1e-15)
        self.decays = {
            name: exponential_decay(first, last, opt.iterations)
            for name, (first, last) in self.rates.items()
            if first != last
        }

    def learning_rates(self, opt: AnchorParams) -> dict[str, tuple[float, float]]:
        """Group -> learning rates at the beginning and at the end."""
        return {
            "anchor_feat": (opt.feature_lr, opt.feature_lr),
            "scaling": (opt.scaling_lr, opt.scaling_lr),
            "offset": (opt.offset_lr, opt.offset_lr_final),
            "mlp_opacity": (opt.mlp_opacity_lr, opt.mlp_opacity_lr_final),
            "mlp_shape": (opt.mlp_shape_lr, opt.mlp_shape_lr),
            "mlp_color": (opt.mlp_color_lr, opt.mlp_color_lr_final),
        }

    def trained_groups(self) -> dict[str, list[Parameter]]:
        """Group -> its parameters."""
        groups = {group: [getattr(self, name)] for role, (name, group) in self.attributes.items() if group}
        groups["mlp_opacity"] = list(self.networks.opacity.parameters())
        groups["mlp_shape"] = list(self.networks.shape.parameters())
        groups["mlp_color"] = list(self.networks.color.parameters())
        return groups

    # Statistics, growth and pruning.

    def statistics(self) -> dict[str, Any]:
        """Sums over steps, float32: opacity of an anchor's Gaussians and steps in view [N]; gradients of its offsets
        and steps in which they were drawn [N, K].
        """
        return {name: getattr(self, name) for name in _STATISTICS}

    def reset_statistics(self) -> None:
        """Zero statistics for the present number of anchors."""
        voxels = getattr(self, "_voxels", None)
        n, k = (0, 0) if voxels is None else (len(voxels), self.n_offsets)
        for name in _STATISTICS:
            shape = (n, k) if name.startswith("offset") else (n,)
            setattr(self, name, torch.zeros(shape, device=None if voxels is None else voxels.device))

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {role: self.optimizer for role in self.attributes if role not in self.fixed}

    @task
    @torch.no_grad()
    def add_anchor_stats(self, render_result: AnchorRenderResult) -> None:
        """Add the opacities, visits and 2D gradients of one view, after its backward pass."""
        index, neural = render_result.visible, render_result.neural
        assert index is not None
        assert neural is not None
        gradient = render_result.viewspace_points.grad
        # No anchor occurs twice, so nothing here is added up in an order that could vary.
        self.opacity_accum[index] += neural.opacities.clamp_min(0.0).sum(dim=1)
        self.anchor_demon[index] += 1.0
        if gradient is None:
            return
        rows, k = neural.rows, self.n_offsets
        flat = index[rows // k] * k + rows % k
        # Those that were not drawn add zeros: to pick the others out, a GPU would have to be waited for.
        self.offset_gradient_accum.view(-1)[flat] += gradient.square().sum(dim=1).sqrt_()
        self.offset_denom.view(-1)[flat] += render_result.visibility_filter.to(gradient.dtype)

    @task
    @torch.no_grad()
    def adjust_anchors(self, opt: AnchorParams) -> None:
        """Grow anchors where offsets have large gradients; remove those whose Gaussians have hardly any opacity."""
        visits = opt.densification_interval * opt.success_threshold
        params, state = self.tensors(), self.statistics()
        known = state["offset_denom"] > 0.5 * visits
        gradients = state["offset_gradient_accum"] / state["offset_denom"].clamp_min(1.0)
        self._grow(params, state, gradients.where(known, -1.0), opt)

        # What was judged starts over.
        added = len(params["voxels"]) - len(known)
        known = torch.cat([known, known.new_zeros(added, self.n_offsets)])
        state["offset_denom"][known] = 0.0
        state["offset_gradient_accum"][known] = 0.0
        seen = state["anchor_demon"] > visits
        faint = seen & (state["opacity_accum"] < opt.prune_opacity * state["anchor_demon"])
        state["opacity_accum"][seen] = 0.0
        state["anchor_demon"][seen] = 0.0
        densify.remove(params, self._optimizers(), state, faint | self.useless())
        self._write_back(params, state)

    def useless(self) -> Tensor | bool:
        """Which of the present anchors draw nothing and can go, bool [N]. The new ones come after them."""
        return False

    def _grow(self, params: dict[str, Any], state: dict[str, Any], gradients: Tensor, opt: AnchorParams) -> None:
        """Append an anchor for each free cell that holds an offset of a large gradient, on coarse and finer grids.

        `gradients` [N, K] are those of the anchors before any grew, -1 where not known.
        """
        params_model = self.model_params
        factors = params_model.growth_factors(self.update_init_factor)
        thresholds = grid_thresholds(opt.densify_grad_threshold, params_model.update_hierarchy_factor, factors)
        n = len(gradients)
        for level, (factor, threshold) in enumerate(zip(factors, thresholds, strict=True)):
            drawn = torch.rand(gradients.shape, generator=self.generator) > 0.5 ** (level + 1)
            anchor, offset = ((gradients >= threshold) & drawn.to(gradients.device)).nonzero().unbind(dim=1)
            if len(anchor) == 0:
                continue
            reach = params["scales"].detach()[:n][anchor, :3].double().exp()
            places = params["voxels"][:n][anchor].double()
            places = places + params["offsets"].detach()[:n][anchor, offset].double() * reach / self.voxel_size
            cells = (places / factor).round().clamp(-(MOST_VOXELS // factor), MOST_VOXELS // factor).to(torch.int64)
            new, of_candidate = free_cells(cells, rounded_quotient(params["voxels"].to(torch.int64), factor))
            if len(new) == 0:
                continue
            members = of_candidate >= 0
            sources = params["features"].detach()[:n][anchor[members]]
            features = sources.new_full((len(new), self.feat_dim), -math.inf)
            rows = of_candidate[members][:, None].expand(-1, self.feat_dim)
            features.scatter_reduce_(0, rows, sources, "amax")
            log_scales = sources.new_full((len(new),), math.log(factor * self.voxel_size))
            grown = self.initial_rows((new * factor).to(torch.int32), log_scales, features)
            densify.append(params, self._optimizers(), state, grown)
        self._write_back(params, state)

    # Scheduled tasks.

    @task
    def update_learning_rates(self, step: int) -> None:
        """Set the learning rates that decay."""
        for group in self.optimizer.param_groups:
            decay = self.decays.get(group["name"])
            if decay is not None:
                group["lr"] = decay(step)

    def register_pre_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """Before the render: learning rates."""
        scheduler.register_task(range(opt.iterations), task=self.update_learning_rates)

    def register_post_task(self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams) -> None:
        """Between backward pass and optimizer step, without autograd: statistics, growth and pruning."""
        assert isinstance(opt, AnchorParams)
        scheduler.register_task(opt.statistics_steps(), task=self.add_anchor_stats)
        scheduler.register_task(opt.densification_steps(), task=self.adjust_anchors)

    # A step.

    def drawn(self, index: Tensor, step: int, opt: AnchorParams | None) -> Anchors:
        """The anchors of these numbers as they are drawn at this step; in the graph. `opt` is None outside training."""
        picked = Anchors(self.get_xyz, self._anchor_feat, self._scaling, self._offset).rows(index)
        return replace(picked, scales=picked.scales.exp())

    def render(
        self,
        viewpoint_camera: Camera,
        bg_color: Tensor,
        pipe: PipelineParams,
        opt: OptimizationParams | None = None,
        step: int = 0,
        scaling_modifier: float = 1.0,
        override_color: Tensor | None = None,
    ) -> AnchorRenderResult:
        """Render one view. `scaling_modifier` and `override_color` have no meaning for anchors.

        Raises:
            NotImplementedError: if they are given.
        """
        if scaling_modifier != 1.0 or override_color is not None:
            raise NotImplementedError("scaling_modifier, override_color: not for anchors, whose networks give both")
        with torch.no_grad():
            index = visible_anchors(self.get_xyz, self._scaling.exp(), viewpoint_camera)
        anchors = self.drawn(index, step, opt)  # type: ignore[arg-type]
        neural = neural_gaussians(anchors, self.networks, viewpoint_camera)
        options = RenderOptions(background=bg_color, backend=pipe.backend)
        output = render(neural.gaussians, viewpoint_camera, options)
        return AnchorRenderResult(
            output.image, output.alpha, output.meta, visible=index, anchors=anchors, neural=neural
        )

    def loss_func(
        self, viewpoint_cam: View, render_result: RenderResult, opt: OptimizationParams
    ) -> tuple[Tensor, LossPack]:
        """The base model's loss, and the mean volume of the Gaussians with its weight (Lu et al. 2024, equation 11)."""
        assert isinstance(opt, AnchorParams)
        assert isinstance(render_result, AnchorRenderResult)
        assert render_result.neural is not None
        loss, pack = super().loss_func(viewpoint_cam, render_result, opt)
        scales = render_result.neural.gaussians.scales
        assert scales is not None
        volume = scales.prod(dim=1).mean() if len(scales) else scales.sum()
        loss = loss + opt.lambda_volume * volume
        return loss, replace(pack, loss=loss.detach(), extras={**pack.extras, "volume": volume.detach()})

    # Export and state.

    def anchors(self) -> Anchors:
        """All anchors as they are drawn after training, detached."""
        with torch.no_grad():
            everything = torch.arange(len(self), device=self._voxels.device)
            return self.drawn(everything, 0, None)

    def renderable(self) -> AnchorRenderable:
        """The trained model as its artifact decodes, but for what is lost in coding."""
        return AnchorRenderable(self.anchors(), self.networks)

    def splats(self) -> Splats:
        """Raises NotImplementedError: the Gaussians of anchors depend on the view."""
        return self.renderable().splats()

    def state(self) -> dict[str, Any]:
        """As in the base class, and the grid of voxels."""
        return {**super().state(), "voxel_size": self.voxel_size, "update_init_factor": self.update_init_factor}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        super().load_state(state)
        self.voxel_size = float(state["voxel_size"])
        self.update_init_factor = int(state["update_init_factor"])
