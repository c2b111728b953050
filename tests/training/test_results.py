"""`RenderResult`: complete from what the rasterizer returns, and under the names of the original code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.raster import rasterization
from gsbench.testing import orbit_cameras, random_splats
from gsbench.training import BaseGaussianModel, LossPack, PipelineParams, RenderResult

WIDTH, HEIGHT = 40, 24


def rendered() -> tuple[Tensor, Tensor, dict[str, Any]]:
    splats, camera = random_splats(80), orbit_cameras(1, WIDTH, HEIGHT)[0]
    image, alpha, info = rasterization(
        splats.means.requires_grad_(),
        splats.quats,
        splats.scales,
        splats.opacities,
        splats.sh,
        camera.viewmat[None],
        camera.K[None],
        WIDTH,
        HEIGHT,
        sh_degree=3,
        packed=False,
    )
    return image[0], alpha[0], info


def test_everything_follows_from_what_the_rasterizer_returns() -> None:
    image, alpha, info = rendered()
    result = RenderResult(image, alpha, info)
    assert result.image is image
    assert result.alpha is alpha
    assert torch.equal(result.rendered_image, image.permute(2, 0, 1))
    assert torch.equal(result.render, result.rendered_image)
    assert torch.equal(result.radii, info["radii"][0].amax(dim=1))
    assert torch.equal(result.visibility_filter, (info["radii"][0] > 0).all(dim=1))
    assert 0 < int(result.visibility_filter.sum()) <= 80

    assert result.viewspace_points.grad is None
    (image * torch.rand(image.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    pixels = info["means2d"].grad[0]
    expected = torch.stack([pixels[:, 0] * WIDTH / 2, pixels[:, 1] * HEIGHT / 2], dim=1)
    assert expected.abs().max() > 0
    torch.testing.assert_close(result.viewspace_points.grad, expected)
    # As programs use it; the third component that some have is cut off anyway.
    seen = result.visibility_filter
    torch.testing.assert_close(
        result.viewspace_points.grad[seen, :2].norm(dim=-1, keepdim=True), expected[seen].norm(dim=-1, keepdim=True)
    )


def test_a_second_backward_pass_is_seen() -> None:
    image, alpha, info = rendered()
    result = RenderResult(image, alpha, info)
    image.sum().backward(retain_graph=True)
    once = result.viewspace_points.grad
    image.sum().backward()
    torch.testing.assert_close(result.viewspace_points.grad, 2.0 * once)


def test_the_keys_of_the_original_dictionary() -> None:
    result = RenderResult(*rendered())
    image, points, visible, radii = (
        result["render"],
        result["viewspace_points"],
        result["visibility_filter"],
        result["radii"],
    )
    assert torch.equal(image, result.rendered_image)
    assert points is result.viewspace_points
    assert visible is result.visibility_filter
    assert radii is result.radii
    with pytest.raises(KeyError, match=r"RenderResult has no 'depths'; expected one of .*'radii'"):
        result["depths"]


def test_what_is_given_is_taken() -> None:
    chw = torch.rand(3, 4, 5)
    points, radii, visible = torch.zeros(7, 3), torch.arange(7), torch.arange(7) % 2 == 0
    result = RenderResult(rendered_image=chw, viewspace_points=points, radii=radii, visibility_filter=visible)
    assert torch.equal(result.image, chw.permute(1, 2, 0))
    assert result.viewspace_points is points
    assert result.radii is radii
    assert result.visibility_filter is visible
    assert result.alpha is None
    assert RenderResult(rendered_image=chw, radii=radii).visibility_filter.tolist() == [False] + [True] * 6


@pytest.mark.parametrize(
    ("given", "name", "message"),
    [
        ({}, "image", "RenderResult has no image: expected image or rendered_image"),
        ({}, "rendered_image", "RenderResult has no image: expected image or rendered_image"),
        ({"image": torch.zeros(1, 1, 3)}, "radii", "has no radii: .* or 'radii' in meta, which has nothing"),
        ({"meta": {"depths": 1}}, "visibility_filter", r"has no radii: .* which has \['depths'\]"),
        ({"image": torch.zeros(1, 1, 3)}, "viewspace_points", "has no viewspace_points: .* or 'means2d' in meta"),
    ],
)
def test_what_does_not_follow_is_an_error(given: dict[str, Any], name: str, message: str) -> None:
    result = RenderResult(**given)
    with pytest.raises(ValueError, match=message):
        getattr(result, name)


def test_without_gradients_there_is_nothing_to_keep() -> None:
    model = BaseGaussianModel()
    model.create_from_splats(random_splats(10), 1.0)
    with torch.no_grad():
        result = model.render(orbit_cameras(1)[0], torch.zeros(3), PipelineParams())
    assert result.viewspace_points.grad is None


def test_subclasses_carry_more() -> None:
    @dataclass
    class Scored(RenderResult):
        scores: Tensor | None = None
        count: int = 0

    image, alpha, info = rendered()
    result = Scored(image, alpha, info, scores=torch.ones(80), count=80)
    assert result["count"] == result.count == 80
    assert torch.equal(result.radii, RenderResult(image, alpha, info).radii)
    assert Scored(rendered_image=torch.zeros(3, 2, 2)).scores is None


def test_loss_packs_take_the_names_of_the_field() -> None:
    pack = LossPack(l1_loss=torch.tensor(0.1), ssim_loss=torch.tensor(0.2), loss=torch.tensor(0.3))
    assert [float(t) for t in (pack.loss, pack.l1_loss, pack.ssim_loss)] == pytest.approx([0.3, 0.1, 0.2])  # type: ignore[arg-type]
    assert pack.l2_loss is None
    assert pack.extras == {}
