"""The settings of anchor models: `AnchorModelParams` and `AnchorParams`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gsbench.errors import UsageError
from gsbench.training.params import ModelParams, OptimizationParams, schedule_field, setting

#: Data set -> (voxel size in scene units, 0 for the median distance of neighboring points; update_init_factor): those
#: of the publications; `demo` is ours.
VOXELS: Final = {
    "mipnerf360": (0.001, 16),
    "tandt": (0.01, 16),
    "db": (0.005, 16),
    "nerf_synthetic": (0.001, 4),
    "bungee": (0.0, 128),
    "demo": (0.0, 16),
}
#: For all others. The 16 of most publications goes with voxels far below the distance of points: 16 median distances
#: are a twelfth of a scene of ten thousand points, too coarse a grid for anchors to begin to grow on.
OTHER_VOXELS: Final = (0.0, 4)

#: Settings of 3DGS that have no meaning for anchors.
_UNUSED: Final = (
    "position_lr_init",
    "position_lr_final",
    "position_lr_delay_mult",
    "position_lr_delay_steps",
    "position_lr_max_steps",
    "feature_rest_divisor",
    "rotation_lr",
    "percent_dense",
    "opacity_reset_interval",
    "sh_degree_interval",
    "max_gaussians",
)


@dataclass
class AnchorModelParams(ModelParams):
    """What the anchors are made of. `sh_degree` and `init_opacity` have no meaning here, and are refused."""

    sh_degree: int = setting(0, "without meaning here: networks give the colors")
    init_opacity: float = setting(0.1, "without meaning here: networks give the opacities")
    feat_dim: int = setting(32, "numbers in the feature of an anchor")
    n_offsets: int = setting(10, "Gaussians of an anchor")
    voxel_size: float = setting(-1.0, "scene units; 0: median distance of neighboring points; below 0: the data set's")
    update_init_factor: int = setting(0, "voxels of the coarsest grid on which anchors grow; 0: the data set's")
    update_depth: int = setting(3, "grids on which anchors grow")
    update_hierarchy_factor: int = setting(4, "ratio of the voxels of two of them")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("feat_dim", 1), ("n_offsets", 1), ("update_depth", 1), ("update_hierarchy_factor", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} = {getattr(self, name)!r}: expected at least {least}")
        if self.update_init_factor < 0:
            raise UsageError(f"update_init_factor = {self.update_init_factor!r}: expected 0 or more")
        if not self.voxel_size < float("inf"):
            raise UsageError(f"voxel_size = {self.voxel_size!r}: expected a number")
        if (self.sh_degree, self.init_opacity) != (0, 0.1):
            raise UsageError(
                "sh_degree and init_opacity have no meaning for anchors, whose networks give what they set"
            )

    def growth_factors(self, init_factor: int) -> list[int]:
        """Voxels per edge of the grids on which anchors grow, from coarse to fine, each at least 1 and once."""
        factors = [init_factor // self.update_hierarchy_factor**level for level in range(self.update_depth)]
        return [factor for factor in factors if factor >= 1]


@dataclass
class AnchorParams(OptimizationParams):
    """The schedule and the learning rates. Those of 3DGS that have no meaning for anchors are refused."""

    densify_from_iter: int = schedule_field(1_500, "anchors grow and are pruned after this step")
    densify_until_iter: int = schedule_field(15_000, "and before this one")
    densify_grad_threshold: float = setting(2e-4, "gradient (normalized device coordinates) from which anchors grow")
    prune_opacity: float = setting(0.005, "anchors whose Gaussians have less opacity in all are removed")
    stat_from_iter: int = schedule_field(500, "statistics are collected after this step")
    success_threshold: float = setting(0.8, "share of an interval's steps in which an anchor must have been in view")
    feature_lr: float = setting(0.0075, "learning rate of the features")
    scaling_lr: float = setting(0.007, "learning rate of the scales (logarithms)")
    opacity_lr: float = setting(0.05, "without meaning here: networks give the opacities")
    offset_lr: float = setting(0.01, "initial learning rate of the offsets")
    offset_lr_final: float = setting(1e-4, "final learning rate of the offsets")
    mlp_opacity_lr: float = setting(0.002, "initial learning rate of the opacity network")
    mlp_opacity_lr_final: float = setting(2e-5, "final learning rate of the opacity network")
    mlp_shape_lr: float = setting(0.004, "learning rate of the network of scales and rotations")
    mlp_color_lr: float = setting(0.008, "initial learning rate of the color network")
    mlp_color_lr_final: float = setting(5e-5, "final learning rate of the color network")
    lambda_volume: float = setting(0.01, "weight of the mean volume of the Gaussians in the loss")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (*_UNUSED, "opacity_lr"):
            field = type(self).__dataclass_fields__[name]
            if getattr(self, name) != field.default and not field.metadata.get("gsbench.scales"):
                raise UsageError(f"{name} = {getattr(self, name)!r}: anchor models do not use it")
        for name in ("offset_lr", "offset_lr_final", "mlp_opacity_lr", "mlp_opacity_lr_final", "mlp_color_lr"):
            if not getattr(self, name) > 0.0:
                raise UsageError(
                    f"{name} = {getattr(self, name)!r}: expected a positive number (the decay is exponential)"
                )
        if not 0.0 <= self.success_threshold <= 1.0:
            raise UsageError(f"success_threshold = {self.success_threshold!r}: expected a number from 0 to 1")
        for name in ("stat_from_iter", "lambda_volume", "mlp_shape_lr"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} = {getattr(self, name)!r}: expected 0 or more")

    def statistics_steps(self) -> range:
        """The steps at which gradients and opacities are collected."""
        return range(self.stat_from_iter + 1, min(self.densify_until_iter, self.iterations))
