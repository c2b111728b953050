"""LPIPS against the original package's code, against NumPy in float64, and its weights against wrong files.

The networks' trained weights are hundreds of megabytes and not here: random ones stand in for them. The heads are the
real ones, which torchmetrics ships.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchmetrics.functional.image.lpips as torchmetrics_lpips
from torch import Tensor, nn

from gsbench.errors import FetchError
from gsbench.fetch import catalog as catalog_module
from gsbench.fetch import lpips_folder
from gsbench.fetch.catalog import PinnedFile, load_catalog
from gsbench.metrics import DEFAULT_METRICS, UndefinedMetricError, lpips_network, measure, unavailable
from gsbench.metrics import lpips as lpips_module
from gsbench.metrics.lpips import FILES, Kind, lpips_alex, lpips_vgg, lpips_vgg_raw
from gsbench.metrics.lpips_network import MIN_SIZE, LpipsNetwork, load_network

KINDS: list[Kind] = ["vgg", "alex"]
NAMES = ["lpips_vgg", "lpips_vgg_raw", "lpips_alex"]


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(2)


def layers(kind: Kind) -> nn.Sequential:
    """The layers of torchvision's vgg16().features and alexnet().features, as the papers and its pages have them.

    Weights are random, of the size that keeps activations alive through the depth.
    """
    torch.manual_seed(5)
    made: list[nn.Module] = []
    if kind == "vgg":
        inputs = 3
        for entry in [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]:
            if isinstance(entry, str):
                made.append(nn.MaxPool2d(kernel_size=2, stride=2))
            else:
                made += [nn.Conv2d(inputs, entry, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                inputs = entry
    else:
        made = [
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        ]  # fmt: skip
    for layer in made:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.05)  # type: ignore[arg-type]
    return nn.Sequential(*made)


def trunk(kind: Kind) -> dict[str, Tensor]:
    return {f"features.{name}": value for name, value in layers(kind).state_dict().items()}


def heads_file(kind: Kind) -> Path:
    return Path(torchmetrics_lpips.__file__).parent / "lpips_models" / f"{kind}.pth"


def heads(kind: Kind) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(heads_file(kind), map_location="cpu", weights_only=True)
    return loaded


@pytest.fixture(scope="module")
def networks() -> dict[Kind, LpipsNetwork]:
    return {kind: LpipsNetwork(kind, trunk(kind), heads(kind)) for kind in KINDS}


def pairs(count: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand((count, 3, height, width), generator=generator) * 2 - 1
    noise = torch.randn(first.shape, generator=generator)
    return first, (first + 0.3 * noise).clamp(-1, 1)


# ---- the original's code ----


@pytest.fixture
def torchvision_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's two networks for those who import them; torchvision itself need not be there."""
    models = types.ModuleType("torchvision.models")
    for name, kind in (("vgg16", "vgg"), ("alexnet", "alex")):

        def network(kind: Any = kind, **options: Any) -> Any:
            return types.SimpleNamespace(features=layers(kind))

        setattr(models, name, network)
    package = types.ModuleType("torchvision")
    package.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setattr(torchmetrics_lpips, "_TORCHVISION_AVAILABLE", True)


def compare(reference: nn.Module, network: LpipsNetwork, *, tolerance: float = 2e-6) -> None:
    for height, width in ((64, 80), (131, 97)):
        first, second = pairs(2, height, width)
        with torch.no_grad():
            expected = reference(first, second).flatten().double()
        values = network.distances(first, second)
        assert values.shape == (2,)
        assert float(values.min()) > 1e-4
        torch.testing.assert_close(values, expected, rtol=tolerance, atol=0)


