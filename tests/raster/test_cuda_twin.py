"""What the CUDA backend does beyond what every backend's tests see: the lists of tiles, scenes of many batches, and
that nothing depends on the order in which threads and blocks run. With kernels run as loops on the host and, where
there is one, on a device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from gsbench import native, registry
from gsbench.native.cuda import CudaLibrary, cuda_library, cuda_library_path
from gsbench.native.cuda.raster import CudaRasterizer
from gsbench.native.cuda.raster import visible as visible_on_device
from gsbench.native.raster import Canvas, InputTensors, RasterSettings
from gsbench.native.raster import visible as visible_on_cpu
from gsbench.raster import OUTPUTS
from gsbench.raster.cuda import CudaBackend
from gsbench.testing.raster_case import HEIGHT, WIDTH, Case, Outcome, cameras, random_scene, run

NAME = "twin-under-test"
ALL_STATISTICS = ("hits", "weight", "opacity_transmittance", "max_weight", "dominant")


@dataclass(frozen=True)
class Device:
    """A library, and the name and device that draw with it."""

    library: CudaLibrary
    backend: str
    device: str

    def run(self, case: Case, **how: bool) -> Outcome:
        return run(case, self.backend, device=self.device, **how)


@pytest.fixture(params=["twin", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device on this machine")
        if cuda_library_path() is None:
            pytest.skip("gsbench was built without CUDA")
        yield Device(cuda_library(), "cuda", "cuda")
        return
    library = request.getfixturevalue("cuda_twin")
    registry.rasterizers.register(NAME, lambda: CudaBackend(library))
    yield Device(library, NAME, "cpu")
    registry.rasterizers.unregister(NAME)


@pytest.fixture
def avx2() -> Iterator[None]:
    """The CPU's code with the fused operations and the polynomial that the twin uses."""
    try:
        native.set_cpu_isa("avx2")
    except ValueError as error:
        pytest.skip(str(error))
    yield
    native.set_cpu_isa("auto")


def same(one: Outcome, other: Outcome) -> None:
    for part in ("images", "rows", "gradients"):
        ours, theirs = getattr(one, part), getattr(other, part)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), f"{part}: {name}"


def many(n: int = 3000, **how: int) -> Case:
    """So many Gaussians on so few tiles that every list has several batches."""
    scene = random_scene(n, seed=3, **how)
    scene["opacities"] = 0.2 * scene["opacities"]
    options = {"outputs": tuple(name for name in OUTPUTS if name != "sensitivity")}
    return Case({**scene, **cameras(2)}, {**options, **({"sh_degree": how["sh_degree"]} if "sh_degree" in how else {})})


@pytest.mark.parametrize("packed", [True, False])
def test_the_order_of_threads_does_not_show(device: Device, packed: bool) -> None:
    """Threads and blocks run forwards, then backwards (on a device: twice): the same bytes."""
    case = many(600, sh_degree=2)
    found = device.run(case, packed=packed, absgrad=True)
    twin = device.device == "cpu"
    try:
        if twin:
            device.library.call("gsb_cuda_set_emulation", 1, 0)
        again = device.run(case, packed=packed, absgrad=True)
    finally:
        if twin:
            device.library.call("gsb_cuda_set_emulation", 0, 0)
    same(found, again)


@pytest.mark.parametrize("channels", [3, 6])
def test_barriers_are_where_they_must_be(cuda_twin: CudaLibrary, channels: int) -> None:
    """Threads that see of others only what was written before the last barrier come to the same bytes."""
    registry.rasterizers.register(NAME, lambda: CudaBackend(cuda_twin))
    scene = random_scene(50, seed=2, channels=channels)
    case = Case({**scene, **cameras(1)}, {"outputs": tuple(name for name in OUTPUTS if name != "sensitivity")})
    try:
        found = run(case, NAME, absgrad=True)
        cuda_twin.call("gsb_cuda_set_emulation", 0, 1)
        same(found, run(case, NAME, absgrad=True))
    finally:
        cuda_twin.call("gsb_cuda_set_emulation", 0, 0)
        registry.rasterizers.unregister(NAME)


@pytest.mark.parametrize("channels", [3, 4, 21])
def test_many_batches_agree_with_the_cpu(device: Device, avx2: None, channels: int) -> None:
    """Lists of hundreds of entries. Projections are the same bits, and on the host so are images and whole numbers."""
    case = many(channels=channels)
    ours, theirs = device.run(case, absgrad=True), run(case, "cpu", absgrad=True)
    assert torch.equal(ours.visible, theirs.visible)
    for name in ("means2d", "radii", "depths", "conics", "opacities"):
        assert torch.equal(ours.rows[name], theirs.rows[name]), name
    flips = 0 if device.device == "cpu" else 8
    for name in ("colors", "alphas", "depth", "expected_depth", "normal"):
        differ = (ours.images[name] - theirs.images[name]).abs().amax(-1) > 1e-5 * max(
            1.0, theirs.images[name].abs().max()
        )
        assert int(differ.sum()) <= flips, name
    if device.device == "cpu":
        for name in ("colors", "alphas", "median_depth"):
            assert torch.equal(ours.images[name], theirs.images[name]), name
        for name in ("hits", "dominant", "max_weight"):
            assert torch.equal(ours.rows[name], theirs.rows[name]), name
    for part in ("rows", "gradients"):
        for name, value in getattr(theirs, part).items():
            error = float((getattr(ours, part)[name].double() - value.double()).norm())
            tolerance = 5e-4 if name == "fisher" else 2e-5  # sums of moments cancel for needles, on both sides
            assert error <= tolerance * float(value.double().norm()) + 1e-6, f"{name}: off by {error:.3g}"


