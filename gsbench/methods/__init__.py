"""What a compression method is to gsbench, and the pieces that plugin authors build one from.

Plugins import `MethodSpec` from here whenever gsbench lists what is installed; the names that need torch are
imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

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

_LAZY: Final = {
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


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'gsbench.methods' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
