"""gsbench: the benchmark suite for compressed 3D Gaussian Splatting.

The public names are imported when they are first used, so that ``import gsbench`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gsbench.hooks.hookspecs import hookimpl as hookimpl
    from gsbench.methods import Context as Context
    from gsbench.methods import Method as Method
    from gsbench.methods import MethodSpec as MethodSpec
    from gsbench.methods import Model as Model
    from gsbench.methods import RatePoint as RatePoint
    from gsbench.methods import Renderable as Renderable
    from gsbench.methods import field as field
    from gsbench.splats import Camera as Camera
    from gsbench.splats import Splats as Splats

__version__ = "0.1.0"

_EXPORTS: Final = {
    "Camera": "gsbench.splats",
    "Context": "gsbench.methods",
    "Method": "gsbench.methods",
    "MethodSpec": "gsbench.methods",
    "Model": "gsbench.methods",
    "RatePoint": "gsbench.methods",
    "Renderable": "gsbench.methods",
    "Splats": "gsbench.splats",
    "field": "gsbench.methods",
    "hookimpl": "gsbench.hooks.hookspecs",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'gsbench' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
