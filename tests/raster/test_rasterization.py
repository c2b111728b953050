"""The rasterizer against the dense float64 reference."""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench import native
from gsbench.raster import rasterization
from gsbench.testing.reference import projected_covariances, reference_rasterization, rotation_matrices

WIDTH, HEIGHT = 53, 37  # neither a multiple of a tile nor of a block
GEOMETRY = ("means", "quats", "scales", "opacities", "colors")


def instruction_sets() -> list[str]:
    found = []
    for name in ("baseline", "avx2", "avx512"):
        try:
            native.set_cpu_isa(name)
        except ValueError:
            continue
        found.append(name)
    native.set_cpu_isa("auto")
    return found


@pytest.fixture(params=instruction_sets())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set that this machine has."""
    native.set_cpu_isa(request.param)
    yield request.param
    native.set_cpu_isa("auto")


def camera_ring(count: int, width: int = WIDTH, height: int = HEIGHT) -> tuple[Tensor, Tensor]:
    """Cameras around the origin at distance 4, looking at it, each with its own intrinsics."""
    viewmats, intrinsics = [], []
    for c in range(count):
        angle = 0.4 + 2 * math.pi * c / max(count, 1)
        forward = torch.tensor([-math.sin(angle), 0.2, -math.cos(angle)], dtype=torch.float64)
        eye = -4.0 * forward / forward.norm()
        z = forward / forward.norm()
        x = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), z)
        x = x / x.norm()
        y = torch.linalg.cross(z, x)
        view = torch.eye(4, dtype=torch.float64)
        view[:3, :3] = torch.stack([x, y, z])
        view[:3, 3] = -view[:3, :3] @ eye
        viewmats.append(view.float())
        focal = 40.0 + 3 * c
        intrinsics.append(torch.tensor([[focal, 0, width / 2 + c], [0, focal + 2, height / 2 - c], [0, 0, 1.0]]))
    return torch.stack(viewmats), torch.stack(intrinsics)


def random_scene(n: int, seed: int = 0, sh_degree: int | None = None) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    colors = torch.rand(n, 3, generator=g)
    if sh_degree is not None:
        colors = 0.4 * torch.randn(n, (sh_degree + 1) ** 2, 3, generator=g)
    return {
        "means": 1.2 * torch.randn(n, 3, generator=g),
        "quats": torch.randn(n, 4, generator=g),
        "scales": 0.02 + 0.4 * torch.rand(n, 3, generator=g) ** 2,
        "opacities": torch.rand(n, generator=g),
        "colors": colors,
    }


Result = list[Tensor | None]


def outcome(draw: Callable[..., Any], leaves: list[Tensor], cameras: int) -> Result:
    """Image, alpha and the leaves' gradients of a fixed random loss."""
    g = torch.Generator().manual_seed(5)
    weight = torch.randn(cameras, HEIGHT, WIDTH, 3, generator=g, dtype=torch.float64)
    weight_alpha = torch.randn(cameras, HEIGHT, WIDTH, 1, generator=g, dtype=torch.float64)
    image, alpha = draw()[:2]
    loss = (image.double() * weight).sum() + (alpha.double() * weight_alpha).sum()
    if loss.requires_grad:
        loss.backward()
    return [image.detach(), alpha.detach(), *(leaf.grad for leaf in leaves)]


