"""Anchor models (Lu et al., "Scaffold-GS: structured 3D Gaussians for view-adaptive rendering", CVPR 2024).

The scene is a set of anchors on a grid of voxels. Each holds a feature, six scales and K offsets; small networks turn
the features of the anchors in view, and where they are seen from, into K Gaussians each.
"""

from gsbench.training.anchors.model import AnchorModel, AnchorRenderResult
from gsbench.training.anchors.networks import AnchorNetworks
from gsbench.training.anchors.neural import AnchorRenderable, Anchors, ExactAnchorRenderable
from gsbench.training.anchors.params import AnchorModelParams, AnchorParams

__all__ = [
    "AnchorModel",
    "AnchorModelParams",
    "AnchorNetworks",
    "AnchorParams",
    "AnchorRenderResult",
    "AnchorRenderable",
    "Anchors",
    "ExactAnchorRenderable",
]
