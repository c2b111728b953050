"""The range coder: its rate, its end, its refusals; and the adapters behind the same interface."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsbench import registry
from gsbench.coding import TOTAL, EntropyCoder
from gsbench.coding.range import RangeCoder
from gsbench.errors import ArtifactError


def encode(coder: EntropyCoder, message: Any, parts: int = 1) -> bytes:
    symbols, tables, index = message
    encoder = coder.encoder()
    for part in np.array_split(np.arange(len(symbols)), parts):
        encoder.put(symbols[part], tables, index[part])
    return encoder.finish()


def decode(coder: EntropyCoder, data: bytes, message: Any, parts: int = 1) -> Any:
    _, tables, index = message
    decoder = coder.decoder(data)
    found = [decoder.get(tables, index[part]) for part in np.array_split(np.arange(len(index)), parts)]
    decoder.finish()
    return np.concatenate(found)


@pytest.mark.parametrize("count", [0, 1, 2, 10, 1000])
@pytest.mark.parametrize("size", [1, 2, 8, 300])
def test_every_coder_gives_back_what_was_put(coder: EntropyCoder, message: Any, count: int, size: int) -> None:
    if size == 1 and not isinstance(coder, RangeCoder):
        pytest.skip("an alphabet of one symbol is no model to the other packages")
    case = message(count, size=size)
    data = encode(coder, case, parts=3)
    for parts in (1, 2, 5):
        assert decode(coder, data, case, parts).tolist() == case[0].tolist()


def test_the_core_registers_its_coders() -> None:
    from gsbench.hooks import load_plugins

    load_plugins()
    assert registry.entropy_coders.entry("range").load() is RangeCoder


@pytest.mark.parametrize(("rows", "size"), [(1, 2), (5, 8), (3, 256), (200, 40), (1, 65536), (4_000, 4)])
def test_bytes_are_at_most_the_entropy(message: Any, entropy: Any, rows: int, size: int) -> None:
    case = message(40_000, rows, size)
    data = encode(RangeCoder(), case)
    assert len(data) <= entropy(case) / 8 * 1.0005 + 8
    assert len(data) <= entropy(case) / 8 + 2, "and in fact no more than its end costs"
    assert decode(RangeCoder(), data, case).tolist() == case[0].tolist()


def test_certain_symbols_cost_next_to_nothing() -> None:
    """Range must not be lost where frequencies are extreme: 22 bits of entropy in a million symbols."""
    tables = np.array([[0, TOTAL - 1, TOTAL]], np.uint32)
    symbols = np.zeros(1_000_000, np.int32)
    index = np.zeros_like(symbols)
    assert len(encode(RangeCoder(), (symbols, tables, index))) <= 4
    mirrored = np.array([[0, 1, TOTAL]], np.uint32)
    data = encode(RangeCoder(), (symbols + 1, mirrored, index))
    assert len(data) <= 5
    assert (decode(RangeCoder(), data, (None, mirrored, index)) == 1).all()


def test_carries_run_through_written_words() -> None:
    """The highest share, again and again, writes nothing but 0xFF; a carry must then reach the first byte."""
    random = np.random.default_rng(0)
    for trial in range(300):
        count = int(random.integers(1, 60))
        tables = np.array([[0, TOTAL - 2, TOTAL - 1, TOTAL]], np.uint32)
        symbols = np.where(random.random(count) < 0.9, 2, random.integers(0, 3, count)).astype(np.int32)
        case = symbols, tables, np.zeros(count, np.int32)
        data = encode(RangeCoder(), case)
        assert decode(RangeCoder(), data, case).tolist() == symbols.tolist(), trial


@settings(max_examples=200, deadline=None)
@given(
    frequencies=st.lists(st.integers(1, 400), min_size=2, max_size=20),
    choices=st.lists(st.integers(0, 10**6), max_size=40),
    split=st.integers(0, 40),
)
def test_round_trips(frequencies: list[int], choices: list[int], split: int) -> None:
    frequencies[-1] += TOTAL - sum(frequencies)
    tables = np.concatenate([[0], np.cumsum(frequencies)]).astype(np.uint32)[None]
    symbols = np.array([c % len(frequencies) for c in choices], np.int32)
    index = np.zeros(len(symbols), np.int32)
    encoder = RangeCoder().encoder()
    encoder.put(symbols[:split], tables, index[:split])
    encoder.put(symbols[split:], tables, index[split:])
    data = encoder.finish()
    assert data == encode(RangeCoder(), (symbols, tables, index)), "the split does not show"
    assert decode(RangeCoder(), data, (None, tables, index), 3).tolist() == symbols.tolist()
    if data:
        try:
            truncated = decode(RangeCoder(), data[:-1], (None, tables, index))
        except ArtifactError:
            return
        assert truncated.tolist() != symbols.tolist(), "the end is the shortest there is"


@pytest.mark.parametrize(
    ("symbols", "row", "golden"),
    [
        ([], 0, ""),
        ([0], 0, ""),
        ([1], 0, "40"),
        ([2], 0, "c0"),
        ([2, 0], 0, "c0"),
        ([1, 2, 1, 0, 1, 2, 2, 0, 1, 1], 0, "aae3"),
        ([2, 0, 1, 2], 1, "ffff0000fffe"),
    ],
)
def test_golden_words(symbols: list[int], row: int, golden: str) -> None:
    """The bytes are the format and never change. Exact fractions (test_protocols) give all of them but the last."""
    tables = np.array([[0, 1 << 14, 3 << 14, TOTAL], [0, 1, TOTAL - 1, TOTAL]], np.uint32)
    case = np.array(symbols, np.int32), tables, np.full(len(symbols), row, np.int32)
    assert encode(RangeCoder(), case).hex() == golden
    assert decode(RangeCoder(), bytes.fromhex(golden), case).tolist() == symbols


def test_a_long_golden_word(message: Any, repository: Any) -> None:
    """Committed bytes of a thousand symbols of an arithmetic sequence, so that no random generator is involved."""
    steps = np.arange(1000, dtype=np.int64)
    tables = np.array([[0, 9, 600, 601, 30_000, TOTAL], [0, 13_000, 26_000, 40_000, 50_000, TOTAL]], np.uint32)
    case = (steps * steps * 7 % 31 % 5).astype(np.int32), tables, (steps // 3 % 2).astype(np.int32)
    golden = (repository / "tests" / "golden" / "coding_range.bin").read_bytes()
    assert encode(RangeCoder(), case) == golden
    assert decode(RangeCoder(), golden, case).tolist() == case[0].tolist()


def test_leftovers_are_refused(coder: EntropyCoder, message: Any) -> None:
    case = message(500)
    data = encode(coder, case)
    for wrong in (data + bytes(4), data + b"\x01\x02\x03\x04", data + data):
        decoder = coder.decoder(wrong)
        assert decoder.get(case[1], case[2]).tolist() == case[0].tolist()
        with pytest.raises(ArtifactError):
            decoder.finish()
    decoder = coder.decoder(data)
    decoder.get(case[1], case[2][:100])
    with pytest.raises(ArtifactError):
        decoder.finish()


def test_reading_beyond_the_end_is_noticed(message: Any) -> None:
    case = message(500)
    decoder = RangeCoder().decoder(encode(RangeCoder(), case))
    decoder.get(case[1], case[2])
    with pytest.raises(ArtifactError, match="damaged, ends early"):
        decoder.get(case[1], case[2])


def test_damage(coder: EntropyCoder, message: Any, damages: Any) -> None:
    case = message(120)
    data = encode(coder, case)
    run_damages(coder, case, data, damages, 300)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 300])
def test_damage_thoroughly(coder: EntropyCoder, message: Any, damages: Any, size: int) -> None:
    case = message(2000 if isinstance(coder, RangeCoder) else 200, size=size)
    run_damages(coder, case, encode(coder, case), damages, 10_000)


def run_damages(coder: EntropyCoder, case: Any, data: bytes, damages: Any, count: int) -> None:
    size = case[1].shape[1] - 1

    def well_formed(result: Any) -> bool:
        return result.dtype == np.int32 and result.shape == case[0].shape and 0 <= result.min() <= result.max() < size

    raised = damages(data, lambda changed: decode(coder, changed, case), well_formed, count)
    if isinstance(coder, RangeCoder):
        assert raised > 0.5 * (len(data) + count), "most are noticed, because the end is unique"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"symbols": np.array([8], np.int32)}, "symbols: expected 0 to 7, got 8 in place 0"),
        ({"symbols": np.array([-1], np.int32)}, "symbols: expected 0 to 7, got -1"),
        ({"symbols": np.array([1, 2], np.int32)}, r"symbols: expected shape \[1\], got \[2\]"),
        ({"symbols": np.array([1])}, "symbols: expected int32, got int64"),
        ({"index": np.array([3], np.int32)}, "index: expected 0 to 2, got 3"),
        ({"index": np.array([-1], np.int32)}, "index: expected 0 to 2, got -1"),
        ({"tables": np.zeros((3, 9), np.uint32)}, "tables: row 0 does not rise strictly from 0 to 65536"),
        ({"tables": np.zeros((3, 1), np.uint32)}, "tables: expected 2 to 65537 columns, got 1"),
        ({"tables": np.zeros(9, np.uint32)}, "tables: expected shape"),
    ],
)
def test_wrong_arguments(message: Any, change: dict[str, Any], problem: str) -> None:
    symbols, tables, index = message(1)
    encoder = RangeCoder().encoder()
    arguments = {"symbols": symbols, "tables": tables, "index": index} | change
    with pytest.raises(ValueError, match=problem):
        encoder.put(arguments["symbols"], arguments["tables"], arguments["index"])
    encoder.put(symbols, tables, index)
    assert encoder.finish() == encode(RangeCoder(), (symbols, tables, index)), "nothing was appended"


def test_an_encoder_is_good_for_one_stream(coder: EntropyCoder, message: Any) -> None:
    symbols, tables, index = message(5)
    encoder = coder.encoder()
    encoder.finish()
    with pytest.raises(ValueError, match="finished before"):
        encoder.finish()
    with pytest.raises(ValueError, match="finished before"):
        encoder.put(symbols, tables, index)
