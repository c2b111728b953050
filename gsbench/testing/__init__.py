"""What authors of plugins import in their tests. Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
