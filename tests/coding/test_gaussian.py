"""Conditional Gaussians: the committed tables, the streams, and the estimate of their rate."""

from __future__ import annotations

import contextlib
import importlib.util
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsbench.coding import TOTAL, EntropyCoder, _tables
from gsbench.coding.gaussian import (
    SCALES,
    decode_gaussian,
    encode_gaussian,
    gaussian_bits,
    get_gaussian,
    put_gaussian,
    table_bits,
)
from gsbench.coding.range import RangeCoder
from gsbench.errors import ArtifactError, NativeError
from gsbench.native import cpu_isa, set_cpu_isa

Case = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(count: int, sigma: Any, seed: int = 0, spread: float = 3.0) -> Case:
    """Integers from Gaussians, with means and scales as the coder has them."""
    random = np.random.default_rng(seed)
    scale = np.broadcast_to(np.clip(np.rint(8 * (np.log2(sigma) + 5)), 0, 127), count).astype(np.uint8)
    mean = random.normal(size=count) * spread
    symbols = np.rint(mean + 2.0 ** (scale / 8 - 5) * random.normal(size=count)).astype(np.int32)
    return symbols, np.rint(mean * 64).astype(np.int32), scale


def mixed(count: int, seed: int = 0) -> Case:
    """All scales, and values far outside."""
    random = np.random.default_rng(seed)
    symbols, mean, scale = draw(count, 2.0 ** random.uniform(-5, 11, count), seed)
    far = random.random(count) < 0.05
    symbols[far] += (random.normal(size=far.sum()) * 10 ** random.uniform(0, 6, far.sum())).astype(np.int32)
    return symbols, mean, scale


@pytest.fixture(scope="module")
def generator(repository: Path) -> Any:
    """The script that wrote the tables."""
    path = repository / "gsbench" / "coding" / "data" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- The tables


@pytest.mark.parametrize("scale", [0, 17, 40, 71])
def test_tables_come_from_their_script(generator: Any, scale: int) -> None:
    table = _tables.gaussian_rows().tables[scale]
    for fraction in (0, 1, 20, 32):
        assert np.diff(table[fraction].astype(int)).tolist() == generator.gaussian_row(scale, fraction)


@pytest.mark.slow
def test_all_tables_come_from_their_script(generator: Any) -> None:
    assert generator.gaussian_table() == _tables.load("gaussian.bin")


def test_the_table_of_steps_comes_from_its_script(generator: Any) -> None:
    assert generator.step_table() == _tables.load("steps.bin")


def test_tables_agree_with_scipy() -> None:
    """Every frequency is its bin's mass in float64, to one count, apart from the least frequency, 1."""
    rows = _tables.gaussian_rows()
    for scale, (table, reach) in enumerate(zip(rows.tables, rows.reaches.tolist(), strict=True)):
        edges = np.arange(-reach, reach + 3) - 0.5 - np.arange(64)[:, None] / 64
        masses = np.diff(scipy.stats.norm.cdf(edges, scale=2.0 ** (scale / 8 - 5)), axis=1)
        frequencies = np.diff(table.astype(np.int64), axis=1)
        assert (frequencies >= 1).all()
        assert (frequencies.sum(axis=1) == TOTAL).all()
        room = TOTAL - frequencies.shape[1]
        error = frequencies[:, :-1] - masses * room
        assert np.abs(error - np.where(masses * room < 1, 1, 0)).max() < 40, "what the least frequency takes or leaves"
        relative = np.abs(frequencies[:, :-1] / TOTAL - masses) / np.maximum(masses, 1 / TOTAL)
        assert relative[masses > 0.01].max() < 3e-3


def test_tables_are_mirror_images() -> None:
    for table in _tables.gaussian_rows().tables:
        frequencies = np.diff(table.astype(int), axis=1)
        for fraction in range(33, 64):
            assert (frequencies[fraction, :-1] == frequencies[64 - fraction, -2::-1]).all()
            assert frequencies[fraction, -1] == frequencies[64 - fraction, -1]