@pytest.mark.usefixtures("torchvision_models")
@pytest.mark.parametrize("kind", KINDS)
def test_the_copy_in_torchmetrics_agrees(kind: Kind, networks: dict[Kind, LpipsNetwork]) -> None:
    compare(torchmetrics_lpips._LPIPS(pretrained=True, net=kind, pnet_rand=True), networks[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_the_original_package_agrees(
    kind: Kind, networks: dict[Kind, LpipsNetwork], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Where ``lpips`` is installed (pip install --no-deps lpips tqdm); it needs torchvision only for the networks."""
    if importlib.util.find_spec("lpips") is None or importlib.util.find_spec("tqdm") is None:
        pytest.skip("the package lpips is not installed")
    request.getfixturevalue("torchvision_models")
    original = importlib.import_module("lpips")
    compare(original.LPIPS(net=kind, pnet_rand=True, verbose=False), networks[kind])


# ---- NumPy ----

Array = npt.NDArray[np.float64]


def convolve(x: Array, weight: Array, bias: Array, stride: int, padding: int) -> Array:
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("chwij,ocij->ohw", windows, weight, optimize=True) + bias[:, None, None]


def pool(x: Array, size: int) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::2, ::2]
    result: Array = windows.max(axis=(3, 4))
    return result


def lpips_in_numpy(kind: Kind, first: Array, second: Array) -> float:
    """The definition, for images [3, H, W]."""
    network, weights = layers(kind), [w.numpy().astype(np.float64).ravel() for w in heads(kind).values()]
    taps = {"vgg": [3, 8, 15, 22, 29], "alex": [1, 4, 7, 9, 11]}[kind]
    shift = np.array([-0.030, -0.088, -0.188])[:, None, None]
    scale = np.array([0.458, 0.448, 0.450])[:, None, None]
    features: list[list[Array]] = []
    for image in (first, second):
        x, found = (image - shift) / scale, []
        for index, layer in enumerate(network[: taps[-1] + 1]):
            if isinstance(layer, nn.Conv2d):
                weight, bias = (p.detach().numpy().astype(np.float64) for p in (layer.weight, layer.bias))
                x = convolve(x, weight, bias, layer.stride[0], int(layer.padding[0]))
            elif isinstance(layer, nn.ReLU):
                x = np.maximum(x, 0.0)
            else:
                x = pool(x, int(layer.kernel_size))  # type: ignore[arg-type]
            if index in taps:
                found.append(x / (np.sqrt((x**2).sum(axis=0, keepdims=True)) + 1e-10))
        features.append(found)
    distances = [np.mean(np.einsum("chw,c->hw", (a - b) ** 2, w)) for a, b, w in zip(*features, weights, strict=True)]
    return float(np.sum(distances))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(40, 51), (33, 32)])
def test_numpy_agrees(kind: Kind, size: tuple[int, int], networks: dict[Kind, LpipsNetwork]) -> None:
    first, second = pairs(1, *size, seed=3)
    expected = lpips_in_numpy(kind, *(image[0].numpy().astype(np.float64) for image in (first, second)))
    assert networks[kind].distances(first, second).item() == pytest.approx(expected, rel=2e-6)


# ---- properties ----


@pytest.mark.parametrize("kind", KINDS)
def test_a_distance(kind: Kind, networks: dict[Kind, LpipsNetwork]) -> None:
    first, second = pairs(3, 48, 64)
    network = networks[kind]
    assert network.distances(first, first).tolist() == [0.0] * 3
    torch.testing.assert_close(network.distances(first, second), network.distances(second, first), rtol=1e-12, atol=0)
    more = (second - first) * 2 + first
    assert bool((network.distances(first, more) > network.distances(first, second)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_values_depend_neither_on_the_batch_nor_on_threads(kind: Kind, networks: dict[Kind, LpipsNetwork]) -> None:
    first, second = pairs(2, 70, 90)
    alone = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        alone.append([networks[kind].distances(a[None], b[None]).item() for a, b in zip(first, second, strict=True)])
    assert alone[0] == alone[1] == alone[2] == networks[kind].distances(first, second).tolist()


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (67, 33), (96, 35)])
def test_bands_do_not_show(
    size: tuple[int, int], networks: dict[Kind, LpipsNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen rows at a time, with every remainder, or all at once."""
    first, second = pairs(1, *size)
    whole = networks["vgg"].distances(first, second)
    monkeypatch.setattr(lpips_network, "_BAND_BYTES", 1)
    torch.testing.assert_close(networks["vgg"].distances(first, second), whole, rtol=1e-6, atol=0)


def test_wrong_images_and_weights(networks: dict[Kind, LpipsNetwork]) -> None:
    first, second = pairs(1, 40, 40)
    for arguments, message in [
        ((first[0], second[0]), r"first: expected torch.float32 \[B, 3, H, W\], got torch.float32 \[3, 40, 40\]"),
        ((first, second.double()), "second: expected torch.float32"),
        ((first, second[:, :, 1:]), r"second: expected shape \[1, 3, 40, 40\], got \[1, 3, 39, 40\]"),
        ((first[..., :15], second[..., :15]), r"at least 16 pixels, got \[40, 15\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            networks["vgg"].distances(*arguments)
    good, lin = trunk("alex"), heads("alex")
    for state, other, message in [
        ({}, lin, r"features.0.weight: expected torch.float32 \[64, 3, 11, 11\], found nothing"),
        ({**good, "features.3.bias": torch.zeros(5)}, lin, r"features.3.bias: expected torch.float32 \[192\], found"),
        ({**good, "features.0.bias": torch.full((64,), np.nan)}, lin, "features.0.bias: expected finite weights"),
        (good, {**lin, "lin2.model.1.weight": -lin["lin2.model.1.weight"]}, "lin2.*expected nonnegative weights"),
    ]:
        with pytest.raises(ValueError, match=message):
            LpipsNetwork("alex", state, other)


# ---- the metrics ----


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, PinnedFile]]:
    """Files of random weights, and what pins them. Not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    for kind in KINDS:
        # The classifier is in torchvision's files, too.
        torch.save({**trunk(kind), "classifier.0.weight": torch.ones(3, 3)}, folder / FILES[kind][0])
        (folder / FILES[kind][1]).write_bytes(heads_file(kind).read_bytes())
    return folder, {name: pin(folder / name) for kind in KINDS for name in FILES[kind]}


@pytest.fixture
def weights(
    made: tuple[Path, dict[str, PinnedFile]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with weights that the catalog pins."""
    monkeypatch.setenv("GSBENCH_WEIGHTS", str(tmp_path))
    folder, pins = made
    lpips_folder().mkdir(parents=True)
    for name in pins:
        (lpips_folder() / name).hardlink_to(folder / name)
    pin_files(monkeypatch, pins)
    lpips_module._network.cache_clear()
    yield lpips_folder()
    lpips_module._network.cache_clear()


def rewrite(path: Path, content: bytes) -> None:
    """Give a file other contents, and leave its other name alone."""
    path.unlink()
    path.write_bytes(content)


def pin(path: Path) -> PinnedFile:
    content = path.read_bytes()
    return PinnedFile(path.name, (), len(content), hashlib.sha256(content).hexdigest())


def pin_files(monkeypatch: pytest.MonkeyPatch, pins: Mapping[str, PinnedFile]) -> None:
    shipped = load_catalog()
    made = replace(shipped, lpips=replace(shipped.lpips, files=pins))
    monkeypatch.setattr(catalog_module, "load_catalog", lambda: made)


def images(height: int = 35, width: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return truth.float() / 255 + 0.1 * torch.randn(truth.shape, generator=generator), truth


@pytest.mark.usefixtures("weights")
def test_the_conventions(networks: dict[Kind, LpipsNetwork]) -> None:
    render, truth = images()
    eight_bit = torch.from_numpy(np.rint(np.clip(render.numpy(), 0, 1) * np.float32(255)).astype(np.uint8))
    x, y = ((t.double() / 255).permute(2, 0, 1)[None].float() for t in (eight_bit, truth))
    expected = {
        "lpips_vgg": networks["vgg"].distances(2 * x - 1, 2 * y - 1),
        "lpips_vgg_raw": networks["vgg"].distances(x, y),
        "lpips_alex": networks["alex"].distances(2 * x - 1, 2 * y - 1),
    }
    for name, value in expected.items():
        assert unavailable(name) is None
        measured, reason = measure(name, render, truth)
        assert reason is None
        assert measured == pytest.approx(value.item(), rel=1e-6)
    assert expected["lpips_vgg"].item() != pytest.approx(expected["lpips_vgg_raw"].item(), rel=0.05)


@pytest.mark.usefixtures("weights")
def test_the_render_is_clamped_and_rounded() -> None:
    render, truth = images()
    saved = (render.clamp(0, 1) * 255).round()
    for metric in (lpips_vgg, lpips_vgg_raw, lpips_alex):
        value = metric(render, truth)
        assert metric(saved / 255, truth) == value
        assert metric((saved + 0.3) / 255, truth) == value
        assert metric(truth.float() / 255, truth) == 0.0


@pytest.mark.usefixtures("weights")
def test_small_images_have_a_reason() -> None:
    render, truth = images(MIN_SIZE["alex"] - 1, 64)
    assert measure("lpips_alex", render, truth) == (
        None,
        "images smaller than 31 pixels have no LPIPS with this network",
    )
    assert measure("lpips_vgg", render, truth)[0] is not None
    with pytest.raises(UndefinedMetricError, match="smaller than 16 pixels"):
        lpips_vgg(render[:15], truth[:15])
    render, truth = images(MIN_SIZE["alex"], MIN_SIZE["alex"])
    assert measure("lpips_alex", render, truth)[0] is not None


@pytest.mark.usefixtures("weights")
def test_wrong_images_are_named() -> None:
    render, truth = images()
    for name in NAMES:
        with pytest.raises(ValueError, match=r"render: expected torch\.float32"):
            measure(name, render.double(), truth)


# ---- the weights ----


def test_without_weights_there_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSBENCH_WEIGHTS", str(tmp_path))
    render, truth = images()
    for name in NAMES:
        assert name in DEFAULT_METRICS
        assert measure(name, render, truth) == (None, "no LPIPS weights: run `gsbench fetch lpips`")


@pytest.mark.parametrize("file", [FILES["vgg"][0], FILES["vgg"][1]])
def test_a_changed_file_is_not_read(weights: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit is enough, and the other network goes on working."""
    content = bytearray((weights / file).read_bytes())
    content[len(content) // 2] ^= 1
    rewrite(weights / file, bytes(content))
    render, truth = images()
    assert measure("lpips_alex", render, truth)[0] is not None
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("read a file that is not as pinned"))
    value, reason = measure("lpips_vgg", render, truth)
    assert value is None
    assert reason is not None
    assert f"{file}: expected SHA-256" in reason
    assert reason.endswith("run `gsbench fetch lpips`")
    if file == FILES["vgg"][0]:
        with pytest.raises(FetchError, match="expected SHA-256"):
            lpips_vgg(render, truth)


def test_a_file_of_another_length_is_not_even_hashed(weights: Path) -> None:
    rewrite(weights / FILES["alex"][1], b"short")
    assert "expected 6,009 bytes, found 5" in str(unavailable("lpips_alex"))
    assert unavailable("lpips_vgg") is None


def test_a_pickle_that_does_something_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it were the pinned file."""

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (weights / "evil",))

    path = weights / FILES["vgg"][1]
    rewrite(path, pickle.dumps(Evil(), protocol=2))
    with pytest.raises(pickle.UnpicklingError):
        load_network("vgg", weights, {FILES["vgg"][0]: pin(weights / FILES["vgg"][0]), path.name: pin(path)})
    assert not (weights / "evil").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_heads_are_pinned_to_the_real_ones(kind: Kind) -> None:
    assert pin(heads_file(kind)) == replace(load_catalog().lpips.files[FILES[kind][1]], urls=(), name=f"{kind}.pth")


def test_the_names_of_torchvision_files_hold_the_beginnings_of_their_hashes() -> None:
    for kind in KINDS:
        pinned = load_catalog().lpips.files[FILES[kind][0]]
        assert pinned.name.endswith(f"-{pinned.sha256[:8]}.pth")


def test_the_files_hold_the_whole_networks() -> None:
    """Their lengths are those of all parameters of the published networks, and a few kilobytes around them."""
    for name, parameters in ((FILES["vgg"][0], 138_357_544), (FILES["alex"][0], 61_100_840)):
        assert 0 < load_catalog().lpips.files[name].bytes - 4 * parameters < 8_000


@pytest.mark.slow
def test_memory_at_the_size_of_benchmarks(networks: dict[Kind, LpipsNetwork], tmp_path: Path) -> None:
    """A pair of 1600 x 1060 pixels takes less than a gigabyte, where VGG's first layer alone has 870 MB."""
    import subprocess

    code = (
        "import resource, sys, torch\n"
        "from gsbench.metrics.lpips_network import STAGES, LpipsNetwork\n"
        "convolutions = [c for stage in STAGES['vgg'] for c in stage.convolutions]\n"
        "trunk = {f'features.{c.index}.weight': torch.randn(c.outputs, c.inputs, 3, 3) / 50 for c in convolutions}\n"
        "trunk |= {f'features.{c.index}.bias': torch.zeros(c.outputs) for c in convolutions}\n"
        "heads = {f'lin{i}.model.1.weight': torch.ones(1, s.convolutions[-1].outputs, 1, 1)\n"
        "         for i, s in enumerate(STAGES['vgg'])}\n"
        "network, images = LpipsNetwork('vgg', trunk, heads), torch.rand(2, 1, 3, 1060, 1600)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "network.distances(*images)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert float(done.stdout) < 1000
