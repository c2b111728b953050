"""Training: the model class, the scheduler, density control and the loop that runs them.

The names are imported when they are first used, so that ``gsbench.training.losses`` or ``.optim`` can be used alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names

if TYPE_CHECKING:
    from gsbench.training.cameras import CameraIterator as CameraIterator
    from gsbench.training.cameras import TrainView as TrainView
    from gsbench.training.checkpoint import Checkpoints as Checkpoints
    from gsbench.training.checkpoint_folder import CheckpointFolder as CheckpointFolder
    from gsbench.training.model import BaseGaussianModel as BaseGaussianModel
    from gsbench.training.params import ModelParams as ModelParams
    from gsbench.training.params import OptimizationParams as OptimizationParams
    from gsbench.training.params import PipelineParams as PipelineParams
    from gsbench.training.params import schedule_field as schedule_field
    from gsbench.training.params import setting as setting
    from gsbench.training.results import LossPack as LossPack
    from gsbench.training.results import RenderResult as RenderResult
    from gsbench.training.scheduler import Scheduler as Scheduler
    from gsbench.training.strategies.default import DefaultStrategy as DefaultStrategy
    from gsbench.training.strategies.mcmc import MCMCStrategy as MCMCStrategy
    from gsbench.training.tasks import task as task
    from gsbench.training.trainer import Trainer as Trainer

_EXPORTS: Final = {
    "BaseGaussianModel": "gsbench.training.model",
    "CameraIterator": "gsbench.training.cameras",
    "CheckpointFolder": "gsbench.training.checkpoint_folder",
    "Checkpoints": "gsbench.training.checkpoint",
    "DefaultStrategy": "gsbench.training.strategies.default",
    "LossPack": "gsbench.training.results",
    "MCMCStrategy": "gsbench.training.strategies.mcmc",
    "ModelParams": "gsbench.training.params",
    "OptimizationParams": "gsbench.training.params",
    "PipelineParams": "gsbench.training.params",
    "RenderResult": "gsbench.training.results",
    "Scheduler": "gsbench.training.scheduler",
    "TrainView": "gsbench.training.cameras",
    "Trainer": "gsbench.training.trainer",
    "schedule_field": "gsbench.training.params",
    "setting": "gsbench.training.params",
    "task": "gsbench.training.tasks",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
