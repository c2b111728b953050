"""Integer networks: exact, the same everywhere, near the float network, and safe to read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gsbench.coding.intnet import IntegerLayer, IntegerNetwork
from gsbench.errors import ArtifactError


def random_network(
    widths: list[int], seed: int = 0, activation: str = "relu", input_limit: int = 4096
) -> IntegerNetwork:
    random = np.random.default_rng(seed)
    layers, limit = [], input_limit
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        last = i == len(widths) - 2
        most = min(32767, (2**31 - 2**29 - 2**20) // (inputs * limit))
        layers.append(
            IntegerLayer(
                random.integers(-most, most + 1, (outputs, inputs)).astype(np.int16),
                random.integers(-(2**20), 2**20, outputs).astype(np.int32),
                random.integers(0, 20, outputs).astype(np.uint8),
                "none" if last else activation,
                3 if activation == "leaky" and not last else 0,
                0 if last else 8191,
            )
        )
        limit = 8191
    return IntegerNetwork(tuple(layers), input_limit)


def inputs_for(network: IntegerNetwork, count: int, seed: int = 1) -> np.ndarray:
    limit = network.input_limit
    values = np.random.default_rng(seed).integers(-limit, limit + 1, (count, network.inputs))
    values[: count // 4] = np.sign(values[: count // 4]) * limit
    return values.astype(np.int16)


def exact(network: IntegerNetwork, inputs: np.ndarray) -> list[list[int]]:
    """The definition, in Python's integers."""
    rows = []
    for row in inputs.tolist():
        values = row
        for layer in network.layers:
            outputs = []
            for weights, bias, shift in zip(
                layer.weights.tolist(), layer.bias.tolist(), layer.shift.tolist(), strict=True
            ):
                total = sum(w * x for w, x in zip(weights, values, strict=True)) + bias + (2**shift // 2)
                assert abs(total) < 2**31
                y = total >> shift
                if y < 0 and layer.activation == "relu":
                    y = 0
                elif y < 0 and layer.activation == "leaky":
                    y >>= layer.leak
                outputs.append(max(-layer.limit, min(layer.limit, y)) if layer.limit else y)
            values = outputs
        rows.append(values)
    return rows


@pytest.mark.parametrize("activation", ["relu", "leaky", "none"])
@pytest.mark.parametrize("widths", [[1, 1], [3, 5], [96, 33, 40], [7, 31, 9, 64, 2], [2, 100, 175]])
def test_outputs_are_exact(widths: list[int], activation: str) -> None:
    network = random_network(widths, seed=len(widths), activation=activation)
    inputs = inputs_for(network, 13)
    assert network.forward(inputs).tolist() == exact(network, inputs)


@pytest.mark.parametrize("count", [0, 1, 2, 10, 20_001])
def test_batches_and_threads_do_not_show(count: int) -> None:
    network = random_network([9, 20, 17])
    inputs = inputs_for(network, count)
    whole = network.forward(inputs, threads=1)
    assert whole.shape == (count, 17)
    assert whole.dtype == np.int32
    for threads in (2, 5):
        assert (network.forward(inputs, threads=threads) == whole).all()
    for row in range(0, count, 4999):
        assert (network.forward(inputs[row : row + 1]) == whole[row]).all()


PROGRAM = """
import hashlib, sys
import numpy as np
from gsbench.coding.intnet import IntegerNetwork
from gsbench.coding.sign_grid import look_up
network = IntegerNetwork.from_bytes(open(sys.argv[1], "rb").read())
inputs = np.load(sys.argv[2])
digest = hashlib.sha256(network.forward(inputs, threads=int(sys.argv[3])).tobytes())
levels = np.array([[20, 7, 0, 512], [40, 5, 512, 256]])
points = np.abs(inputs[:, :3]).astype(np.int32)
features = look_up(points, (4000, 4000, 3000), levels, (np.arange(768) % 16).astype(np.uint8), threads=int(sys.argv[3]))
digest.update(features.tobytes())
assert "torch" not in sys.modules
print(digest.hexdigest())
"""


def test_same_bytes_on_every_instruction_set(tmp_path: Any) -> None:
    network = random_network([96, 100, 175], seed=4)
    (tmp_path / "network").write_bytes(network.to_bytes())
    np.save(tmp_path / "inputs.npy", inputs_for(network, 3000))
    digests = set()
    for isa in ("baseline", "avx2", "avx512"):
        for threads in ("1", "3"):
            arguments = [str(tmp_path / "network"), str(tmp_path / "inputs.npy"), threads]
            environment = os.environ | {"GSBENCH_ISA": isa}
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, *arguments], env=environment, capture_output=True, text=True
            )
            if isa != "baseline" and "not supported by this machine" in done.stderr:
                continue
            assert done.returncode == 0, done.stderr
            digests.add(done.stdout)
    assert len(digests) == 1


