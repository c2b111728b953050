"""HAC and HAC++ as methods."""

from __future__ import annotations

from typing import ClassVar

from gsbench import BaseGaussianModel, ModelParams, TrainedMethod
from gsbench_hac.model import HacModel, HacPlusModel
from gsbench_hac.params import HacModelParams, HacParams, HacPlusModelParams


class Hac(TrainedMethod):
    """Anchors whose attributes are coded by Gaussians that a binary hash grid predicts."""

    gaussian_model: ClassVar[type[BaseGaussianModel]] = HacModel
    model_params: ClassVar[type[ModelParams]] = HacModelParams
    optimization_params = HacParams


class HacPlus(Hac):
    """HAC with a context within the anchor for its features, and masks that answer for the rate of what they keep."""

    gaussian_model = HacPlusModel
    model_params = HacPlusModelParams
