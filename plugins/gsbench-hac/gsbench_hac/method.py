"""HAC and HAC++ as methods."""

from __future__ import annotations

from typing import Any, ClassVar

from gsbench import ArtifactReader, ArtifactWriter, BaseGaussianModel, Context, ModelParams, Renderable, TrainedMethod
from gsbench.training.anchors import AnchorRenderable
from gsbench_hac.channels import ChannelCodec
from gsbench_hac.codec import Codec
from gsbench_hac.model import HacModel, HacPlusModel
from gsbench_hac.params import HacModelParams, HacParams, HacPlusModelParams


class Hac(TrainedMethod):
    """Anchors whose attributes are coded by Gaussians that a binary hash grid predicts.

    `codec` says what is in the file, and that it decodes to the same numbers on every machine.
    """

    gaussian_model: ClassVar[type[BaseGaussianModel]] = HacModel
    model_params: ClassVar[type[ModelParams]] = HacModelParams
    optimization_params = HacParams
    codec: ClassVar[Codec] = Codec()

    def encode(self, model: Any, config: Any, out: ArtifactWriter, context: Context) -> None:
        """Quantize the model and write it."""
        self.codec.write(self.codec.quantize(model.gaussians), out)

    @classmethod
    def decode(cls, artifact: ArtifactReader, context: Context) -> AnchorRenderable:
        """The anchors of a file.

        Raises:
            ArtifactError: if it is damaged.
        """
        return cls.codec.renderable(cls.codec.read(artifact))

    @classmethod
    def counts(cls, decoded: Renderable) -> dict[str, int]:
        """The numbers of live offsets and of anchors."""
        assert isinstance(decoded, AnchorRenderable)
        return decoded.counts()


class HacPlus(Hac):
    """HAC with a context within the anchor for its features, and masks that answer for the rate of what they keep."""

    gaussian_model = HacPlusModel
    model_params = HacPlusModelParams
    codec: ClassVar[Codec] = ChannelCodec()