def float_network(activation: nn.Module, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(96, 100), activation, nn.Linear(100, 175))


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.125)])
@pytest.mark.parametrize(("weight_bits", "error"), [(8, 0.01), (10, 0.003), (12, 0.001), (14, 0.001)])
def test_quantized_networks_are_near(activation: nn.Module, weight_bits: int, error: float) -> None:
    """Relative to the outputs' root mean square."""
    network = float_network(activation)
    inputs = np.random.default_rng(0).integers(-4096, 4097, (500, 96)).astype(np.int16)
    integer = IntegerNetwork.from_float(network, inputs, input_bits=12, output_bits=12, weight_bits=weight_bits)
    with torch.no_grad():
        expected = network.double()(torch.from_numpy(inputs).double() / 4096).numpy()
    actual = integer.forward(inputs) / 4096
    assert np.sqrt(((actual - expected) ** 2).mean()) < error * np.sqrt((expected**2).mean())


def test_quantization_copes_with_odd_scales() -> None:
    """Outputs of very different size, a dead output, a large bias, weights in one output 300 times the others'."""
    network = float_network(nn.ReLU())
    with torch.no_grad():
        network[0].weight[3] = 0
        network[0].bias[3] = 0
        network[0].weight[5] *= 300
        network[2].weight[7] = 0
        network[2].weight[9] *= 20
        network[2].bias[11] = 100.0
    inputs = np.random.default_rng(0).integers(-4096, 4097, (300, 96)).astype(np.int16)
    integer = IntegerNetwork.from_float(network, inputs, input_bits=12, output_bits=12)
    with torch.no_grad():
        expected = network.double()(torch.from_numpy(inputs).double() / 4096).numpy()
    error = np.abs(integer.forward(inputs) / 4096 - expected).max(axis=0)
    assert (error < 0.01 * np.abs(expected).max(axis=0) + 0.02).all()


def test_wrong_float_networks() -> None:
    inputs = np.zeros((2, 3), np.int16)
    with pytest.raises(ValueError, match="ReLU does not follow a Linear"):
        IntegerNetwork.from_float([nn.ReLU()], inputs, input_bits=8, output_bits=8)
    with pytest.raises(ValueError, match="expected Linear, ReLU and LeakyReLU, got Tanh"):
        IntegerNetwork.from_float([nn.Linear(3, 2), nn.Tanh()], inputs, input_bits=8, output_bits=8)
    with pytest.raises(ValueError, match=r"slope 1/2 to 2\^-15, got 0\.01"):
        IntegerNetwork.from_float([nn.Linear(3, 2), nn.LeakyReLU(0.01)], inputs, input_bits=8, output_bits=8)
    with pytest.raises(ValueError, match=r"calibration: expected int16 \[M, 4\]"):
        IntegerNetwork.from_float([nn.Linear(4, 2)], inputs, input_bits=8, output_bits=8)
    layer = nn.Linear(3, 2)
    layer.weight.data *= 1e6
    with pytest.raises(ValueError, match="leave no room"):
        IntegerNetwork.from_float([layer], inputs, input_bits=8, output_bits=16)
    with pytest.raises(ValueError, match="expected at least one Linear"):
        IntegerNetwork.from_float([], inputs, input_bits=8, output_bits=8)


# ---- Bounds and files


def tight(weight: int, bias: int, limit: int) -> IntegerLayer:
    return IntegerLayer(np.array([[weight, -weight]], np.int16), np.array([bias], np.int32), np.array([0], np.uint8))


