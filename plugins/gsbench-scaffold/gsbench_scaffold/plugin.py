"""What this distribution brings. It is imported whenever gsbench lists its methods, so it does without torch."""

from __future__ import annotations

from collections.abc import Iterable

import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods() -> Iterable[gsbench.MethodSpec]:
    """The method scaffold."""
    return [
        gsbench.MethodSpec(
            name="scaffold",
            target="gsbench_scaffold.method:Scaffold",
            summary="Scaffold-GS: anchors whose networks make Gaussians for each view, stored as they are",
            paper="Lu et al., Scaffold-GS: Structured 3D Gaussians for View-Adaptive Rendering, 2024",
        ),
    ]