def leaves_of(scene: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {k: v.to(dtype).detach().clone().requires_grad_() for k, v in scene.items()}


# The reference takes seconds, and every instruction set is compared with the same.
_references: dict[str, Result] = {}


def reference(scene: dict[str, Tensor], cameras: int, **options: Any) -> Result:
    digest = hashlib.sha256(repr((cameras, options)).encode())
    for value in scene.values():
        digest.update(value.numpy().tobytes())
    key = digest.hexdigest()
    if key not in _references:
        inputs = leaves_of(scene, torch.float64)
        behind = inputs.pop("backgrounds", None)
        viewmats, intrinsics = (m.double() for m in camera_ring(cameras))
        call = (*inputs.values(), viewmats, intrinsics, WIDTH, HEIGHT)
        leaves = [*inputs.values()] + ([] if behind is None else [behind])
        _references[key] = outcome(
            lambda: reference_rasterization(*call, backgrounds=behind, **options), leaves, cameras
        )
    return _references[key]


def both(scene: dict[str, Tensor], cameras: int = 1, packed: bool = True, **options: Any) -> tuple[Result, Result]:
    """Image, alpha and gradients, by gsbench in float32 and by the reference in float64.

    `scene` may hold backgrounds, which then get a gradient as well.
    """
    inputs = leaves_of(scene, torch.float32)
    behind = inputs.pop("backgrounds", None)
    call = (*inputs.values(), *camera_ring(cameras), WIDTH, HEIGHT)
    leaves = [*inputs.values()] + ([] if behind is None else [behind])
    ours = outcome(lambda: rasterization(*call, backgrounds=behind, packed=packed, **options), leaves, cameras)
    return ours, reference(scene, cameras, **options)


def assert_close(ours: Result, theirs: Result, tolerance: float = 1e-4) -> None:
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if b is None or b.numel() == 0:
            assert a is None or a.numel() == 0 or not a.any()
            continue
        assert a is not None
        assert a.shape == b.shape
        if k < 2:
            # A pixel may lie within rounding of a threshold; a flip changes it by about 1/255 and is counted.
            error = (a.double() - b).abs().amax(dim=-1)
            assert int((error > 2e-5).sum()) <= 3 * b.shape[0]
            assert float(error.max()) < 2.5 / 255
        else:
            assert float((a.double() - b).norm()) <= tolerance * float(b.norm()) + 1e-7, f"gradient {k - 2}"


@pytest.mark.parametrize("n", [0, 1, 2, 200])
@pytest.mark.parametrize("sh_degree", [None, 3])
def test_matches_the_reference(isa: str, n: int, sh_degree: int | None) -> None:
    # A seed for which no pixel lies within rounding of a threshold: a flip would move gradients by a finite amount.
    assert_close(*both(random_scene(n, seed=n + 2, sh_degree=sh_degree), sh_degree=sh_degree))


@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3, 4])
def test_every_degree_of_spherical_harmonics(sh_degree: int) -> None:
    stored = random_scene(30, seed=3, sh_degree=4)  # more coefficients stored than evaluated
    ours, theirs = both(stored, sh_degree=sh_degree)
    assert_close(ours, theirs)
    assert ours[6] is not None
    assert not ours[6][:, (sh_degree + 1) ** 2 :].any()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("colors", ["shared", "per camera", "sh"])
