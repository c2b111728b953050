"""The settings of a training run: `ModelParams`, `OptimizationParams`, `PipelineParams`.

Subclass any of them as a dataclass to add settings of a method; every field can be set from the command line. A field
that counts steps of the full schedule is declared with `schedule_field`, so that ``--iterations`` scales it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from gsbench.errors import UsageError

#: Key in a field's metadata: True if the field counts steps and is scaled with the number of iterations.
SCALES_KEY: Final = "gsbench.scales"
#: Key in a field's metadata: one line for listings.
HELP_KEY: Final = "help"


def setting(default: Any, help: str) -> Any:
    """A field of a params class, which users can set (``--set METHOD.field=value``).

    Args:
        default: its value where nobody sets it; its type is the field's.
        help: one line for ``gsbench plugins METHOD``.
    """
    return dataclasses.field(default=default, metadata={HELP_KEY: help})


def schedule_field(default: int, help: str) -> Any:
    """A field that counts steps of the full schedule; `OptimizationParams.scaled` (``--iterations``) scales it.

    Args:
        default: steps.
        help: one line for ``gsbench plugins METHOD``.
    """
    return dataclasses.field(default=default, metadata={HELP_KEY: help, SCALES_KEY: True})


def field_metadata(params: type, name: str) -> dict[str, Any]:
    """What is known of a field, from the class and its bases: one that only changes a default keeps the rest."""
    found: dict[str, Any] = {}
    for cls in reversed(params.__mro__):
        entry = cls.__dict__.get("__dataclass_fields__", {}).get(name)
        if entry is not None:
            found |= entry.metadata
    return found


@dataclass
class ModelParams:
    """What the model is made of."""

    sh_degree: int = setting(3, "highest degree of the spherical harmonics, 0 to 3")
    init_opacity: float = setting(0.1, "opacity of the initial Gaussians")

    def __post_init__(self) -> None:
        _require(self, "sh_degree", 0 <= self.sh_degree <= 3, "0, 1, 2 or 3")
        _require(self, "init_opacity", 0.0 < self.init_opacity < 1.0, "a number between 0 and 1")


@dataclass
class PipelineParams:
    """How images are rendered during training."""

    backend: str = setting("auto", "rasterizer backend")


@dataclass
class OptimizationParams:
    """The schedule and the learning rates of 3D Gaussian Splatting, under the names of the original code.

    Steps count from 0. All values describe the full schedule of `iterations` steps; `scaled` makes a shorter or longer
    run of the same shape. The defaults are those of the original publication (Kerbl et al. 2023). Its later code halved
    `opacity_lr` to .025; in short runs, where resets follow each other closely, opacities then do not recover in time
    (2,000 steps on a capture of 43 photos: 29.4 dB against 30.2 dB).
    """

    iterations: int = schedule_field(30_000, "training steps")
    position_lr_init: float = setting(1.6e-4, "initial learning rate of positions, times the scene extent")
    position_lr_final: float = setting(1.6e-6, "final learning rate of positions, times the scene extent")
    position_lr_delay_mult: float = setting(0.01, "factor on the position rate at step 0, with position_lr_delay_steps")
    position_lr_delay_steps: int = schedule_field(0, "steps over which the position rate is eased in; 0: at once")
    position_lr_max_steps: int = schedule_field(30_000, "step at which the position rate reaches its final value")
    feature_lr: float = setting(0.0025, "learning rate of the colors (SH degree 0)")
    feature_rest_divisor: float = setting(20.0, "the rate of the higher SH degrees is feature_lr divided by this")
    opacity_lr: float = setting(0.05, "learning rate of opacities")
    scaling_lr: float = setting(0.005, "learning rate of scales")
    rotation_lr: float = setting(0.001, "learning rate of rotations")
    lambda_dssim: float = setting(0.2, "weight of 1 - SSIM in the loss; L1 has the rest")
    percent_dense: float = setting(0.01, "Gaussians larger than this share of the extent are split, others cloned")
    densification_interval: int = setting(100, "steps between densifications; not scaled with the iterations")
    opacity_reset_interval: int = schedule_field(3_000, "steps between opacity resets; 0: never")
    densify_from_iter: int = schedule_field(500, "densification starts after this step")
    densify_until_iter: int = schedule_field(15_000, "densification and opacity resets end before this step")
    densify_grad_threshold: float = setting(2e-4, "gradient (normalized device coordinates) that densifies")
    prune_opacity: float = setting(0.005, "Gaussians below this opacity are removed when densifying")
    max_gaussians: int = setting(0, "densification stops at this number of Gaussians; 0: no limit")
    sh_degree_interval: int = schedule_field(1_000, "steps between increments of the SH degree")
    random_background: bool = setting(False, "train over random background colors")

    def __post_init__(self) -> None:
        _require(self, "iterations", self.iterations >= 1, "at least 1")
        _require(self, "densification_interval", self.densification_interval >= 1, "at least 1")
        _require(self, "sh_degree_interval", self.sh_degree_interval >= 1, "at least 1")
        _require(self, "position_lr_max_steps", self.position_lr_max_steps >= 1, "at least 1")
        _require(self, "lambda_dssim", 0.0 <= self.lambda_dssim <= 1.0, "a number from 0 to 1")
        _require(self, "prune_opacity", 0.0 <= self.prune_opacity < 1.0, "a number from 0 to below 1")
        _require(self, "feature_rest_divisor", self.feature_rest_divisor > 0.0, "a positive number")
        for name in ("position_lr_init", "position_lr_final"):
            _require(self, name, getattr(self, name) > 0.0, "a positive number (the decay is exponential)")
        for name in ("feature_lr", "opacity_lr", "scaling_lr", "rotation_lr", "percent_dense"):
            _require(self, name, getattr(self, name) >= 0.0, "a number of 0 or more")
        for name in (
            "position_lr_delay_steps",
            "opacity_reset_interval",
            "densify_from_iter",
            "densify_until_iter",
            "max_gaussians",
        ):
            _require(self, name, getattr(self, name) >= 0, "0 or more")

    def scaled(self, iterations: int) -> Self:
        """The same schedule stretched or shrunk to `iterations` steps.

        Starts, ends, the learning-rate decay, SH-degree steps and opacity resets scale in proportion; the spacing of
        densification stays, because statistics need a number of views, not a share of the run. (Scaling it too, to 7
        steps in a run of 2,000, multiplied the Gaussians by six and lost quality.)

        Raises:
            UsageError: if `iterations` is below 1.
        """
        if iterations < 1:
            raise UsageError(f"--iterations {iterations}: expected at least 1")
        factor = iterations / self.iterations
        changes: dict[str, Any] = {}
        for entry in dataclasses.fields(self):
            if field_metadata(type(self), entry.name).get(SCALES_KEY):
                value: int = getattr(self, entry.name)
                # A 0 switches something off and stays; anything else keeps at least one step.
                changes[entry.name] = max(1, round(value * factor)) if value > 0 else value
        changes["iterations"] = iterations
        return dataclasses.replace(self, **changes)

    def densification_steps(self) -> range:
        """The steps at which densification runs: multiples of its interval, after its start and before its end."""
        interval = self.densification_interval
        first = interval * (self.densify_from_iter // interval + 1)
        return range(first, min(self.densify_until_iter, self.iterations), interval)

    def opacity_reset_steps(self) -> range:
        """The steps at which opacities are reset."""
        interval = self.opacity_reset_interval
        if interval == 0:
            return range(0)
        return range(interval, min(self.densify_until_iter, self.iterations), interval)

    def sh_degree_steps(self) -> range:
        """The steps at which the SH degree grows by one (up to the model's own maximum)."""
        return range(self.sh_degree_interval, self.iterations, self.sh_degree_interval)


def exponential_decay(
    initial: float, final: float, max_steps: int, delay_steps: int = 0, delay_mult: float = 1.0
) -> Callable[[int], float]:
    """A learning rate that falls log-linearly from `initial` at step 0 to `final` at `max_steps`.

    During the first `delay_steps` it is multiplied by a factor that rises from `delay_mult` to 1 along a quarter sine
    wave (the schedule of Mip-NeRF, Barron et al. 2021, section 4).
    """
    log_initial, log_final = math.log(initial), math.log(final)

    def rate(step: int) -> float:
        share = min(max(step / max_steps, 0.0), 1.0)
        value = math.exp(log_initial * (1.0 - share) + log_final * share)
        if delay_steps > 0:
            eased = math.sin(0.5 * math.pi * min(max(step / delay_steps, 0.0), 1.0))
            value *= delay_mult + (1.0 - delay_mult) * eased
        return value

    return rate


def _require(params: object, name: str, condition: bool, expected: str) -> None:
    # A NaN fails every comparison, so it ends here too.
    if not condition:
        raise UsageError(f"{name} = {getattr(params, name)!r}: expected {expected}")
