"""What a compression method is to gsbench, and the pieces that plugin authors build one from."""

from gsbench.methods.api import (
    CONFIG_STAGE_KEY,
    Context,
    Method,
    Model,
    Renderable,
    Stage,
    TrainProgress,
    field,
)
from gsbench.methods.spec import MethodSpec, RatePoint

__all__ = [
    "CONFIG_STAGE_KEY",
    "Context",
    "Method",
    "MethodSpec",
    "Model",
    "RatePoint",
    "Renderable",
    "Stage",
    "TrainProgress",
    "field",
]
