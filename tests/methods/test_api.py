"""The base classes of methods: Config fields that know their stage, models, counts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.bench.settings import encode_only_fields
from gsbench.methods import CONFIG_STAGE_KEY, Method, Model, Renderable, field
from gsbench.splats import Camera, Splats
from gsbench.testing import random_splats


def test_fields_carry_stage_and_help_and_the_metadata_of_their_own() -> None:
    @dataclasses.dataclass
    class Config:
        plain: int = 1
        train: float = field(default=0.5, help="a learning rate")
        encode: list[int] = field(stage="encode", default_factory=list, metadata={"unit": "bits"})  # noqa: RUF009

    by_name = {f.name: f for f in dataclasses.fields(Config)}
    assert by_name["train"].metadata[CONFIG_STAGE_KEY] == "train"
    assert by_name["train"].metadata["help"] == "a learning rate"
    assert by_name["encode"].metadata[CONFIG_STAGE_KEY] == "encode"
    assert by_name["encode"].metadata["unit"] == "bits"
    assert Config() == Config(1, 0.5, [])
    assert Config().encode is not Config().encode
    assert encode_only_fields(Config) == ["encode"], "the benchmark reads the stage from where `field` puts it"


class Flat(Model):
    """One color, no Gaussians."""

    def render(self, camera: Camera, background: Tensor) -> Tensor:
        return background.expand(camera.height, camera.width, 3)

    def state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state(cls, state: dict[str, Any], config: Any) -> Flat:
        return cls()


def test_a_model_without_gaussians_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Flat does not export Gaussians"):
        Flat().splats()
    with pytest.raises(NotImplementedError, match="Flat does not export Gaussians"):
        Method.counts(Flat())
    assert isinstance(Flat(), Renderable)
    assert not isinstance(object(), Renderable)


def test_counts_are_those_of_the_gaussians() -> None:
    class Some(Flat):
        def splats(self) -> Splats:
            return random_splats(7)

    assert Method.counts(Some()) == {"gaussians": 7}


@pytest.mark.parametrize("cls", [Method, Model])
def test_incomplete_classes_cannot_be_made(cls: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        cls()


def test_splats_models_survive_a_restart_and_render() -> None:
    from gsbench.methods import SplatsModel
    from gsbench.raster import RenderOptions, render
    from gsbench.testing import orbit_cameras

    splats = random_splats(50, sh_degree=2)
    model = SplatsModel(splats)
    restored = SplatsModel.from_state(model.state(), None)
    for name, tensor in model.state().items():
        assert torch.equal(getattr(restored.splats(), name), tensor)
    assert set(model.state()) == {"means", "log_scales", "quats", "opacity_logits", "sh"}
    camera, background = orbit_cameras(1)[0], torch.tensor([0.2, 0.4, 0.6])
    image = restored.render(camera, background)
    assert not image.requires_grad
    torch.testing.assert_close(image, render(splats, camera, RenderOptions(background=background)).image)
    assert isinstance(model, Renderable)
    assert Method.counts(model) == {"gaussians": 50}
