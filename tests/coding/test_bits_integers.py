"""Bits with given and learned probabilities, and integers with a histogram of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gsbench.coding import TOTAL, EntropyCoder
from gsbench.coding.bits import LearnedBits, decode_flags, encode_flags, get_bits, learned_bits_cost, put_bits
from gsbench.coding.integers import decode_integers, encode_integers
from gsbench.coding.range import RangeCoder
from gsbench.errors import ArtifactError

# ---- Bits


@pytest.mark.parametrize("count", [0, 1, 2, 10, 20_000])
def test_bits_with_given_probabilities(coder: EntropyCoder, count: int) -> None:
    random = np.random.default_rng(count)
    ones = random.choice(np.array([1, 2, 300, 30_000, 65_535], np.uint16), count)
    bits = (random.integers(0, TOTAL, count) < ones).astype(np.uint8)
    encoder = coder.encoder()
    put_bits(encoder, bits, ones)
    data = encoder.finish()
    cost = -np.log2(np.where(bits == 1, ones, TOTAL - ones.astype(int)) / TOTAL).sum() / 8
    assert len(data) <= cost * 1.0005 + 16
    decoder = coder.decoder(data)
    assert get_bits(decoder, ones).tolist() == bits.tolist()
    decoder.finish()


@pytest.mark.parametrize("count", [0, 1, 2, 10, 50_000])
def test_flags_cost_what_krichevsky_and_trofimov_say(count: int) -> None:
    random = np.random.default_rng(count)
    contexts = random.integers(0, 4, count).astype(np.int32)
    bits = (random.random(count) < np.array([0.5, 0.01, 0.999, 0.2])[contexts]).astype(np.uint8)
    for known in (None, contexts):
        data = encode_flags(bits, known)
        assert decode_flags(data, count, known).tolist() == bits.tolist()
        assert abs(8 * len(data) - learned_bits_cost(bits, known)) <= 0.0005 * 8 * len(data) + 48
    if count > 1000:
        assert len(encode_flags(bits, contexts)) < 0.7 * len(encode_flags(bits))


def test_all_equal_flags_cost_nothing() -> None:
    for value in (0, 1):
        assert len(encode_flags(np.full(1_000_000, value, np.uint8))) < 12


def test_learned_bits_go_on_over_calls() -> None:
    random = np.random.default_rng(0)
    bits = (random.random(3000) < 0.1).astype(np.uint8)
    contexts = random.integers(0, 2, 3000).astype(np.int32)
    encoder, whole = RangeCoder().encoder(), RangeCoder().encoder()
    LearnedBits(2).put(whole, bits, contexts)
    model = LearnedBits(2)
    for part in np.array_split(np.arange(3000), 7):
        model.put(encoder, bits[part], contexts[part])
    data = encoder.finish()
    assert data == whole.finish()
    model, decoder = LearnedBits(2), RangeCoder().decoder(data)
    found = [model.get(decoder, len(part), contexts[part]) for part in np.array_split(np.arange(3000), 3)]
    assert np.concatenate(found).tolist() == bits.tolist()


def test_wrong_bits() -> None:
    encoder = RangeCoder().encoder()
    with pytest.raises(ValueError, match="bits: expected 0 and 1, got 2"):
        put_bits(encoder, np.array([2], np.uint8), np.array([5], np.uint16))
    with pytest.raises(ValueError, match="ones: expected 1 to 65535, got 0 in place 1"):
        put_bits(encoder, np.zeros(2, np.uint8), np.array([5, 0], np.uint16))
    with pytest.raises(ValueError, match="contexts: expected 0 to 1, got 2"):
        LearnedBits(2).put(encoder, np.zeros(1, np.uint8), np.array([2], np.int32))
    with pytest.raises(ValueError, match="contexts: expected 0 to 1, got -1"):
        LearnedBits(2).put(encoder, np.zeros(1, np.uint8), np.array([-1], np.int32))
    with pytest.raises(ValueError, match="bits: expected 0 and 1"):
        encode_flags(np.array([7], np.uint8))


def test_wrong_numbers_of_flags() -> None:
    data = encode_flags(np.ones(10, np.uint8))
    with pytest.raises(ArtifactError, match="flags: 10, expected at most 9"):
        decode_flags(data, 9)
    with pytest.raises(ArtifactError, match="flags: 10 bits, expected 12"):
        decode_flags(data, 100, np.zeros(12, np.int32))
    with pytest.raises(ArtifactError):
        decode_flags(data + b"\x01", 10)


# ---- Integers


def examples() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "none": np.empty(0),
        "one": np.array([-7]),
        "equal": np.full(1000, 12),
        "two far apart": np.array([-(2**31), 2**31 - 1]),
        "ternary": random.integers(-1, 2, 500),
        "weights": np.rint(random.normal(size=20_000) * 20),
        "wide weights": np.rint(random.normal(size=20_000) * 700),
        "heavy tail": np.rint(random.standard_cauchy(5000) * 30).clip(-(2**31), 2**31 - 1),
        "uniform": random.integers(-(2**31), 2**31, 2000),
        "sparse": np.array([0, 1000, 4095])[random.integers(0, 3, 3000)],
    }


@pytest.mark.parametrize("name", list(examples()))
def test_integers_come_back(name: str) -> None:
    values = examples()[name].astype(np.int32)
    data = encode_integers(values)
    assert decode_integers(data, len(values)).tolist() == values.tolist()
    assert data == encode_integers(values)


@pytest.mark.parametrize(("name", "overhead"), [("weights", 0.01), ("wide weights", 0.02), ("ternary", 0.1)])
def test_histograms_cost_little(name: str, overhead: float) -> None:
    """Against the entropy of a Gaussian of the same spread, or of the counts, histogram and all included."""
    values = examples()[name].astype(np.int32)
    counts = np.unique(values, return_counts=True)[1]
    entropy = -(counts * np.log2(counts / len(values))).sum() / 8
    gaussian = len(values) * np.log2(values.std() * np.sqrt(2 * np.pi * np.e)) / 8
    reference = max(entropy, gaussian) if name != "ternary" else entropy
    assert len(encode_integers(values)) <= reference * (1 + overhead) + 10


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.int32, st.integers(0, 50), elements=st.one_of(st.integers(-3, 3), st.integers(-(2**31), 2**31 - 1)))
)
def test_any_integers(values: np.ndarray) -> None:
    assert decode_integers(encode_integers(values), len(values)).tolist() == values.tolist()


def test_golden_streams(repository: Any) -> None:
    """Committed bytes of integers and flags."""
    steps = np.arange(3000, dtype=np.int64)
    values = (steps * steps % 211 - steps % 97 + (steps % 501 == 0) * 5000).astype(np.int32)
    bits = (steps * 17 % 23 < 5).astype(np.uint8)
    folder = repository / "tests" / "golden"
    assert encode_integers(values) == (folder / "coding_integers.bin").read_bytes()
    assert encode_flags(bits, (steps % 3).astype(np.int32)) == (folder / "coding_flags.bin").read_bytes()


def test_no_more_integers_than_allowed() -> None:
    data = encode_integers(np.arange(50, dtype=np.int32))
    with pytest.raises(ArtifactError, match="integers: 50, expected at most 49"):
        decode_integers(data, 49)
    with pytest.raises(ValueError, match="values: expected int32"):
        encode_integers(np.arange(5))


def check_damages(damages: Callable[..., int], count: int, size: int) -> None:
    random = np.random.default_rng(9)
    values = np.rint(random.normal(size=size) * 300).astype(np.int32)

    def well_formed(result: Any) -> bool:
        return bool(result.dtype == np.int32 and result.ndim == 1 and len(result) <= size)

    assert damages(encode_integers(values), lambda data: decode_integers(data, size), well_formed, count) > count // 2
    bits = (random.random(4 * size) < 0.2).astype(np.uint8)

    def well_formed_bits(result: Any) -> bool:
        return bool(result.dtype == np.uint8 and result.ndim == 1 and len(result) <= 4 * size and result.max() <= 1)

    assert damages(encode_flags(bits), lambda data: decode_flags(data, 4 * size), well_formed_bits, count) > count // 3


def test_damage(damages: Callable[..., int]) -> None:
    check_damages(damages, 200, 60)


@pytest.mark.slow
def test_damage_thoroughly(damages: Callable[..., int]) -> None:
    check_damages(damages, 10_000, 2000)