def test_the_bound_is_exact() -> None:
    limit = 32767
    bias = 2**31 - 1 - 2 * 32767 * limit
    network = IntegerNetwork((tight(32767, bias, limit),), limit)
    extremes = np.array([[limit, -limit], [-limit, limit]], np.int16)
    assert network.forward(extremes).tolist() == [[2**31 - 1], [bias - 2 * 32767 * limit]]
    with pytest.raises(ValueError, match="layer 0: output 0: its sum may reach 2147483648, expected less than"):
        IntegerNetwork((tight(32767, bias + 1, limit),), limit)


def test_inputs_beyond_the_limit_are_refused() -> None:
    network = random_network([3, 2], input_limit=100)
    with pytest.raises(ValueError, match="inputs: expected magnitudes of at most 100, got -101 to 5"):
        network.forward(np.array([[5, -101, 0]], np.int16))
    with pytest.raises(ValueError, match=r"inputs: expected int16 \[M, 3\]"):
        network.forward(np.zeros((1, 4), np.int16))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"weights": np.full((2, 3), -32768, np.int16)}, "expected magnitudes of at most 32767"),
        ({"weights": np.zeros((2, 3))}, "weights: expected int16"),
        ({"bias": np.zeros(3, np.int32)}, r"bias: expected int32 \[2\]"),
        ({"shift": np.full(2, 31, np.uint8)}, "shift: expected uint8"),
        ({"activation": "tanh"}, "activation: expected one of none, relu, leaky, got 'tanh'"),
        ({"leak": 2}, "leak: expected 1 to 15 for leaky and 0 for others, got 2"),
        ({"limit": 5}, "limit: expected 0 in the last layer, got 5"),
    ],
)
def test_wrong_layers(changes: dict[str, Any], problem: str) -> None:
    layer = IntegerLayer(np.ones((2, 3), np.int16), np.zeros(2, np.int32), np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match=problem):
        IntegerNetwork((replace(layer, **changes),), 10)
    with pytest.raises(ValueError, match="takes 3 inputs, the layer before has 2 outputs"):
        IntegerNetwork((replace(layer, limit=9), layer), 10)


def same(a: IntegerNetwork, b: IntegerNetwork) -> bool:
    return a.input_limit == b.input_limit and all(
        (x.weights == y.weights).all()
        and (x.bias == y.bias).all()
        and (x.shift == y.shift).all()
        and (x.activation, x.leak, x.limit) == (y.activation, y.leak, y.limit)
        for x, y in zip(a.layers, b.layers, strict=True)
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=5), st.sampled_from(["relu", "leaky", "none"]), st.integers(0, 99)
)
def test_files_round_trip(widths: list[int], activation: str, seed: int) -> None:
    network = random_network(widths, seed, activation)
    data = network.to_bytes()
    assert same(IntegerNetwork.from_bytes(data), network)
    assert IntegerNetwork.from_bytes(data).to_bytes() == data


def test_quantized_weights_are_small_in_files() -> None:
    inputs = np.random.default_rng(0).integers(-4096, 4097, (500, 96)).astype(np.int16)
    network = IntegerNetwork.from_float(float_network(nn.ReLU()), inputs, input_bits=12, output_bits=12, weight_bits=10)
    assert len(network.to_bytes()) < 10 / 8 * 27_100 + 1500


def check_damages(widths: list[int], damages: Callable[..., int], count: int) -> None:
    data = random_network(widths, 3, "leaky").to_bytes()

    def well_formed(result: Any) -> bool:
        outputs = result.forward(np.zeros((2, result.inputs), np.int16))
        return bool(outputs.shape == (2, result.outputs))

    assert damages(data, IntegerNetwork.from_bytes, well_formed, count) > count // 2


def test_damage(damages: Callable[..., int]) -> None:
    check_damages([3, 4, 2], damages, 200)


@pytest.mark.slow
def test_damage_thoroughly(damages: Callable[..., int]) -> None:
    check_damages([20, 30, 10], damages, 10_000)


def test_files_may_not_ask_for_too_much() -> None:
    from gsbench.coding._bytes import varint

    huge = b"".join(varint(n) for n in (2, 4096, 16384, 16384, 1, 0, 99, 16384, 0, 0, 0, 1, 1, 1, 1))
    with pytest.raises(ArtifactError, match="weights, expected at most"):
        IntegerNetwork.from_bytes(huge)
