"""The adapters of other packages' rasterizers: what they pass on, and what they refuse. Stand-ins with the originals'
arguments draw with gsbench; the originals need a GPU, where `gsbench doctor --compare-backends` compares them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from gsbench import registry
from gsbench.raster import rasterization
from gsbench.raster.adapters import common, inria
from gsbench.raster.adapters.gsplat import GsplatBackend
from gsbench.raster.adapters.inria import InriaBackend
from gsbench.testing.raster_case import HEIGHT, WIDTH, cameras, random_scene


class Settings(NamedTuple):
    """Those of diff_gaussian_rasterization."""

    image_height: int
    image_width: int
    tanfovx: float
    tanfovy: float
    bg: Tensor
    scale_modifier: float
    viewmatrix: Tensor
    projmatrix: Tensor
    sh_degree: int
    campos: Tensor
    prefiltered: bool
    debug: bool


class Rasterizer:
    """As diff_gaussian_rasterization's, drawn by the CPU backend."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(
        self,
        means3D: Tensor,
        means2D: Tensor,
        opacities: Tensor,
        shs: Tensor | None = None,
        colors_precomp: Tensor | None = None,
        scales: Tensor | None = None,
        rotations: Tensor | None = None,
        cov3D_precomp: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        s = self.settings
        assert (shs is None) != (colors_precomp is None)
        assert (scales is None) == (rotations is None) != (cov3D_precomp is None)
        view = s.viewmatrix.T.contiguous()
        assert torch.allclose(s.campos, view.inverse()[:3, 3], atol=1e-5)
        # The full projection, as that code uses it: row vectors times matrix, then pixels.
        homogeneous = torch.cat([means3D, torch.ones(len(means3D), 1)], 1) @ s.projmatrix
        ndc = homogeneous[:, :2] / homogeneous[:, 3:]
        pixels = 0.5 * ((ndc + 1.0) * torch.tensor([s.image_width, s.image_height]) - 1.0) + 0.5
        focal = s.image_width / (2 * s.tanfovx), s.image_height / (2 * s.tanfovy)
        K = torch.tensor([[focal[0], 0, s.image_width / 2], [0, focal[1], s.image_height / 2], [0, 0, 1]])
        covars = None
        if cov3D_precomp is not None:
            xx, xy, xz, yy, yz, zz = cov3D_precomp.unbind(1)
            covars = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], 1).view(-1, 3, 3)
        image, _, meta = rasterization(
            means3D,
            rotations,
            scales,
            opacities.squeeze(1),
            shs if shs is not None else colors_precomp,
            view[None],
            K[None],
            s.image_width,
            s.image_height,
            sh_degree=None if shs is None else s.sh_degree,
            covars=covars,
            packed=False,
            backgrounds=s.bg[None],
        )
        drawn = (meta["radii"][0] > 0).any(1)
        assert torch.allclose(pixels[drawn], meta["means2d"][0][drawn], atol=1e-3)
        return image[0].permute(2, 0, 1), meta["radii"][0].amax(1)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Packages of the originals' names; what gsplat's was called with."""
    seen: dict[str, Any] = {}
    theirs = ModuleType("diff_gaussian_rasterization")
    theirs.GaussianRasterizationSettings = Settings  # type: ignore[attr-defined]
    theirs.GaussianRasterizer = Rasterizer  # type: ignore[attr-defined]
    gsplat = ModuleType("gsplat")

    def draw(**call: Any) -> Any:
        seen.update(call)
        return rasterization(**call, backend="cpu")

    gsplat.rasterization = draw  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "diff_gaussian_rasterization", theirs)
    monkeypatch.setitem(sys.modules, "gsplat", gsplat)
    for module in (common, inria, sys.modules[GsplatBackend.__module__]):
        monkeypatch.setattr(module, "need_cuda", lambda *_: None)
    for name, backend in (("gsplat-adapter", GsplatBackend), ("inria-adapter", InriaBackend)):
        registry.rasterizers.register(name, backend)
    yield seen
    registry.rasterizers.unregister("gsplat-adapter")
    registry.rasterizers.unregister("inria-adapter")


def call(**changes: Any) -> dict[str, Any]:
    view = cameras(2)
    view["Ks"][:, 0, 2], view["Ks"][:, 1, 2] = WIDTH / 2, HEIGHT / 2
    scene = random_scene(40, 1, sh_degree=2)
    return {**scene, **view, "width": WIDTH, "height": HEIGHT, "sh_degree": 2, "packed": False, **changes}


def covariances() -> dict[str, Any]:
    half = 0.3 * torch.randn(40, 3, 3, generator=torch.Generator().manual_seed(2))
    return {"quats": None, "scales": None, "covars": half @ half.mT + 0.01 * torch.eye(3)}


@pytest.mark.parametrize("name", ["gsplat-adapter", "inria-adapter"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backgrounds": torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])},
        {"colors": random_scene(40, 4)["colors"], "sh_degree": None},
        covariances(),
    ],
    ids=["SH", "background", "RGB", "covariances"],
)
def test_the_same_is_drawn(stand_ins: dict[str, Any], name: str, changes: dict[str, Any]) -> None:
    arguments = call(**changes)
    image, alpha, meta = rasterization(**arguments, backend=name)
    expected, expected_alpha, expected_meta = rasterization(**arguments, backend="cpu")
    assert torch.allclose(image, expected, atol=2e-5)
    assert torch.allclose(alpha, expected_alpha, atol=2e-5)
    drawn = (expected_meta["radii"] > 0).any(-1)
    assert torch.allclose(meta["means2d"][drawn], expected_meta["means2d"][drawn], atol=1e-3)
    assert torch.equal((meta["radii"] > 0).any(-1), drawn)


def test_gsplat_gets_every_option(stand_ins: dict[str, Any]) -> None:
    asked = {
        "near_plane": 0.5,
        "far_plane": 50.0,
        "radius_clip": 2.0,
        "eps2d": 0.1,
        "packed": True,
        "absgrad": True,
        "rasterize_mode": "antialiased",
        "render_mode": "RGB+ED",
    }
    image, _, meta = rasterization(**call(**asked), backend="gsplat-adapter")
    assert image.shape[-1] == 4
    assert {name: stand_ins[name] for name in asked} == asked
    assert meta["camera_ids"] is not None


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gsplat", {"outputs": ("hits",)}, "backend 'gsplat' cannot do outputs=('hits',); backend 'cuda' or 'cpu' can"),
        ("gsplat", {"masks": torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)}, "backend 'gsplat' cannot do masks"),
        ("inria", {"outputs": ("depth",)}, "backend 'inria' cannot do outputs=('depth',)"),
        ("inria", {"render_mode": "D"}, "backend 'inria' cannot do render_mode='D'"),
        ("inria", {"packed": True}, "backend 'inria' cannot do packed=True"),
        ("inria", {"eps2d": 0.1}, "backend 'inria' cannot do eps2d=0.1, only 0.3"),
        ("inria", {"rasterize_mode": "antialiased"}, "backend 'inria' cannot do antialiasing in this version"),
        ("inria", {"absgrad": True}, "backend 'inria' cannot do absgrad"),
        ("inria", {"Ks": cameras(2)["Ks"]}, "backend 'inria' cannot do principal points off the center"),
        (
            "inria",
            {"colors": torch.ones(40, 5), "sh_degree": None},
            "backend 'inria' cannot do colors that are not RGB",
        ),
    ],
)
def test_what_they_cannot_do_is_named(
    stand_ins: dict[str, Any], name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(NotImplementedError) as refused:
        rasterization(**call(**changes), backend=f"{name}-adapter")
    assert str(refused.value).startswith(message)


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diff_gaussian_rasterization", None)
    registry.rasterizers.register("inria-adapter", InriaBackend)
    try:
        with pytest.raises(NotImplementedError, match="diff_gaussian_rasterization does not import"):
            rasterization(**call(), backend="inria-adapter")
    finally:
        registry.rasterizers.unregister("inria-adapter")


def test_tensors_on_the_cpu_are_refused(stand_ins: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pytest.importorskip("gsplat", exc_type=ImportError)
    with pytest.raises(NotImplementedError, match="backend 'gsplat' draws on CUDA devices only"):
        rasterization(**call(), backend="gsplat-adapter")


def test_simple_knn(monkeypatch: pytest.MonkeyPatch) -> None:
    from gsbench.native.neighbors import simple_knn_distance

    with pytest.raises(NotImplementedError, match="simple_knn does not import"):
        simple_knn_distance(torch.zeros(3, 3))
    parent, module = ModuleType("simple_knn"), ModuleType("simple_knn._C")
    module.distCUDA2 = lambda points: torch.full((len(points),), 9.0)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "simple_knn", parent)
    monkeypatch.setitem(sys.modules, "simple_knn._C", module)
    with pytest.raises(NotImplementedError, match="simple_knn works on CUDA devices only"):
        simple_knn_distance(torch.zeros(3, 3))
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    assert math.isclose(float(simple_knn_distance(torch.zeros(3, 3))[0]), 3.0)