def test_several_cameras_and_backgrounds(isa: str, packed: bool, colors: str) -> None:
    scene = random_scene(60, seed=9, sh_degree=2 if colors == "sh" else None)
    if colors == "per camera":
        scene["colors"] = torch.rand(3, 60, 3, generator=torch.Generator().manual_seed(1))
    scene["backgrounds"] = torch.tensor([[0.2, 0.5, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    degree = 2 if colors == "sh" else None
    assert_close(*both(scene, cameras=3, packed=packed, sh_degree=degree))


def degenerate_scene() -> dict[str, Tensor]:
    """Behind the camera, at it, huge, needle-thin, tiny, transparent, opaque, far off the image, ordinary."""
    viewmats, _ = camera_ring(1)
    eye = -viewmats[0, :3, :3].T @ viewmats[0, :3, 3]
    away = viewmats[0, 2, :3]
    scene = random_scene(12, seed=2)
    scene["means"][0] = eye - 2 * away  # behind
    scene["means"][1] = eye + 0.005 * away  # nearer than the near plane
    scene["scales"][2] = 50.0  # huge
    scene["scales"][3] = torch.tensor([3.0, 1e-5, 1e-5])  # needle
    scene["scales"][4] = 1e-7  # a point
    scene["opacities"][5] = 0.0
    scene["opacities"][6] = 1.0
    scene["opacities"][7] = 0.0039  # just below 1/255
    scene["opacities"][8] = 0.0040  # just above
    scene["means"][9] = eye + 0.3 * away + 5 * viewmats[0, 0, :3]  # far to the side: the Jacobian's ratio is clamped
    scene["scales"][9] = 1.5
    scene["opacities"][2] = 0.3
    scene["quats"][10] *= 37.0  # far from unit length
    return scene


def test_degenerate_gaussians(isa: str) -> None:
    assert_close(*both(degenerate_scene(), cameras=2))


def test_gradient_through_a_clamped_jacobian(isa: str) -> None:
    """A large Gaussian whose mean is outside the margin still covers pixels; only its Jacobian is clamped."""
    scene = random_scene(3, seed=4)
    viewmats, _ = camera_ring(1)
    eye = -viewmats[0, :3, :3].T @ viewmats[0, :3, 3]
    right, down, away = viewmats[0, :3, :3]
    scene["means"][0] = eye + 2.0 * away + 2.5 * right + 1.8 * down
    scene["scales"][0] = torch.tensor([2.0, 1.5, 1.8])
    scene["opacities"][0] = 0.9
    ours, theirs = both(scene)
    assert_close(ours, theirs)
    assert float(theirs[2][0].norm()) > 0


def test_opaque_stack_stops(isa: str) -> None:
    """Forty opaque Gaussians behind each other: alpha is clamped at .99 and blending stops at T <= 1e-4."""
    n = 40
    viewmats, _ = camera_ring(1)
    eye = -viewmats[0, :3, :3].T @ viewmats[0, :3, 3]
    scene = random_scene(n, seed=6)
    scene["means"] = eye + torch.linspace(2, 6, n)[:, None] * viewmats[0, 2, :3]
    scene["scales"][:] = torch.tensor([0.3, 0.5, 0.4])
    scene["opacities"] = torch.linspace(0.6, 1.0, n)
    ours, theirs = both(scene)
    assert_close(ours, theirs)
    assert float(ours[1].max()) <= 1 - 1e-4


def test_ties_in_depth_go_by_index() -> None:
    viewmats, intrinsics = camera_ring(1)
    scene = random_scene(2, seed=1)
    scene["means"][:] = 0.0
    scene["scales"][:] = 0.5
    scene["opacities"][:] = 0.99
    scene["colors"] = torch.eye(3)[:2].contiguous()
    image, _, _ = rasterization(*scene.values(), viewmats, intrinsics, WIDTH, HEIGHT)
    center = image[0, HEIGHT // 2, WIDTH // 2]
    assert center[0] > 0.9
    assert center[1] < 0.05


def test_instruction_sets_agree() -> None:
    scene = random_scene(200, seed=8, sh_degree=3)
    viewmats, intrinsics = camera_ring(1)
    images = []
    for name in instruction_sets():
        native.set_cpu_isa(name)
        images.append(rasterization(*scene.values(), viewmats, intrinsics, WIDTH, HEIGHT, sh_degree=3)[0])
    native.set_cpu_isa("auto")
    for image in images[1:]:
        error = (image - images[0]).abs()
        assert float((error > 1e-6).float().mean()) < 1e-3  # counted: threshold flips


@pytest.mark.parametrize("cameras", [1, 2])
def test_same_bytes_for_any_number_of_threads(isa: str, cameras: int) -> None:
    n = 5000  # several chunks, tiles with long lists
    scene = random_scene(n, seed=11, sh_degree=1)
    viewmats, intrinsics = camera_ring(cameras)
    outcomes = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        inputs = {k: v.clone().requires_grad_() for k, v in scene.items()}
        image, alpha, meta = rasterization(*inputs.values(), viewmats, intrinsics, WIDTH, HEIGHT, sh_degree=1)
        meta["means2d"].retain_grad()
        ((image**2).sum() + alpha.sum()).backward()
        outcomes.append([image, alpha, meta["means2d"].grad, *(v.grad for v in inputs.values())])
    for other in outcomes[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outcomes[0], other, strict=True))


@pytest.mark.parametrize("packed", [True, False])
def test_meta(packed: bool) -> None:
    scene = {k: v.requires_grad_() for k, v in degenerate_scene().items()}
    n, cameras = 12, 2
    viewmats, intrinsics = camera_ring(cameras)
    image, alpha, meta = rasterization(*scene.values(), viewmats, intrinsics, WIDTH, HEIGHT, packed=packed)
    assert image.shape == (cameras, HEIGHT, WIDTH, 3)
    assert alpha.shape == (cameras, HEIGHT, WIDTH, 1)
    assert (meta["width"], meta["height"], meta["n_cameras"]) == (WIDTH, HEIGHT, cameras)
    assert not any(name.startswith("isect") for name in meta)
    assert meta["radii"].dtype == torch.int32
    if packed:
        rows = meta["camera_ids"].shape[0]
        assert rows < n * cameras
        assert meta["gaussian_ids"].shape == (rows,)
        order = meta["camera_ids"] * n + meta["gaussian_ids"]
        assert (order.diff() > 0).all()
        leading: tuple[int, ...] = (rows,)
        ids = (meta["camera_ids"], meta["gaussian_ids"])
    else:
        assert meta["camera_ids"] is None
        assert meta["gaussian_ids"] is None
        leading = (cameras, n)
        assert not meta["radii"][0, 0].any()  # behind the camera
        ids = torch.nonzero(meta["radii"][..., 0] > 0, as_tuple=True)
    for name, trailing in (("means2d", (2,)), ("radii", (2,)), ("depths", ()), ("conics", (3,)), ("opacities", ())):
        assert meta[name].shape == leading + trailing, name

    # Against the definition, in float64.
    view = viewmats.double()[ids[0]]
    points = (view[:, :3, :3] @ scene["means"].double()[ids[1]][..., None])[..., 0] + view[:, :3, 3]
    k = intrinsics.double()[ids[0]]
    centers = points[:, :2] / points[:, 2:] * torch.stack([k[:, 0, 0], k[:, 1, 1]], -1) + k[:, :2, 2]
    pick = (lambda t: t) if packed else (lambda t: t[ids])
    torch.testing.assert_close(pick(meta["depths"]).double(), points[:, 2], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pick(meta["means2d"]).double(), centers, rtol=1e-4, atol=1e-3)
    opacity = scene["opacities"].double()[ids[1]]
    torch.testing.assert_close(pick(meta["opacities"]).double(), opacity)
    a, b, c = pick(meta["conics"]).double().unbind(-1)
    reach = (2 * torch.log(255 * opacity)).sqrt().clamp_max(3.33)
    thin = scene["scales"].min(dim=1).values[ids[1]] < 1e-4  # the determinant of a needle's conic cancels
    for axis, entry in ((0, c), (1, a)):
        expected = torch.ceil(reach * (entry / (a * c - b * b)).sqrt())
        got = pick(meta["radii"])[:, axis].double()
        assert ((got - expected).abs()[~thin] <= 1).all()

    meta["means2d"].retain_grad()
    image.square().sum().backward()
    assert meta["means2d"].grad.shape == meta["means2d"].shape
    assert meta["means2d"].grad.any()


def test_gradients_through_meta() -> None:
    """A loss on depths, conics and means2d reaches the Gaussians, alone and together with the image."""
    scene = random_scene(20, seed=13)
    viewmats, intrinsics = camera_ring(1)
    inputs = {k: v.clone().requires_grad_() for k, v in scene.items()}
    _, _, meta = rasterization(*inputs.values(), viewmats, intrinsics, WIDTH, HEIGHT)
    (meta["depths"].sum() + meta["means2d"].square().sum() + meta["conics"].sum()).backward()
    exact = {k: v.double().clone().requires_grad_() for k, v in scene.items()}
    view, k = viewmats[0].double(), intrinsics[0].double()
    points = exact["means"] @ view[:3, :3].T + view[:3, 3]
    axes = view[:3, :3] @ rotation_matrices(exact["quats"]) * exact["scales"][:, None, :]
    conics = torch.linalg.inv(projected_covariances(points, axes @ axes.mT, k, WIDTH, HEIGHT, 0.3))
    centers = points[:, :2] / points[:, 2:] * torch.stack([k[0, 0], k[1, 1]]) + k[:2, 2]
    seen = meta["gaussian_ids"]
    loss = points[seen, 2].sum() + centers[seen].square().sum()
    loss = loss + (conics[seen, 0, 0] + conics[seen, 0, 1] + conics[seen, 1, 1]).sum()
    loss.backward()
    for name in ("means", "quats", "scales"):
        got, want = inputs[name].grad, exact[name].grad
        assert got is not None
        assert want is not None
        assert float((got.double() - want).norm()) < 1e-4 * float(want.norm()), name


def test_only_alpha_in_the_loss() -> None:
    inputs = {k: v.requires_grad_() for k, v in random_scene(5, seed=1).items()}
    viewmats, intrinsics = camera_ring(1)
    _, alpha, _ = rasterization(*inputs.values(), viewmats, intrinsics, WIDTH, HEIGHT)
    alpha.sum().backward()
    assert inputs["opacities"].grad is not None
    assert inputs["opacities"].grad.any()
    assert inputs["colors"].grad is not None
    assert not inputs["colors"].grad.any()


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in GEOMETRY for v in (math.nan, math.inf, -math.inf)])
@pytest.mark.parametrize("row", [0, 17, 39])
def test_refuses_what_is_not_finite(name: str, value: float, row: int) -> None:
    scene = random_scene(40, seed=1)
    scene[name].view(40, -1)[row, -1] = value
    if name == "colors":
        scene["means"][row] = 0.0  # colors are looked at where they are drawn
    with pytest.raises(ValueError, match=rf"{name}: row {row} is"):
        rasterization(*scene.values(), *camera_ring(1), WIDTH, HEIGHT)


def test_refuses_values_out_of_range() -> None:
    cases: list[tuple[str, Any, str]] = [
        ("quats", 0.0, "quats: row 3 is zero"),
        ("opacities", 1.5, r"opacities: row 3 is 1.5, expected a number in \[0, 1\]"),
        ("opacities", -0.1, "opacities: row 3 is -0.1"),
    ]
    for name, value, message in cases:
        scene = random_scene(5, seed=1)
        scene[name][3] = value
        with pytest.raises(ValueError, match=message):
            rasterization(*scene.values(), *camera_ring(1), WIDTH, HEIGHT)
    viewmats, intrinsics = camera_ring(1)
    with pytest.raises(ValueError, match="viewmats: camera 0 is not finite"):
        rasterization(*random_scene(1).values(), viewmats * math.nan, intrinsics, WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="Ks: camera 0"):
        rasterization(*random_scene(1).values(), viewmats, intrinsics * 0, WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="near_plane, far_plane"):
        rasterization(*random_scene(1).values(), viewmats, intrinsics, WIDTH, HEIGHT, near_plane=-1.0)


@pytest.mark.parametrize(
    ("argument", "wrong", "message"),
    [
        ("means", torch.zeros(4, 2), r"means: expected shape \[N, 3\], got \[4, 2\]"),
        ("quats", torch.zeros(4, 3), r"quats: expected shape \[4, 4\], got \[4, 3\]"),
        ("scales", torch.zeros(4), r"scales: expected shape \[4, 3\], got \[4\]"),
        ("opacities", torch.zeros(4, 1), r"opacities: expected shape \[4\]"),
        ("colors", torch.zeros(5, 3), r"colors: expected shape \[4, 3\]"),
        ("means", torch.zeros(4, 3, dtype=torch.float64), "means: expected float32, got torch.float64"),
        ("viewmats", torch.eye(4), r"viewmats: expected shape \[C, 4, 4\]"),
        ("Ks", torch.eye(3), r"Ks: expected shape \[1, 3, 3\]"),
        ("backgrounds", torch.zeros(3), r"backgrounds: expected shape \[1, 3\]"),
        ("width", -1, "width, height: expected 0 to"),
        ("tile_size", 0, "tile_size: expected a positive integer"),
    ],
)
def test_wrong_arguments_are_named(argument: str, wrong: Any, message: str) -> None:
    viewmats, intrinsics = camera_ring(1)
    call: dict[str, Any] = {**random_scene(4), "viewmats": viewmats, "Ks": intrinsics, "width": 8, "height": 8}
    call[argument] = wrong
    with pytest.raises(ValueError, match=message):
        rasterization(**call)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("render_mode", "RGB+D"),
        ("rasterize_mode", "antialiased"),
        ("absgrad", True),
        ("sparse_grad", True),
        ("radius_clip", 1.0),
        ("distributed", True),
        ("camera_model", "fisheye"),
        ("covars", torch.zeros(4, 3, 3)),
        ("with_ut", True),
        ("outputs", ("hits",)),
    ],
)
def test_what_is_not_supported_yet_is_named(argument: str, value: Any) -> None:
    with pytest.raises(NotImplementedError, match=argument):
        rasterization(*random_scene(4).values(), *camera_ring(1), WIDTH, HEIGHT, **{argument: value})


