"""What is refused, and that the message names it."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch

from gsbench.errors import UsageError
from gsbench.raster import rasterization
from gsbench.testing.raster_case import HEIGHT, WIDTH, cameras, random_scene

GEOMETRY = ("means", "quats", "scales", "opacities", "colors")


def call(n: int = 4, **changed: Any) -> dict[str, Any]:
    return {**random_scene(n, 1), **cameras(1), "width": WIDTH, "height": HEIGHT, **changed}


def covariances(n: int) -> torch.Tensor:
    return 0.1 * torch.eye(3).repeat(n, 1, 1)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in GEOMETRY for v in (math.nan, math.inf, -math.inf)])
@pytest.mark.parametrize("row", [0, 17, 39])
def test_what_is_not_finite(name: str, value: float, row: int) -> None:
    scene = call(40)
    scene[name].view(40, -1)[row, -1] = value
    if name == "colors":
        scene["means"][row] = 0.0  # colors are looked at where they are drawn
    with pytest.raises(ValueError, match=rf"{name}: row {row} is"):
        rasterization(**scene)


@pytest.mark.parametrize("options", [{"render_mode": "RGB+D"}, {"channels": 5}, {"per_camera": 1}, {"sh_degree": 1}])
def test_colors_that_are_not_finite(options: dict[str, Any]) -> None:
    mode = options.pop("render_mode", "RGB")
    scene = random_scene(5, 1, **options) | cameras(1)
    scene["means"][2] = 0.0
    scene["opacities"][2] = 0.5
    scene["colors"][..., 2, 0] = math.nan  # of the third Gaussian, or of the third coefficient of all
    if "sh_degree" in options:
        scene["colors"][2] = math.nan
    with pytest.raises(ValueError, match="colors: "):
        rasterization(**scene, width=WIDTH, height=HEIGHT, render_mode=mode, sh_degree=options.get("sh_degree"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_covariances_that_are_not_finite(value: float) -> None:
    covars = covariances(6)
    covars[4, 1, 2] = value
    with pytest.raises(ValueError, match="covars: row 4 is not finite"):
        rasterization(**call(6, covars=covars, quats=None, scales=None))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("quats", 0.0, "quats: row 3 is zero"),
        ("opacities", 1.5, r"opacities: row 3 is 1.5, expected a number in \[0, 1\]"),
        ("opacities", -0.1, "opacities: row 3 is -0.1"),
    ],
)
def test_values_out_of_range(name: str, value: float, message: str) -> None:
    scene = call(5)
    scene[name][3] = value
    with pytest.raises(ValueError, match=message):
        rasterization(**scene)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"viewmats": torch.full((1, 4, 4), math.nan)}, "viewmats: camera 0 is not finite"),
        ({"Ks": torch.zeros(1, 3, 3)}, "Ks: camera 0"),
        ({"near_plane": -1.0}, "near_plane, far_plane"),
        ({"near_plane": 2.0, "far_plane": 1.0}, "near_plane, far_plane"),
        ({"near_plane": math.nan}, "near_plane, far_plane"),
        ({"eps2d": 0.0}, "eps2d: expected a positive number"),
        ({"eps2d": math.nan}, "eps2d"),
        ({"radius_clip": -1.0}, "radius_clip: expected 0 or more"),
        ({"radius_clip": math.nan}, "radius_clip"),
        ({"width": -1}, "width, height: expected 0 to"),
        ({"height": 1 << 30}, "width, height: expected 0 to"),
        ({"tile_size": 0}, "tile_size: expected a positive integer"),
        ({"channel_chunk": 0}, "channel_chunk: expected a positive integer"),
        ({"render_mode": "RGBD"}, "render_mode: expected one of RGB, D, ED, RGB\\+D, RGB\\+ED"),
        ({"rasterize_mode": "sharp"}, "rasterize_mode: expected 'classic' or 'antialiased'"),
        ({"sh_degree": 5, "colors": torch.zeros(4, 36, 3)}, "sh_degree: expected 0 to 4, got 5"),
        ({"sh_degree": -1, "colors": torch.zeros(4, 1, 3)}, "sh_degree: expected 0 to 4, got -1"),
        ({"sh_degree": 2, "colors": torch.zeros(4, 8, 3)}, "colors: degree 2 needs 9 coefficients"),
        ({"outputs": "hits"}, "outputs: expected names"),
        ({"outputs": None}, "outputs: expected names"),
        ({"width": 8.5}, "width: expected a whole number"),
        ({"height": "8"}, "height: expected a whole number"),
        ({"eps2d": None}, "eps2d: expected a number"),
        ({"near_plane": "a"}, "near_plane: expected a number"),
        ({"means": None}, "means: expected a tensor"),
        ({"means": [[0.0, 0.0, 1.0]]}, "means: expected a tensor, got list"),
        ({"means": torch.zeros(4, 3).to_sparse()}, "means: expected a dense tensor"),
        ({"backgrounds": [1.0, 1.0, 1.0]}, "backgrounds: expected a tensor"),
        ({"backgrounds": torch.full((1, 3), math.nan)}, "backgrounds: expected finite"),
        ({"viewmats": torch.ones(1, 4, 4)}, "viewmats: camera 0: expected 0 0 0 1"),
        ({"Ks": torch.tensor([[[9.0, 1.0, 4.0], [0.0, 9.0, 4.0], [0.0, 0.0, 1.0]]])}, "Ks: camera 0: expected fx 0 cx"),
        ({"colors": torch.zeros(4, 0)}, "colors: expected at least one channel"),
        ({"colors": torch.zeros(4, 5000)}, "colors: expected at most"),
        ({"colors": None}, "colors: expected a tensor"),
        ({"quats": None}, "quats: expected a tensor"),
        ({"scales": None}, "scales: expected a tensor"),
        ({"covars": covariances(4), "outputs": ("fisher",)}, "outputs: 'fisher'"),
        ({"render_mode": "D", "outputs": ("fisher",)}, "outputs: 'fisher'"),
        ({"render_mode": "ED", "outputs": ("sensitivity",)}, "outputs: 'sensitivity'"),
    ],
)
def test_options(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterization(**call(**changed))


@pytest.mark.parametrize(
    ("argument", "wrong", "message"),
    [
        ("means", torch.zeros(4, 2), r"means: expected shape \[N, 3\], got \[4, 2\]"),
        ("quats", torch.zeros(4, 3), r"quats: expected shape \[4, 4\], got \[4, 3\]"),
        ("scales", torch.zeros(4), r"scales: expected shape \[4, 3\], got \[4\]"),
        ("opacities", torch.zeros(4, 1), r"opacities: expected shape \[4\]"),
        ("colors", torch.zeros(5, 3), r"colors: expected shape \[4, D\]"),
        ("colors", torch.zeros(2, 4, 3), r"colors: expected shape \[1, 4, D\]"),
        ("viewmats", torch.eye(4), r"viewmats: expected shape \[C, 4, 4\]"),
        ("Ks", torch.eye(3), r"Ks: expected shape \[1, 3, 3\]"),
        ("Ks", torch.eye(3).repeat(2, 1, 1), r"Ks: expected shape \[1, 3, 3\]"),
        ("backgrounds", torch.zeros(2, 3), r"backgrounds: expected shape \[1, 3\]"),
        ("backgrounds", torch.zeros(1, 4), r"backgrounds: expected shape \[1, 3\]"),
        ("covars", torch.zeros(4, 6), r"covars: expected shape \[4, 3, 3\]"),
        ("masks", torch.ones(1, 5, 5, dtype=torch.bool), rf"masks: expected shape \[1, {HEIGHT}, {WIDTH}\]"),
        ("masks", torch.ones(5, dtype=torch.bool), "masks: expected"),
        ("backgrounds", torch.tensor(1.0), "backgrounds: expected"),
    ],
)
def test_shapes(argument: str, wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterization(**call(**{argument: wrong}))


TENSORS = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds", "covars", "masks")


def everything() -> dict[str, Any]:
    return call(
        backgrounds=torch.zeros(1, 3), covars=covariances(4), masks=torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    )


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_dtypes(name: str, dtype: torch.dtype) -> None:
    arguments = everything()
    arguments[name] = arguments[name].to(dtype)
    if name in ("quats", "scales"):
        arguments["covars"] = None
    with pytest.raises(ValueError, match=f"{name}: expected (float32|bool), got {dtype}"):
        rasterization(**arguments)


@pytest.mark.parametrize("name", TENSORS)
def test_devices(name: str) -> None:
    """The device "meta" is on every machine, and never the one to draw on."""
    arguments = everything()
    arguments[name] = arguments[name].to("meta")
    if name in ("quats", "scales"):
        arguments["covars"] = None
    with pytest.raises(ValueError, match=r"expected a tensor on (cpu|meta) like means, got one on (meta|cpu)"):
        rasterization(**arguments)


def test_no_backend_for_a_device() -> None:
    arguments = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in call().items()}
    with pytest.raises(NotImplementedError, match="no rasterizer for tensors on meta"):
        rasterization(**arguments)
    with pytest.raises(UsageError, match="there is no rasterizer 'cpuu'; there are: cpu"):
        rasterization(**call(backend="cpuu"))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("sparse_grad", True),
        ("distributed", True),
        ("camera_model", "fisheye"),
        ("camera_model", "ortho"),
        ("with_ut", True),
        ("with_eval3d", True),
        ("radial_coeffs", torch.zeros(1, 6)),
        ("tangential_coeffs", torch.zeros(1, 2)),
        ("thin_prism_coeffs", torch.zeros(1, 4)),
        ("viewmats_rs", torch.eye(4)[None]),
    ],
)
def test_what_is_not_supported(argument: str, value: Any) -> None:
    with pytest.raises(NotImplementedError, match=argument):
        rasterization(**call(**{argument: value}))


def test_batches_of_scenes() -> None:
    """Leading dimensions are refused, in every argument that could have them; never miscounted."""
    with pytest.raises(NotImplementedError, match="batches of scenes"):
        rasterization(**{k: v[None] if isinstance(v, torch.Tensor) else v for k, v in call().items()})
    for name in ("quats", "scales", "opacities", "viewmats", "Ks"):
        arguments = call()
        arguments[name] = arguments[name][None]
        with pytest.raises(ValueError, match=f"{name}: expected shape"):
            rasterization(**arguments)


def test_arguments_are_those_of_gsplat() -> None:
    """The same names in the same order with the same defaults, so that calls work with only the import changed."""
    theirs = pytest.importorskip("gsplat.rendering", reason="gsplat is an optional oracle").rasterization
    expected = list(inspect.signature(theirs).parameters.values())
    ours = list(inspect.signature(rasterization).parameters.values())
    for mine, other in zip(ours, expected, strict=False):
        assert mine.name == other.name
        # The one default that is a value of gsplat's own type: a global shutter, which is what None means here.
        assert mine.default == other.default or mine.name == "rolling_shutter"
    assert len(ours) > len(expected)
    assert all(mine.kind is inspect.Parameter.KEYWORD_ONLY for mine in ours[len(expected) :])
