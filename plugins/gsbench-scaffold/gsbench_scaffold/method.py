"""Scaffold-GS (Lu et al., CVPR 2024), uncompressed."""

from __future__ import annotations

from typing import Any, Final

import torch

from gsbench import ArtifactReader, ArtifactWriter, Context, Renderable, TrainedMethod
from gsbench.methods.arrays import header_float, header_int, read_network, read_tensor, write_network, write_tensor
from gsbench.training.anchors import (
    AnchorModel,
    AnchorModelParams,
    AnchorNetworks,
    AnchorParams,
    AnchorRenderable,
    Anchors,
)

#: A file that claims more is refused.
_MOST_ANCHORS: Final = 2**27
_MOST_WIDTH: Final = 1024


class Scaffold(TrainedMethod):
    """Anchors that grow where Gaussians have large gradients, and three networks that make Gaussians of those in view.

    Stored as they are: the voxels of the anchors as int32, features, scales, offsets and networks as float32, 284 bytes
    per anchor with the default settings.
    """

    gaussian_model = AnchorModel
    model_params = AnchorModelParams
    optimization_params = AnchorParams

    def encode(self, model: Any, config: Any, out: ArtifactWriter, context: Context) -> None:
        """Write anchors and networks."""
        anchors: AnchorModel = model.gaussians
        out.header |= {
            "anchors": len(anchors),
            "feat_dim": anchors.feat_dim,
            "n_offsets": anchors.n_offsets,
            "voxel_size": anchors.voxel_size,
        }
        write_tensor(out, "positions", anchors.tensors()["voxels"])
        for role in ("features", "scales", "offsets"):
            write_tensor(out, role, anchors.tensors()[role])
        write_network(out, "mlps", anchors.networks)

    @classmethod
    def decode(cls, artifact: ArtifactReader, context: Context) -> AnchorRenderable:
        """Read them back.

        Raises:
            ArtifactError: if the artifact is damaged.
        """
        n = header_int(artifact, "anchors", 0, _MOST_ANCHORS)
        width = header_int(artifact, "feat_dim", 1, _MOST_WIDTH)
        k = header_int(artifact, "n_offsets", 1, _MOST_WIDTH)
        networks = AnchorNetworks(width, k)
        read_network(artifact, "mlps", networks)
        anchors = Anchors(
            read_tensor(artifact, "positions", (n, 3)).to(torch.float32) * header_float(artifact, "voxel_size"),
            read_tensor(artifact, "features", (n, width)),
            read_tensor(artifact, "scales", (n, 6)).exp(),
            read_tensor(artifact, "offsets", (n, k, 3)),
        )
        return AnchorRenderable(anchors, networks).to(context.device)

    @classmethod
    def counts(cls, decoded: Renderable) -> dict[str, int]:
        """The numbers of offsets and of anchors."""
        assert isinstance(decoded, AnchorRenderable)
        return decoded.counts()
