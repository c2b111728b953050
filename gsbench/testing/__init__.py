"""What authors of plugins import in their tests. Names are imported when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gsbench.testing.conformance import MethodConformance as MethodConformance
    from gsbench.testing.installed import write_distribution as write_distribution
    from gsbench.testing.samples import orbit_cameras as orbit_cameras
    from gsbench.testing.samples import random_splats as random_splats
    from gsbench.testing.samples import tiny_scene as tiny_scene

_EXPORTS: Final = {
    "MethodConformance": "gsbench.testing.conformance",
    "orbit_cameras": "gsbench.testing.samples",
    "random_splats": "gsbench.testing.samples",
    "tiny_scene": "gsbench.testing.samples",
    "write_distribution": "gsbench.testing.installed",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'gsbench.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
