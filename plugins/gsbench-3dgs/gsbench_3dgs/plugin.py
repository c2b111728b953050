"""What this distribution brings. It is imported whenever gsbench lists its methods, so it does without torch."""

from __future__ import annotations

from collections.abc import Iterable

import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods() -> Iterable[gsbench.MethodSpec]:
    """The methods 3dgs and 3dgs-mcmc."""
    return [
        gsbench.MethodSpec(
            name="3dgs",
            target="gsbench_3dgs.method:ThreeDGS",
            summary="plain 3D Gaussian Splatting, stored as the Inria .ply",
            paper="Kerbl et al., 3D Gaussian Splatting for Real-Time Radiance Field Rendering, 2023",
            suffix=".ply",
        ),
        gsbench.MethodSpec(
            name="3dgs-mcmc",
            target="gsbench_3dgs.mcmc:ThreeDGSMCMC",
            summary="3DGS as Markov Chain Monte Carlo: a given number of Gaussians, stored as the Inria .ply",
            paper="Kheradmand et al., 3D Gaussian Splatting as Markov Chain Monte Carlo, 2024",
            suffix=".ply",
        ),
    ]
