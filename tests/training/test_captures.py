from __future__ import annotations

from pathlib import Path

import pytest

from gsbench.metrics import psnr
from gsbench.scenes import SceneOptions, load_scene, resolve_scenes
from gsbench.training import BaseGaussianModel, OptimizationParams, PipelineParams, Trainer


@pytest.mark.slow
def test_real_photos(real_data: Path) -> None:
    """43 phone photos at 304x540: at least 29.5 dB on the held-out ones, with at most 90,000 Gaussians."""
    (reference,) = resolve_scenes([f"path:{real_data / 'fox_colmap'}"])
    scene = load_scene(reference, SceneOptions())
    model = Trainer(BaseGaussianModel(), scene.for_training(), OptimizationParams().scaled(2_000)).train()
    values = [
        psnr(model.render(view, scene.background, PipelineParams()).image.detach(), view.pixels) for view in scene.test
    ]
    assert sum(values) / len(values) >= 29.5
    assert 40_000 <= len(model) <= 90_000
