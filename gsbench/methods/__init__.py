"""What a compression method is to gsbench, and the pieces that plugin authors build one from.

Plugins import `MethodSpec` from here whenever gsbench lists what is installed; the names that need torch are
imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names
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
from gsbench.methods.spec import Kind, MethodSpec, RatePoint

if TYPE_CHECKING:
    from gsbench.methods.gaussians import SplatsModel
    from gsbench.methods.rendering import SplatsRenderable
    from gsbench.methods.trained import TrainedMethod

_EXPORTS: Final = {
    "SplatsModel": "gsbench.methods.gaussians",
    "SplatsRenderable": "gsbench.methods.rendering",
    "TrainedMethod": "gsbench.methods.trained",
}

__all__ = [
    "CONFIG_STAGE_KEY",
    "Context",
    "Kind",
    "Method",
    "MethodSpec",
    "Model",
    "RatePoint",
    "Renderable",
    "SplatsModel",
    "SplatsRenderable",
    "Stage",
    "TrainProgress",
    "TrainedMethod",
    "field",
]

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
