"""What this distribution brings. It is imported whenever gsbench lists its methods, so it does without torch."""

from __future__ import annotations

from collections.abc import Iterable

import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods() -> Iterable[gsbench.MethodSpec]:
    """The method 3dgs."""
    return [
        gsbench.MethodSpec(
            name="3dgs",
            target="gsbench_3dgs.method:ThreeDGS",
            summary="plain 3D Gaussian Splatting, stored as the Inria .ply",
            paper="Kerbl et al., 3D Gaussian Splatting for Real-Time Radiance Field Rendering, 2023",
            suffix=".ply",
        )
    ]
