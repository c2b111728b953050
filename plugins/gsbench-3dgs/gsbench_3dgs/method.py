"""Plain 3D Gaussian Splatting with the schedule of the original publication."""

from __future__ import annotations

from gsbench import BaseGaussianModel, TrainedMethod


class ThreeDGS(TrainedMethod):
    """What every compressed method is measured against: the base model, trained for 30,000 steps (or as many as
    ``--iterations`` says, with the schedule in proportion), and every Gaussian written as float32 to the .ply file that
    the original code writes and viewers open. Nothing is compressed: 248 bytes per Gaussian.

    `TrainedMethod` encodes to this format and decodes it, and all of its settings are those of 3dgs.
    """

    gaussian_model = BaseGaussianModel
