"""The entropy coder against torchac and constriction: from (symbol, mean, scale) to bytes and back, on one thread.

    python benchmarks/coding.py [--count 1000000] [--json]

Prints, per rate, symbols per second of each coder and how many times as fast `range` is; only the ratios mean something
on another machine. What the others need to have their tables is part of their time, as it is in use: torchac gets a
float table per symbol from torch's normal distribution (as HAC's code makes them), constriction its own quantized
Gaussians from float parameters. Then how long 100,000 anchors of 50 + 6 + 30 values take, with the integer context, and
the octree. Coders that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gsbench.coding.gaussian import decode_gaussian, encode_gaussian, table_bits
from gsbench.coding.intnet import IntegerNetwork
from gsbench.coding.octree import decode_positions, encode_positions
from gsbench.coding.sign_grid import look_up

ROUNDS = 3
#: Standard deviations, in steps, of near .5, 1.2, 3.1 and 6 bits per symbol.
SIGMAS = (0.16, 0.42, 1.95, 14.0)
ANCHORS, VALUES = 100_000, 86


def best(action: Callable[[], Any]) -> tuple[float, Any]:
    """The least time of some rounds, in seconds, and the result."""
    times, result = [], None
    for _ in range(ROUNDS):
        start = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - start)
    return min(times), result


def draw(count: int, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float parameters around `sigma` and integers drawn from them."""
    random = np.random.default_rng(0)
    scales = sigma * np.exp(random.normal(size=count) * 0.5)
    means = random.normal(size=count) * 2
    return np.rint(means + scales * random.normal(size=count)).astype(np.int32), means, scales


def ours(x: np.ndarray, means: np.ndarray, scales: np.ndarray) -> tuple[float, float, int, float]:
    mean64 = np.rint(means * 64).astype(np.int32)
    index = np.clip(np.rint(8 * (np.log2(scales) + 5)), 0, 127).astype(np.uint8)
    encode, data = best(lambda: encode_gaussian(x, mean64, index))
    decode, back = best(lambda: decode_gaussian(data, mean64, index))
    assert (back == x).all()
    return encode, decode, len(data), float(table_bits(x, mean64, index).sum()) / 8


def through_constriction(x: np.ndarray, means: np.ndarray, scales: np.ndarray) -> tuple[float, float, int]:
    stream = importlib.import_module("constriction").stream
    reach = int(max(abs(x.min()), abs(x.max()))) + 1
    family = stream.model.QuantizedGaussian(-reach, reach)

    def encode() -> Any:
        encoder = stream.queue.RangeEncoder()
        encoder.encode(x, family, means, scales)
        return encoder.get_compressed()

    encoding, words = best(encode)
    decoding, back = best(lambda: stream.queue.RangeDecoder(words).decode(family, means, scales))
    assert (back == x).all()
    return encoding, decoding, 4 * len(words)


def through_torchac(x: np.ndarray, means: np.ndarray, scales: np.ndarray) -> tuple[float, float, int]:
    torchac = importlib.import_module("torchac")
    low, high = int(x.min()), int(x.max())
    edges = torch.arange(low, high + 2) - 0.5
    mean, scale = torch.from_numpy(means).float()[:, None], torch.from_numpy(scales).float()[:, None]
    symbols = torch.from_numpy((x - low).astype(np.int16))
    step = 100_000

    def tables(i: int) -> torch.Tensor:
        return torch.distributions.Normal(mean[i : i + step], scale[i : i + step]).cdf(edges)

    def encode() -> list[bytes]:
        return [torchac.encode_float_cdf(tables(i), symbols[i : i + step]) for i in range(0, len(x), step)]

    encoding, parts = best(encode)
    decoding, back = best(
        lambda: torch.cat([torchac.decode_float_cdf(tables(i * step), part) for i, part in enumerate(parts)])
    )
    assert (back == symbols).all()
    return encoding, decoding, sum(len(part) for part in parts)


OTHERS = {"constriction": through_constriction, "torchac": through_torchac}


def coders(count: int) -> list[dict[str, Any]]:
    rows = []
    for sigma in SIGMAS:
        case = draw(count, sigma)
        encode, decode, size, entropy = ours(*case)
        row: dict[str, Any] = {"bits": 8 * size / count, "over_entropy": size / entropy - 1}
        row["range"] = {"encode": count / encode, "decode": count / decode}
        for name, run in OTHERS.items():
            if importlib.util.find_spec(name) is None:
                continue
            other_encode, other_decode, other_size = run(*case)
            row[name] = {
                "encode": count / other_encode,
                "decode": count / other_decode,
                "range_is_faster": [other_encode / encode, other_decode / decode],
                "bytes": other_size / size,
            }
        rows.append(row)
    return rows


def anchors() -> dict[str, float]:
    """Seconds for a scene's worth of anchors, on one thread."""
    random = np.random.default_rng(0)
    points = (random.normal(size=(ANCHORS, 3)) * 3000 * random.random((ANCHORS, 1)) + 30_000).astype(np.int32)
    seconds = {}
    seconds["octree_encode"], (data, _) = best(lambda: encode_positions(points, 16))
    seconds["octree_decode"], back = best(lambda: decode_positions(data, ANCHORS))

    levels, first = [], 0
    space = (18, 24, 33, 44, 59, 80, 108, 148, 201, 275, 376, 514)
    kinds = [(7, 3, space, 1 << 13), *((axes, 2, (130, 258, 514, 1026), 1 << 15) for axes in (3, 5, 6))]
    for axes, dimensions, resolutions, entries in kinds:
        for resolution in resolutions:
            rows = min(entries, -(-(resolution**dimensions) // 8) * 8)
            levels.append((resolution, axes, first, rows))
            first += rows
    signs = random.integers(0, 16, first).astype(np.uint8)
    table = np.array(levels, np.int64)
    seconds["grid"], features = best(lambda: look_up(back, (60_000,) * 3, table, signs, threads=1))
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(96, 100), torch.nn.ReLU(), torch.nn.Linear(100, 175))
    integer = IntegerNetwork.from_float(network, features[:1000], input_bits=12, output_bits=12)
    seconds["network"], _ = best(lambda: integer.forward(features, threads=1))

    x, means, scales = draw(ANCHORS * VALUES, 0.6)
    encode, decode, _, _ = ours(x, means, scales)
    seconds["values_encode"], seconds["values_decode"] = encode, decode
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of entropy coders side by side.")
    parser.add_argument("--count", type=int, default=1_000_000, help="symbols per measurement")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {"coders": coders(arguments.count), "anchors": anchors()}
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for row in result["coders"]:
        own = row["range"]
        print(f"{row['bits']:.2f} bits per symbol, {100 * row['over_entropy']:.4f} % over the entropy of the tables")
        print(f"  range         encode {own['encode'] / 1e6:7.2f} M/s   decode {own['decode'] / 1e6:7.2f} M/s")
        for name in OTHERS:
            if name in row:
                other = row[name]
                faster = other["range_is_faster"]
                print(
                    f"  {name:13} encode {other['encode'] / 1e6:7.2f} M/s   decode {other['decode'] / 1e6:7.2f} M/s"
                    f"   range is {faster[0]:.1f} and {faster[1]:.1f} times as fast; bytes x {other['bytes']:.4f}"
                )
    print(f"{ANCHORS} anchors of {VALUES} values, one thread, seconds:")
    for name, seconds in result["anchors"].items():
        print(f"  {name:14} {seconds:.3f}")


if __name__ == "__main__":
    main()