def test_a_changed_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_tables.DIGESTS, "gaussian.bin", "0" * 64)
    with pytest.raises(NativeError, match=r"the table gaussian\.bin of gsbench\.coding is damaged"):
        _tables.load("gaussian.bin")


# ---- Streams


@pytest.mark.parametrize("count", [0, 1, 2, 10, 5000])
def test_every_coder_gives_back_what_was_put(coder: EntropyCoder, count: int) -> None:
    case = mixed(count)
    data = encode_gaussian(*case, coder)
    assert decode_gaussian(data, *case[1:], coder).tolist() == case[0].tolist()


@pytest.mark.parametrize("sigma", [0.03, 0.3, 2.0, 15.0, 40.0, 1500.0])
def test_bytes_are_what_the_tables_say(coder: EntropyCoder, sigma: float) -> None:
    case = draw(20_000, sigma)
    cost = table_bits(*case).sum() / 8
    frame = 8 if isinstance(coder, RangeCoder) else 48  # of torchac's streams, one for every put
    assert abs(len(encode_gaussian(*case, coder)) - cost) <= 0.0005 * cost + frame


def test_extremes() -> None:
    low, high = -(2**31), 2**31 - 1
    values = np.array([low, -1, 0, 1, high], np.int64)
    symbols, means, scales = (a.reshape(-1) for a in np.meshgrid(values, values, np.arange(SCALES)))
    case = symbols.astype(np.int32), means.astype(np.int32), scales.astype(np.uint8)
    data = encode_gaussian(*case)
    assert (decode_gaussian(data, *case[1:]) == case[0]).all()
    assert abs(len(data) - table_bits(*case).sum() / 8) <= 4


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(-9, 9), st.integers(-(2**31), 2**31 - 1)),
            st.one_of(st.integers(-99, 99), st.integers(-(2**31), 2**31 - 1)),
            st.integers(0, SCALES - 1),
        ),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_round_trips(rows: list[tuple[int, int, int]], split: int) -> None:
    symbols, means, scales = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    case = np.array(symbols, np.int32), np.array(means, np.int32), np.array(scales, np.uint8)
    encoder = RangeCoder().encoder()
    put_gaussian(encoder, *(a[:split] for a in case))
    put_gaussian(encoder, *(a[split:] for a in case))
    data = encoder.finish()
    assert data == encode_gaussian(*case)
    assert decode_gaussian(data, *case[1:]).tolist() == symbols


def test_gaussians_and_tables_share_a_stream(message: Callable[..., Any]) -> None:
    """Calls of all kinds alternate."""
    case, other = mixed(300), message(300)
    encoder = RangeCoder().encoder()
    for part in np.array_split(np.arange(300), 4):
        put_gaussian(encoder, *(a[part] for a in case))
        encoder.put(other[0][part], other[1], other[2][part])
    decoder = RangeCoder().decoder(encoder.finish())
    for part in np.array_split(np.arange(300), 4):
        assert (get_gaussian(decoder, *(a[part] for a in case[1:])) == case[0][part]).all()
        assert (decoder.get(other[1], other[2][part]) == other[0][part]).all()
    decoder.finish()