def test_unsupported_shapes_and_gradients_are_named() -> None:
    viewmats, intrinsics = camera_ring(1)
    scene = random_scene(4)
    with pytest.raises(NotImplementedError, match="5 channels"):
        rasterization(*{**scene, "colors": torch.rand(4, 5)}.values(), viewmats, intrinsics, 8, 8)
    with pytest.raises(NotImplementedError, match="viewmats"):
        rasterization(*scene.values(), viewmats.requires_grad_(), intrinsics, 8, 8)


def test_empty_images_and_no_cameras() -> None:
    scene = {k: v.requires_grad_() for k, v in random_scene(4).items()}
    viewmats, intrinsics = camera_ring(2)
    for width, height in ((0, 5), (5, 0), (0, 0)):
        image, alpha, _ = rasterization(*scene.values(), viewmats, intrinsics, width, height)
        assert image.shape == (2, height, width, 3)
        assert alpha.shape == (2, height, width, 1)
    image, _, meta = rasterization(*scene.values(), viewmats[:0], intrinsics[:0], 8, 8)
    assert image.shape == (0, 8, 8, 3)
    assert meta["n_cameras"] == 0
    image.sum().backward()


def test_all_culled_shows_the_background() -> None:
    scene = random_scene(4)
    scene["means"] += 100.0
    background = torch.tensor([[0.25, 0.5, 0.75]])
    image, alpha, meta = rasterization(*scene.values(), *camera_ring(1), WIDTH, HEIGHT, backgrounds=background)
    assert torch.equal(image, background.expand(1, HEIGHT, WIDTH, 3))
    assert not alpha.any()
    assert meta["gaussian_ids"].numel() == 0