def rasterizer_of(device: Device, n: int) -> tuple[CudaRasterizer, InputTensors, Tensor]:
    """After binning, with what it started from and the depths [C, N] as the CPU has them."""
    scene = random_scene(n, seed=9)
    scene["means"][n // 2 :] = scene["means"][: n - n // 2]  # ties of depth
    view = cameras(2)
    tensors = [scene["means"], scene["quats"], scene["scales"], None, scene["opacities"], scene["colors"]]
    inputs = InputTensors(
        *(None if t is None else t.to(device.device) for t in (*tensors, view["viewmats"], view["Ks"]))  # type: ignore[arg-type]
    )
    settings = RasterSettings(WIDTH, HEIGHT, 0.01, 1e10, 0.3, 0.0, False, None, False, 1)
    rasterizer = CudaRasterizer(inputs, settings, device.library)
    projected = rasterizer.project(inputs)
    rasterizer.blend(Canvas(None, None, None))
    return rasterizer, inputs, projected.depths.cpu().view(2, n)


def test_lists_of_tiles(device: Device) -> None:
    """Every tile's list is by depth, ties by index; it holds each Gaussian that reaches a pixel of it, once, and few
    others; and pairs of a Gaussian are numbered one after the other.
    """
    n = 400
    rasterizer, _, depths = rasterizer_of(device, n)
    kept = {name: tensor.cpu() for name, tensor in rasterizer._kept.items()}
    starts, entries = kept["tile_starts"].tolist(), kept["tile_entries"]
    records = kept["records"]
    across, down = math.ceil(WIDTH / 16), math.ceil(HEIGHT / 16)
    assert len(starts) == 2 * across * down + 1
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert starts[-1] == len(entries) == int(kept["tile_counts"].sum())
    listed, needed = 0, 0
    for tile in range(2 * across * down):
        camera, x0, y0 = tile // (across * down), tile % across * 16, tile // across % down * 16
        ids = entries[starts[tile] : starts[tile + 1], 0].tolist()
        assert len(set(ids)) == len(ids)
        assert all(i // n == camera for i in ids)
        keys = [(float(depths[camera, i % n]), i) for i in ids]
        assert keys == sorted(keys)
        ys, xs = torch.meshgrid(
            torch.arange(y0, min(y0 + 16, HEIGHT)) + 0.5, torch.arange(x0, min(x0 + 16, WIDTH)) + 0.5, indexing="ij"
        )
        reaching = set()
        for i in (camera * n + depths[camera].nonzero().flatten()).tolist():
            x, y, a, b, c, log2_opacity = records[i, :6].double().tolist()
            dx, dy = xs.double() - x, ys.double() - y
            exponent = log2_opacity + dx * (a * dx + b * dy) + c * dy * dy
            if bool((exponent >= math.log2(1 / 255) + 1e-4).any()):
                reaching.add(i)
        assert reaching <= set(ids), f"tile {tile}"
        listed, needed = listed + len(ids), needed + len(reaching)
    # Ellipses between the pixels' centers and at corners of the tile's rows are the difference.
    assert needed <= listed <= 1.15 * needed
    order, begins, counts = kept["order"].tolist(), kept["pair_begins"].tolist(), kept["tile_counts"].tolist()
    assert [depths.flatten()[i] for i in order] == sorted(depths.flatten()[i] for i in order)
    pair = 0
    for j, i in enumerate(order):
        assert begins[j] == pair
        pair += counts[i]
    pairs = entries[:, 1]
    assert torch.equal(pairs.sort().values, torch.arange(len(entries), dtype=torch.int32))
    owner = torch.repeat_interleave(torch.tensor(order), torch.tensor([counts[i] for i in order]))
    assert torch.equal(owner[pairs.long()].int(), entries[:, 0])


def test_visible(device: Device) -> None:
    scene, view = random_scene(500, seed=1), cameras(1)
    scene["means"][::3] *= 20
    settings = RasterSettings(WIDTH, HEIGHT, 0.01, 1e10, 0.3, 1.5, False, None, False, 1)
    tensors = [scene["means"], scene["quats"], scene["scales"], view["viewmats"][0], view["Ks"][0]]
    expected = visible_on_cpu(*tensors, settings)
    assert 0 < int(expected.sum()) < len(expected)
    found = visible_on_device(*(t.to(device.device) for t in tensors), settings, device.library)
    assert torch.equal(found.cpu(), expected)
    tensors[1][7] = 0.0
    with pytest.raises(ValueError, match="quats: row 7 is zero and cannot be normalized"):
        visible_on_device(*(t.to(device.device) for t in tensors), settings, device.library)


def test_nothing_to_draw(device: Device) -> None:
    for n, c in ((0, 1), (0, 0), (5, 0)):
        case = Case({**random_scene(n), **cameras(c)}, {"outputs": ALL_STATISTICS})
        found = device.run(case)
        assert found.images["colors"].shape == (c, HEIGHT, WIDTH, 3)
        assert not found.images["colors"].any()
        assert not any(g.any() for g in found.gradients.values())