def test_golden_stream(repository: Path) -> None:
    """Committed bytes: every scale and fraction of the mean, values near and far, without a random generator."""
    steps = np.arange(2000, dtype=np.int64)
    scales = (steps * 37 % 128).astype(np.uint8)
    means = (steps * 7919 % 4001 - 2000).astype(np.int32)
    wander = (steps * steps % 1009 - 504) * (1 << (scales // 8).astype(np.int64)) // 7000
    symbols = (means // 64 + wander + np.where(steps % 97 == 0, steps - 1000, 0)).astype(np.int32)
    golden = (repository / "tests" / "golden" / "coding_gaussian.bin").read_bytes()
    assert encode_gaussian(symbols, means, scales) == golden
    assert (decode_gaussian(golden, means, scales) == symbols).all()


def test_damage(damages: Callable[..., int]) -> None:
    run_damages(RangeCoder(), mixed(60), damages, 300)


@pytest.mark.slow
def test_damage_thoroughly(coder: EntropyCoder, damages: Callable[..., int]) -> None:
    run_damages(coder, mixed(800 if isinstance(coder, RangeCoder) else 60), damages, 10_000)


def run_damages(coder: EntropyCoder, case: Case, damages: Callable[..., int], count: int) -> None:
    data = encode_gaussian(*case, coder)

    def well_formed(result: Any) -> bool:
        return bool(result.dtype == np.int32 and result.shape == case[0].shape)

    raised = damages(data, lambda changed: decode_gaussian(changed, *case[1:], coder), well_formed, count)
    assert raised > 0


def test_endless_escapes_are_refused() -> None:
    """Ones for ever: an escaped symbol with a length beyond all bounds."""
    with pytest.raises(ArtifactError, match="damaged"):
        decode_gaussian(b"\xff\xff" + b"\xff" * 40, np.zeros(1, np.int32), np.zeros(1, np.uint8))


@pytest.mark.parametrize("name", ["range", "constriction"])
@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (0, np.zeros(2, np.int32), "expected"),
        (0, np.zeros(3, np.int64), "symbols: expected int32"),
        (1, np.zeros(3, np.float32), "mean64: expected int32"),
        (2, np.zeros(3, np.int32), "scale_index: expected uint8"),
        (2, np.full(3, 128, np.uint8), "scale_index: expected 0 to 127, got 128"),
    ],
)
def test_wrong_arguments(name: str, place: int, value: np.ndarray, problem: str) -> None:
    if name == "constriction":
        pytest.importorskip("constriction")
        from gsbench.coding.constriction import ConstrictionCoder as Coder
    else:
        Coder = RangeCoder  # type: ignore[misc]
    arguments = [np.zeros(3, np.int32), np.zeros(3, np.int32), np.zeros(3, np.uint8)]
    arguments[place] = value
    with pytest.raises(ValueError, match=problem):
        encode_gaussian(*arguments, Coder())
    if place:
        with pytest.raises(ValueError, match=problem if place == 2 or name != "range" else "expected"):
            decode_gaussian(bytes(8), *arguments[1:], Coder())


# ---- The rate


def bits_of(values: list[float]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    arguments = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
    return gaussian_bits(*arguments), arguments


def exact_bits(x: Any, mean: Any, scale: Any, step: Any) -> Any:
    """By mpmath with 60 digits, where nothing cancels."""
    mp = pytest.importorskip("mpmath")
    a, b = (x - mean - step / 2) / scale, (x - mean + step / 2) / scale
    if a > 0:
        a, b = -b, -a
    return -mp.log((mp.erfc(-b / mp.sqrt(2)) - mp.erfc(-a / mp.sqrt(2))) / 2, 2)


def test_bits_and_gradients_to_60_digits() -> None:
    """From the peak to 30 sigma, bins of 1e-7 to 1e4 sigma."""
    mp = pytest.importorskip("mpmath")
    random = np.random.default_rng(1)
    with mp.workdps(60):
        for _ in range(200):
            scale, step = 10.0 ** random.uniform(-3, 4), 10.0 ** random.uniform(-3, 1)
            mean = random.uniform(-3, 3)
            away = [random.normal() * scale, random.uniform(-30, 30) * scale, random.uniform(-2, 2) * step, 0, step / 2]
            values = [mean + float(random.choice(away)), mean, scale, step]
            bits, arguments = bits_of(values)
            bits.backward()
            exact = [mp.mpf(v) for v in values]
            reference = exact_bits(*exact)
            assert float(abs(bits.item() - reference)) < 1e-8 * float(reference) + 1e-12
            for i, argument in enumerate(arguments):
                h = mp.mpf(10) ** -20 * (abs(exact[i]) or 1)
                below, above = list(exact), list(exact)
                below[i], above[i] = exact[i] - h, exact[i] + h
                slope = float((exact_bits(*above) - exact_bits(*below)) / (2 * h))
                assert argument.grad is not None
                assert abs(argument.grad.item() - slope) < 1e-8 * abs(slope) + 1e-12 / scale


def drawn_bins(count: int) -> list[torch.Tensor]:
    """x, mean, scale and step, float32 [count]: from the peak to 30 sigma, bins of 1e-7 to 1e4 sigma."""
    random = np.random.default_rng(2)
    scale, step = 10.0 ** random.uniform(-3, 4, count), 10.0 ** random.uniform(-3, 1, count)
    mean = random.uniform(-3, 3, count)
    away = np.choose(random.integers(0, 3, count), [random.normal(size=count) * scale, 30 * scale, step / 2])
    return [torch.from_numpy(a).float() for a in (mean + away, mean, scale, step)]


def native_bits(bins: list[torch.Tensor], floor: float | None = None) -> list[torch.Tensor]:
    """Bits of float32, and the four gradients of a sum that weights them."""
    arguments = [a.clone().requires_grad_() for a in bins]
    bits = gaussian_bits(*arguments, floor=floor)
    weights = torch.linspace(-1, 2, bits.numel()).reshape(bits.shape)
    return [bits.detach(), *torch.autograd.grad((bits * weights).sum(), arguments)]


def test_native_bits_and_gradients_to_60_digits() -> None:
    mp = pytest.importorskip("mpmath")
    bins = drawn_bins(203)
    bits, *grads = native_bits(bins)
    weights = torch.linspace(-1, 2, 203).tolist()
    with mp.workdps(60):
        for k in range(203):
            exact = [mp.mpf(a[k].item()) for a in bins]
            reference = float(exact_bits(*exact))
            assert abs(bits[k].item() - reference) < 1e-6 * reference + 1e-12
            for i in range(4):
                h = mp.mpf(10) ** -20 * (abs(exact[i]) or 1)
                below, above = list(exact), list(exact)
                below[i], above[i] = exact[i] - h, exact[i] + h
                slope = weights[k] * float((exact_bits(*above) - exact_bits(*below)) / (2 * h))
                assert abs(grads[i][k].item() - slope) < 1e-6 * abs(slope) + 1e-12 / float(exact[2])


@pytest.mark.parametrize("floor", [None, 1e-6])
def test_native_bits_are_those_of_torch(floor: float | None) -> None:
    bins = drawn_bins(5_003)
    for native, reference in zip(native_bits(bins, floor), native_bits([a.double() for a in bins], floor), strict=True):
        torch.testing.assert_close(native.double(), reference, rtol=1e-6, atol=1e-12 * float(reference.abs().max()))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 4_097, 9_001])