def test_non_contiguous_inputs() -> None:
    scene = random_scene(30, seed=5)
    viewmats, intrinsics = camera_ring(1)
    plain, _, _ = rasterization(*scene.values(), viewmats, intrinsics, WIDTH, HEIGHT)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in scene.items()}
    assert not strided["means"].is_contiguous()
    image, _, _ = rasterization(*strided.values(), viewmats, intrinsics, WIDTH, HEIGHT)
    assert torch.equal(plain, image)


def test_overflowing_covariance_is_not_drawn() -> None:
    scene = random_scene(2, seed=5)
    scene["scales"][0] = 1e25
    image, _, meta = rasterization(*scene.values(), *camera_ring(1), WIDTH, HEIGHT)
    assert torch.isfinite(image).all()
    assert 0 not in meta["gaussian_ids"]


def test_wide_image() -> None:
    """More rows and columns of tiles than fit one batch of spans."""
    scene = random_scene(3, seed=5)
    scene["means"] *= 0.1
    scene["scales"][:] = torch.tensor([1.5, 1.2, 0.1])
    width, height = 24, 64 * 16 + 40
    viewmats, _ = camera_ring(1)
    intrinsics = torch.tensor([[[200.0, 0, width / 2], [0, 1500.0, height / 2], [0, 0, 1]]])
    image, _, _ = rasterization(*scene.values(), viewmats, intrinsics, width, height)
    exact, _, _ = reference_rasterization(
        *(v.double() for v in scene.values()), viewmats.double(), intrinsics.double(), width, height
    )
    assert float((image.double() - exact).abs().max()) < 2.5 / 255
    assert float(((image.double() - exact).abs() > 1e-4).double().mean()) < 1e-3


def test_no_memory_is_kept_from_call_to_call() -> None:
    scene = {k: v.requires_grad_() for k, v in random_scene(50).items()}
    viewmats, intrinsics = camera_ring(1)

    def step() -> None:
        image, _, meta = rasterization(*scene.values(), viewmats, intrinsics, WIDTH, HEIGHT)
        meta["means2d"].retain_grad()
        image.sum().backward()

    step()
    gc.collect()
    gc.disable()
    try:
        before = sum(issubclass(type(o), Tensor) for o in gc.get_objects())
        for _ in range(5):
            step()
        after = sum(issubclass(type(o), Tensor) for o in gc.get_objects())
    finally:
        gc.enable()
    assert after <= before + 2  # no reference cycle holds the buffers of a finished call
