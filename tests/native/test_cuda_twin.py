"""The CUDA library's functions, run as loops on the host (its twin) and, where there is one, on a device: against those
of the CPU, to the same bits where both compute the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from gsbench import native
from gsbench.coding._tables import gaussian_rows
from gsbench.coding.intnet import IntegerLayer, IntegerNetwork
from gsbench.native import contexts as host
from gsbench.native.anchors import AnchorInputs, anchor_gaussians, anchor_gradients
from gsbench.native.cuda import CudaLibrary, contexts, cuda_library, cuda_library_path, hashgrid, training
from gsbench.native.hashgrid import hashgrid_backward, hashgrid_forward
from gsbench.training.hashgrid import HashLayout

LAYOUT = HashLayout(space=(2, 6, 20), planes=(5, 130), space_entries=512, plane_entries=1000)
EXTENT = (900, 35, 100_000)


@dataclass(frozen=True)
class Device:
    """A library, and where its tensors are."""

    library: CudaLibrary

    def put(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.library.device_type)


@pytest.fixture(params=["twin", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Device:
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device on this machine")
        if cuda_library_path() is None:
            pytest.skip("gsbench was built without CUDA")
        return Device(cuda_library())
    return Device(request.getfixturevalue("cuda_twin"))


@pytest.fixture
def fused() -> Iterator[None]:
    """The CPU's code with fused operations and the polynomial 2^x of csrc/math; AVX-512 has instructions of its own."""
    try:
        native.set_cpu_isa("avx2")
    except ValueError as error:
        pytest.skip(str(error))
    yield
    native.set_cpu_isa("auto")


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def in_both_orders(device: Device, compute: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The results, which do not depend on the order in which threads and blocks run, nor on what a thread may see of
    others before a barrier; on a device, the same twice.
    """
    found = compute()
    twin = device.library.device_type == "cpu"
    for reverse, checked in ((1, 0), (0, 1)) if twin else ((0, 0),):
        try:
            if twin:
                device.library.call("gsb_cuda_set_emulation", reverse, checked)
            again = compute()
        finally:
            if twin:
                device.library.call("gsb_cuda_set_emulation", 0, 0)
        for one, other in zip(found, again, strict=True):
            assert torch.equal(one, other)
    return tuple(t.cpu() for t in found)


def test_image_loss(device: Device, fused: None) -> None:
    for height, width in ((1, 1), (5, 40), (33, 50), (16, 16)):
        image, target = 1.2 * rand(height, width, 3) - 0.1, rand(height, width, 3, seed=1)
        image[0, 0] = target[0, 0]

        def compute(image: Tensor = image, target: Tensor = target) -> tuple[Tensor, ...]:
            means, gradient = training.image_loss(
                device.put(image),
                device.put(target),
                l1_weight=0.8,
                ssim_weight=-0.2,
                gradient=True,
                library=device.library,
            )
            assert gradient is not None
            return means, gradient

        means, gradient = in_both_orders(device, compute)
        expected = native.image_loss(image, target, l1_weight=0.8, ssim_weight=-0.2, gradient=True)
        assert means.tolist() == pytest.approx([expected.l1, expected.ssim], rel=1e-6)
        assert expected.gradient is not None
        assert torch.equal(gradient, expected.gradient), f"{height} x {width}"
        alone, none = training.image_loss(device.put(image), device.put(target), library=device.library)
        assert none is None
        assert torch.equal(alone.cpu(), means)


def test_adam(device: Device) -> None:
    values = [randn(7, 333, seed=seed) for seed in range(4)]
    values[3].abs_()
    ours, theirs = [device.put(v.clone()) for v in values], [v.clone() for v in values]
    for step in (1, 2, 1000):
        how = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-15, "step": step}
        training.adam_step(native.AdamUpdate(*ours, **how), library=device.library)  # type: ignore[arg-type]
        native.adam_step(*theirs, **how)  # type: ignore[arg-type]
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.cpu(), other)
    wrong = native.AdamUpdate(*ours, lr=1, betas=(0.9, 0.9), eps=0, step=0)
    with pytest.raises(ValueError, match="step: expected at least 1, got 0"):
        training.adam_step(wrong, library=device.library)


CLOUDS = {
    "uniform": rand(3000, 3),
    "uneven": randn(3000, 3) * rand(3000, 1) ** 6 * 100,
    "flat": rand(500, 3) * torch.tensor([1.0, 1.0, 0.0]),
    "outliers": torch.cat([rand(500, 3), torch.tensor([[1e30, 0.0, 0.0], [-1e38, 1e38, 1e38]])]),
    "pairs": rand(300, 3).repeat(2, 1),
    "equal": torch.ones(100, 3),
    "few": rand(9, 3),
    "two": rand(2, 3),
    "one": rand(1, 3),
    "none": rand(0, 3),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_neighbors(device: Device, name: str) -> None:
    points = CLOUDS[name]
    for k in (1, 3, 8):

        def compute(k: int = k) -> tuple[Tensor, ...]:
            return (training.knn_mean_distance(device.put(points), k, library=device.library),)

        (found,) = in_both_orders(device, compute)
        assert torch.equal(found, native.knn_mean_distance(points, k)), f"{k} neighbors"


def test_neighbors_refuse(device: Device) -> None:
    points = rand(10, 3)
    with pytest.raises(ValueError, match="k: expected 1 to 8, got 9"):
        training.knn_mean_distance(device.put(points), 9, library=device.library)
    points[4, 1] = torch.inf
    with pytest.raises(ValueError, match="points: expected finite coordinates, got inf in row 4"):
        training.knn_mean_distance(device.put(points), 3, library=device.library)


@pytest.mark.parametrize("binary", [True, False])
def test_hash_grid(device: Device, binary: bool) -> None:
    levels = LAYOUT.levels()
    generator = torch.Generator().manual_seed(3)
    points = torch.stack([torch.randint(-5, e + 5, (400,), generator=generator) for e in EXTENT], 1).int()
    table = 1.5 * randn(int(levels[:, 3].sum()), 4)
    grad = randn(400, 4 * len(levels), seed=2)

    def compute() -> tuple[Tensor, ...]:
        common = device.put(points), EXTENT, levels, device.put(table)
        features, positive = hashgrid.hashgrid_forward(*common, binary=binary, library=device.library)
        gradient = hashgrid.hashgrid_backward(
            *common, device.put(grad), grad_signs=0.25, binary=binary, library=device.library
        )
        return features, positive, gradient

    features, positive, gradient = in_both_orders(device, compute)
    expected, number = hashgrid_forward(points, EXTENT, levels, table, binary=binary)
    assert torch.equal(features, expected)
    assert int(positive) == number
    assert torch.equal(gradient, hashgrid_backward(points, EXTENT, levels, table, grad, grad_signs=0.25, binary=binary))


def test_hash_grid_refuses(device: Device) -> None:
    levels = LAYOUT.levels()
    levels[0, 0] = 1
    points, table = device.put(torch.zeros(1, 3, dtype=torch.int32)), device.put(torch.zeros(100, 4))
    with pytest.raises(ValueError, match="levels: row 0: expected a resolution"):
        hashgrid.hashgrid_forward(points, EXTENT, levels, table, binary=True, library=device.library)


@pytest.mark.parametrize("masked", [True, False])
def test_anchors(device: Device, fused: None, masked: bool) -> None:
    n, k = 37, 5
    inputs = {
        "positions": randn(n, 3),
        "offsets": randn(n, k, 3, seed=1),
        "scales": rand(n, 6, seed=2),
        "opacities": randn(n, k, seed=3),
        "shapes": 3 * randn(n, k, 7, seed=4),
        "colors": 20 * randn(n, k, 3, seed=5),
        "masks": (rand(n, k, seed=6) > 0.3).float() if masked else None,
    }
    expected = anchor_gaussians(AnchorInputs(**inputs))
    m = len(expected.rows)
    outer = [randn(m, width, seed=7 + width) for width in (3, 3, 4, 1, 3)]
    outer[3] = outer[3].squeeze(1)
    names = ("means", "scales", "quats", "opacities", "colors", "rows", "starts", "dense_opacities")
    put = AnchorInputs(**{name: None if t is None else device.put(t) for name, t in inputs.items()})

    def compute() -> tuple[Tensor, ...]:
        found = anchor_gaussians(put, library=device.library)
        grads = anchor_gradients(put, found.rows, found.starts, *(device.put(g) for g in outer), library=device.library)
        return tuple(getattr(found, name) for name in names) + tuple(g for g in vars(grads).values() if g is not None)

    found = in_both_orders(device, compute)
    grads = anchor_gradients(AnchorInputs(**inputs), expected.rows, expected.starts, *outer)
    theirs = [getattr(expected, name) for name in names] + [g for g in vars(grads).values() if g is not None]
    assert len(found) == len(theirs)
    for one, other in zip(found, theirs, strict=True):
        assert torch.equal(one, other)


def network(seed: int) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    widths, layers = (7, 33, 10, 5), []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        last = i == len(widths) - 2
        layers.append(
            IntegerLayer(
                weights=rng.integers(-500, 501, (outputs, inputs)).astype(np.int16),
                bias=rng.integers(-10_000, 10_001, outputs).astype(np.int32),
                shift=rng.integers(0, 12, outputs).astype(np.uint8),
                activation="none" if last else ("relu", "leaky")[i % 2],
                leak=0 if last or i % 2 == 0 else 3,
                limit=0 if last else 3000,
            )
        )
    return IntegerNetwork(tuple(layers), 1000)


def test_integer_networks(device: Device) -> None:
    net = network(1)
    inputs = np.random.default_rng(2).integers(-1000, 1001, (61, 7)).astype(np.int16)
    kind = torch.device(device.library.device_type)
    layers = [contexts.DeviceLayer.of(layer, kind) for layer in net._packed]
    padded = device.put(torch.from_numpy(np.pad(inputs, ((0, 0), (0, 1)))))
    (found,) = in_both_orders(device, lambda: (contexts.run_network(layers, padded, device.library),))
    assert np.array_equal(found.numpy(), net.forward(inputs))


@pytest.mark.parametrize("bits", [0, 5, 14])
def test_sign_grids(device: Device, bits: int) -> None:
    levels = LAYOUT.levels()
    rng = np.random.default_rng(4)
    points = np.stack([rng.integers(-5, e + 5, 300) for e in EXTENT], 1).astype(np.int32)
    rows = int(levels[:, 3].sum())
    signs = rng.integers(0, 16, rows).astype(np.uint8)

    def compute() -> tuple[Tensor, ...]:
        on_device = device.put(torch.from_numpy(points))
        features = contexts.sign_grid_features(
            on_device, EXTENT, levels, device.put(torch.from_numpy(signs)), bits, device.library
        )
        return features, contexts.sign_grid_touched(on_device, EXTENT, levels, rows, device.library)

    features, touched = in_both_orders(device, compute)
    assert np.array_equal(
        features.numpy(), host.sign_grid_features(points, EXTENT, levels.numpy(), signs, bits, threads=1)
    )
    assert np.array_equal(touched.numpy(), host.sign_grid_touched(points, EXTENT, levels.numpy(), rows, threads=1))


def test_gaussian_intervals(device: Device) -> None:
    """Against the tables as Python reads them."""
    rng = np.random.default_rng(5)
    count = 3000
    scales = rng.integers(0, 128, count).astype(np.uint8)
    means = rng.integers(-(2**20), 2**20, count).astype(np.int32)
    spread = np.exp2(scales / 8.0 - 5.0)
    symbols = np.round(means / 64 + 3 * spread * rng.standard_normal(count)).astype(np.int32)
    rows = gaussian_rows()
    starts, offsets, sizes = rows.native._held
    tables = contexts.DeviceTables(*(device.put(torch.from_numpy(a)) for a in (starts, offsets, sizes)))
    arguments = [device.put(torch.from_numpy(a)) for a in (symbols, means, scales)]
    found = contexts.GaussianIntervals(
        *in_both_orders(device, lambda: tuple(contexts.gaussian_intervals(*arguments, tables, device.library)))
    )
    escapes = 0
    for i in range(count):
        scale, center, shift = int(scales[i]), int(means[i]), 0
        if scale >= 72:
            shift = (scale - 64) // 8
            center = (center - 32 * (2**shift - 1) + 2**shift // 2) >> shift
            scale = 64 + scale % 8
        table, reach = rows.tables[scale][center & 63], int(rows.reaches[scale])
        place = (int(symbols[i]) >> shift) - ((center >> 6) - reach)
        inside = 0 <= place < len(table) - 2
        column = place if inside else len(table) - 2
        escapes += not inside
        assert int(found.starts[i]) == int(table[column])
        assert int(found.frequencies[i]) == int(table[column + 1]) - int(table[column])
        assert int(found.shifts[i]) == shift
        beyond = place - (len(table) - 2)
        assert int(found.distances[i]) == (-(2**63) if inside else beyond if beyond >= 0 else place)
    assert escapes > 0
