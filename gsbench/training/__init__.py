"""Training: the model class, the scheduler, density control and the loop that runs them.

The names are imported when they are first used, so that ``gsbench.training.losses`` or ``.optim`` can be used alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gsbench.training.cameras import CameraIterator as CameraIterator
    from gsbench.training.cameras import TrainView as TrainView
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
    from gsbench.training.tasks import task as task
    from gsbench.training.trainer import Trainer as Trainer

_EXPORTS: Final = {
    "BaseGaussianModel": "model",
    "CameraIterator": "cameras",
    "DefaultStrategy": "strategies.default",
    "LossPack": "results",
    "ModelParams": "params",
    "OptimizationParams": "params",
    "PipelineParams": "params",
    "RenderResult": "results",
    "Scheduler": "scheduler",
    "TrainView": "cameras",
    "Trainer": "trainer",
    "schedule_field": "params",
    "setting": "params",
    "task": "tasks",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'gsbench.training' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gsbench.training.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
