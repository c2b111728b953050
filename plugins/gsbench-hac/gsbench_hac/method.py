"""HAC and HAC++ as methods."""

from __future__ import annotations

from gsbench import TrainedMethod
from gsbench_hac.model import HacModel
from gsbench_hac.params import HacModelParams, HacParams


class Hac(TrainedMethod):
    """Anchors whose attributes are coded by Gaussians that a binary hash grid predicts."""

    gaussian_model = HacModel
    model_params = HacModelParams
    optimization_params = HacParams