def test_native_bits_do_not_depend_on_the_machine(count: int) -> None:
    """The same bytes for any instruction set, number of threads, and place in the array."""
    bins = drawn_bins(9_001)
    whole = native_bits(bins)[0]
    found: list[list[torch.Tensor]] = []
    before = cpu_isa()
    try:
        for isa in ("baseline", "avx2", "avx512"):
            with contextlib.suppress(ValueError):  # this machine lacks it
                set_cpu_isa(isa)
                for threads in (1, 2, 5):
                    torch.set_num_threads(threads)
                    found.append(native_bits([a[:count] for a in bins]))
    finally:
        set_cpu_isa(before)
    assert torch.equal(found[0][0], whole[:count])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_native_bits_are_not_hidden_where_an_argument_is_not_finite() -> None:
    x = torch.tensor([0.0, float("nan"), float("inf"), 0.0, 1.0])
    mean = torch.tensor([0.0, 0.0, 0.0, float("nan"), 0.0])
    bits = gaussian_bits(x, mean, torch.ones(5), floor=1e-6)
    assert bits.isfinite().tolist() == [True, False, False, False, True]


def test_bits_far_in_the_tail_stay_finite() -> None:
    x = torch.tensor([1e3, -1e3, 1e6], requires_grad=True)
    scale = torch.tensor(0.01, requires_grad=True)
    bits = gaussian_bits(x, torch.zeros(3), scale)
    bits.sum().backward()
    assert bits.isfinite().all()
    assert bits[0].item() == pytest.approx((999.5 / 0.01) ** 2 / 2 / np.log(2), rel=1e-5)
    assert x.grad is not None
    assert scale.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad[0] > 0 > x.grad[1]
    assert scale.grad < 0


