from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gsbench.splats import SH_BASES, Splats


@pytest.fixture(scope="session")
def make_splats() -> Callable[..., Splats]:
    """Random Gaussians, raw quaternions included."""

    def make(n: int, sh_degree: int = 3, seed: int = 0) -> Splats:
        g = torch.Generator().manual_seed(seed)
        return Splats(
            means=torch.randn(n, 3, generator=g) * 10,
            log_scales=torch.randn(n, 3, generator=g) - 4,
            quats=torch.randn(n, 4, generator=g),
            opacity_logits=torch.randn(n, generator=g) * 4,
            sh=torch.randn(n, SH_BASES[sh_degree], 3, generator=g),
        )

    return make
