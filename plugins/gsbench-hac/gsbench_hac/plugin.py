"""What this distribution brings. It is imported whenever gsbench lists its methods, so it does without torch."""

from __future__ import annotations

from collections.abc import Iterable

import gsbench

GSBENCH_API = 1

#: The weights of the rate in the loss that the publications report, lowest rate first.
LAMBDAS = ("0.004", "0.003", "0.002", "0.001", "0.0005")


@gsbench.hookimpl
def gsbench_methods() -> Iterable[gsbench.MethodSpec]:
    """The methods hac and hac++."""
    rates = tuple(gsbench.RatePoint(text, {"lmbda": float(text)}) for text in LAMBDAS)
    return [
        gsbench.MethodSpec(
            name="hac",
            target="gsbench_hac.method:Hac",
            summary="HAC: anchors coded by Gaussians that a binary hash grid predicts",
            paper="Chen et al., HAC: Hash-grid Assisted Context for 3D Gaussian Splatting Compression, 2024",
            rates=rates,
            default_rate="0.002",
        ),
        gsbench.MethodSpec(
            name="hac++",
            target="gsbench_hac.method:HacPlus",
            summary="HAC++: hac with a context within each anchor, and masks that answer for their rate",
            paper="Chen et al., HAC++: Towards 100X Compression of 3D Gaussian Splatting, 2025",
            rates=rates,
            default_rate="0.002",
        ),
    ]