def test_the_floor_bounds_bits_and_keeps_pulling() -> None:
    x = torch.tensor([0.0, 5.0, 40.0], requires_grad=True)
    bits = gaussian_bits(x, torch.zeros(3), torch.ones(3), floor=1e-6)
    free = gaussian_bits(x.detach(), torch.zeros(3), torch.ones(3))
    assert bits[0] == free[0]
    assert bits[1:].tolist() == pytest.approx([min(free[1].item(), -np.log2(1e-6)), -np.log2(1e-6)])
    bits.sum().backward()
    assert x.grad is not None
    assert x.grad[1] > 0
    assert x.grad[2] == 0, "the mass there is 0 in any float"
    mass = scipy.stats.norm.cdf(5.5) - scipy.stats.norm.cdf(4.5)
    slope = scipy.stats.norm.pdf(5.5) - scipy.stats.norm.pdf(4.5)
    assert x.grad[1].item() == pytest.approx(-slope / max(mass, 1e-6) / np.log(2), rel=1e-5)


def test_bits_broadcast_and_keep_the_dtype() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    scale = torch.full((5,), 0.5, requires_grad=True)
    bits = gaussian_bits(x, torch.zeros(4, 1), scale, 0.25)
    assert bits.shape == (4, 5)
    assert bits.dtype == torch.float32
    bits.sum().backward()
    assert scale.grad is not None
    assert scale.grad.shape == (5,)


def heavy(count: int, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float parameters as a context model has them: (x, mean, sigma), in steps, of varying scale, around `sigma`."""
    random = np.random.default_rng(3)
    sigmas = sigma * np.exp(random.normal(size=count) * 0.6)
    means = random.normal(size=count) * 2
    return np.rint(means + sigmas * random.normal(size=count)), means, sigmas


def coded(x: np.ndarray, means: np.ndarray, sigmas: np.ndarray) -> Case:
    """Rounded as `gsbench.coding.steps` does."""
    scale = np.clip(np.rint(8 * (np.log2(sigmas) + 5)), 0, 127)
    return x.astype(np.int32), np.rint(means * 64).astype(np.int32), scale.astype(np.uint8)


@pytest.mark.parametrize(("sigma", "rate", "limit"), [(0.165, 0.49, 0.15), (0.42, 1.19, 0.08), (1.95, 3.11, 0.06)])
def test_integers_cost_next_to_nothing(sigma: float, rate: float, limit: float) -> None:
    """Bytes against the float model with the very same data, at three rates (bits per symbol); `limit` in percent."""
    x, means, sigmas = heavy(400_000, sigma)
    estimate = gaussian_bits(*(torch.from_numpy(a) for a in (x, means, sigmas))).sum().item()
    actual = 8 * len(encode_gaussian(*coded(x, means, sigmas)))
    assert estimate / len(x) == pytest.approx(rate, rel=0.1)
    assert 100 * (actual / estimate - 1) < limit


@pytest.mark.parametrize("sigma", [0.06, 0.3, 1.0, 12.0, 300.0])
def test_estimate_and_bytes_agree(sigma: float) -> None:
    """Within 1 % at every rate, in float32 as in training."""
    x, means, sigmas = heavy(100_000, sigma)
    arguments = [torch.from_numpy(a).float() for a in (x, means, sigmas)]
    estimate = gaussian_bits(*arguments, floor=1e-6).double().sum().item()
    assert 8 * len(encode_gaussian(*coded(x, means, sigmas))) == pytest.approx(estimate, rel=0.01)


def test_the_formats_of_tables_are_as_described() -> None:
    content = _tables.load("gaussian.bin")
    reaches = struct.unpack_from("<72H", content)
    assert len(content) == 2 * (72 + 33 * sum(2 * r + 3 for r in reaches))
    assert len(_tables.load("steps.bin")) == 12 * 385
