"""HAC and HAC++ as methods."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from torch import Tensor

from gsbench import (
    ArtifactReader,
    ArtifactWriter,
    BaseGaussianModel,
    Camera,
    Context,
    Model,
    ModelParams,
    Renderable,
    TrainedMethod,
)
from gsbench.methods.trained import TrainedModel
from gsbench.training.anchors import AnchorRenderable
from gsbench_hac.channels import ChannelCodec
from gsbench_hac.codec import Codec
from gsbench_hac.coded import Coded
from gsbench_hac.model import HacModel, HacPlusModel
from gsbench_hac.params import HacModelParams, HacParams, HacPlusModelParams


class CodedModel(Model):
    """What a file of hac holds, as a model: its encoding is the same file.

    Args:
        codec: that reads and writes such files.
        coded: the contents.
    """

    def __init__(self, codec: Codec, coded: Coded) -> None:
        self.codec, self.coded = codec, coded
        self._renderable = codec.renderable(coded)

    def render(self, camera: Camera, background: Tensor) -> Tensor:
        """The image, float32 [H, W, 3], over `background`, float32 [3]."""
        return self._renderable.render(camera, background)

    def state(self) -> dict[str, Any]:
        """The contents as tensors and plain values."""
        return {"coded": self.coded.state()}

    @classmethod
    def from_state(cls, state: dict[str, Any], config: Any) -> CodedModel:
        """Not to be called: the method's `model_class` restores both kinds of models."""
        raise NotImplementedError("models that were read from a file are restored by the method's model_class")


class HacTrainedModel(TrainedModel):
    """A model of hac, and what restores it; a `CodedModel` if the state is that of one."""

    @classmethod
    def from_state(cls, state: dict[str, Any], config: Any) -> Any:
        """The model that `state` describes."""
        if "coded" not in state:
            return super().from_state(state, config)
        method = cast("type[Hac]", cls.method)
        return CodedModel(method.codec, Coded.from_state(state["coded"]))


class Hac(TrainedMethod):
    """Anchors whose attributes are coded by Gaussians that a binary hash grid predicts.

    `codec` says what is in the file, and that it decodes to the same numbers on every machine.
    """

    gaussian_model: ClassVar[type[BaseGaussianModel]] = HacModel
    model_params: ClassVar[type[ModelParams]] = HacModelParams
    optimization_params = HacParams
    trained_model = HacTrainedModel
    codec: ClassVar[Codec] = Codec()

    def encode(self, model: Any, config: Any, out: ArtifactWriter, context: Context) -> None:
        """Quantize the model and write it."""
        device = context.device
        coded = model.coded if isinstance(model, CodedModel) else self.codec.quantize(model.gaussians, device)
        self.codec.write(coded, out, device)

    @classmethod
    def model_from(cls, artifact: ArtifactReader) -> CodedModel:
        """The contents of a file as a model, whose encoding is the same file.

        Raises:
            ArtifactError: if it is damaged.
        """
        return CodedModel(cls.codec, cls.codec.read(artifact))

    @classmethod
    def decode(cls, artifact: ArtifactReader, context: Context) -> AnchorRenderable:
        """The anchors of a file.

        Raises:
            ArtifactError: if it is damaged.
        """
        return cls.codec.renderable(cls.codec.read(artifact, context.device), context.device)

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
