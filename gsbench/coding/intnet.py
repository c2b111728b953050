"""Networks in integers: the same outputs on every machine, any instruction set, any number of threads.

A layer computes y = activation((sum of weight x input + bias + rounding) >> shift): int16 weights and inputs, an int32
sum, one arithmetic shift per output with rounding = 2^(shift - 1) (halves go up; 0 if shift is 0). Hidden layers are
clamped to +-limit and are the next layer's int16 inputs; the last layer's y are the int32 outputs. ReLU and leaky ReLU
(y >> leak below 0) come before the clamp. Because sums of integers are exact, their order does not matter, as long as
none can leave int32: for every output, sum |weight| x (largest input) + |bias| + rounding < 2^31. This is checked
when a network is made, from weights or from a file, and inputs are checked against their limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt

from gsbench.coding._bytes import ByteReader, varint
from gsbench.coding.arrays import Array
from gsbench.coding.integers import decode_integers, encode_integers
from gsbench.errors import ArtifactError
from gsbench.native._arrays import empty_array
from gsbench.native.contexts import COLUMNS, PackedLayer, default_threads, dense_hidden, dense_last

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "IntegerLayer", "IntegerNetwork"]

#: Activations, in the order of their codes in files.
ACTIVATIONS: Final = ("none", "relu", "leaky")
MOST_LAYERS: Final = 64
MOST_WIDTH: Final = 1 << 14
#: Of a network in a file: weights of all layers together.
MOST_WEIGHTS: Final = 1 << 22
_MOST_SHIFT: Final = 30
#: Rows that go through all layers together: their activations stay in the cache.
_ROWS: Final = 1 << 14

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class IntegerLayer:
    """One dense layer.

    Fields:
        weights: int16 [outputs, inputs], of magnitude at most 32767.
        bias: int32 [outputs], in the unit of the sum, without the rounding.
        shift: uint8 [outputs], 0 to 30.
        activation: "none", "relu" or "leaky".
        leak: shift of "leaky", 1 to 15; 0 for the others.
        limit: 1 to 32767, the magnitude to which outputs are clamped; 0 for the last layer, which is not clamped.
    """

    weights: Int16
    bias: Int32
    shift: UInt8
    activation: str = "none"
    leak: int = 0
    limit: int = 0

    def problem(self, input_limit: int, last: bool) -> str | None:
        """What is wrong with the layer for inputs of magnitude at most `input_limit`, or None."""
        if self.weights.dtype != np.int16 or self.weights.ndim != 2:
            return f"weights: expected int16 [outputs, inputs], got {self.weights.dtype} {list(self.weights.shape)}"
        outputs, inputs = self.weights.shape
        if not (1 <= outputs <= MOST_WIDTH and 1 <= inputs <= MOST_WIDTH):
            return f"weights: expected 1 to {MOST_WIDTH} outputs and inputs, got {outputs} and {inputs}"
        if self.bias.dtype != np.int32 or self.bias.shape != (outputs,):
            return f"bias: expected int32 [{outputs}], got {self.bias.dtype} {list(self.bias.shape)}"
        if self.shift.dtype != np.uint8 or self.shift.shape != (outputs,) or self.shift.max() > _MOST_SHIFT:
            return f"shift: expected uint8 [{outputs}] of at most {_MOST_SHIFT}"
        if self.activation not in ACTIVATIONS:
            return f"activation: expected one of {', '.join(ACTIVATIONS)}, got {self.activation!r}"
        if not (1 <= self.leak <= 15 if self.activation == "leaky" else self.leak == 0):
            return f"leak: expected 1 to 15 for leaky and 0 for others, got {self.leak}"
        if not (self.limit == 0 if last else 1 <= self.limit <= 32767):
            return f"limit: expected {'0 in the last layer' if last else '1 to 32767'}, got {self.limit}"
        if self.weights.min() < -32767:
            return "weights: expected magnitudes of at most 32767, got -32768"
        sums = self.largest_sums(input_limit)
        if sums.max() >= 2**31:
            return f"output {int(sums.argmax())}: its sum may reach {int(sums.max())}, expected less than 2^31"
        return None

    def largest_sums(self, input_limit: int) -> Int64:
        """The largest magnitude that each output's sum, or any part of it, can have; int64 [outputs]."""
        weights = np.abs(self.weights.astype(np.int64)).sum(axis=1)
        sums: Int64 = weights * input_limit + np.abs(self.bias.astype(np.int64)) + self._rounding()
        return sums

    def _rounding(self) -> Int64:
        return (np.int64(1) << self.shift.astype(np.int64)) >> 1

    def packed(self) -> PackedLayer:
        """The layer as the native code has it."""
        outputs, inputs = self.weights.shape
        padded = -(-outputs // COLUMNS) * COLUMNS
        weights = np.zeros((padded, -(-inputs // 2) * 2), np.int16)
        weights[:outputs, :inputs] = self.weights
        pairs = np.ascontiguousarray(weights.reshape(padded, -1, 2).transpose(1, 0, 2))
        bias, shift = np.zeros(padded, np.int32), np.zeros(padded, np.int32)
        bias[:outputs] = self.bias + self._rounding()
        shift[:outputs] = self.shift
        code = ACTIVATIONS.index(self.activation)
        return PackedLayer(pairs, bias, shift, outputs, code, self.leak, self.limit or None)


@dataclass(frozen=True)
class IntegerNetwork:
    """Dense layers one after another.

    Args:
        layers: at least one.
        input_limit: the largest magnitude of inputs, 1 to 32767.

    Raises:
        ValueError: if a layer is not as its fields say, layers do not fit each other, or a sum might leave int32.
    """

    layers: tuple[IntegerLayer, ...]
    input_limit: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.layers) <= MOST_LAYERS:
            raise ValueError(f"layers: expected 1 to {MOST_LAYERS}, got {len(self.layers)}")
        if not 1 <= self.input_limit <= 32767:
            raise ValueError(f"input_limit: expected 1 to 32767, got {self.input_limit}")
        limit, width = self.input_limit, None
        for i, layer in enumerate(self.layers):
            if (problem := layer.problem(limit, last=i == len(self.layers) - 1)) is not None:
                raise ValueError(f"layer {i}: {problem}")
            outputs, inputs = layer.weights.shape
            if width not in (None, inputs):
                raise ValueError(f"layer {i}: takes {inputs} inputs, the layer before has {width} outputs")
            limit, width = layer.limit, outputs

    @property
    def inputs(self) -> int:
        """Width of the first layer's inputs."""
        return int(self.layers[0].weights.shape[1])

    @property
    def outputs(self) -> int:
        """Width of the outputs."""
        return int(self.layers[-1].weights.shape[0])

    @cached_property
    def _packed(self) -> tuple[PackedLayer, ...]:
        return tuple(layer.packed() for layer in self.layers)

    def forward(self, inputs: Array, threads: int | None = None) -> Array:
        """The outputs, int32 [M, outputs].

        Args:
            inputs: int16 [M, inputs], of magnitude at most `input_limit`; NumPy's, or a tensor on a GPU, where the
                outputs are then, too (`gsbench.coding.arrays`).
            threads: how many to use on the CPU; by default as many as this process may run on. The result does not
                depend on it.

        Raises:
            ValueError: if an argument is not as stated.
        """
        if isinstance(inputs, np.ndarray):
            return cast("Array", self._on_the_cpu(inputs, default_threads() if threads is None else threads))
        return self._on_a_device(inputs)

    def _on_the_cpu(self, inputs: Int16, threads: int) -> Int32:
        self._check_kind(inputs, inputs.dtype == np.int16)
        self._check_limit(*((int(inputs.min()), int(inputs.max())) if inputs.size else (0, 0)))
        outputs = empty_array((len(inputs), self.outputs), np.int32)
        for start in range(0, len(inputs), _ROWS):
            rows = slice(start, start + _ROWS)
            outputs[rows] = self._forward(inputs[rows], threads)
        return outputs

    def _on_a_device(self, inputs: Tensor) -> Tensor:
        import torch

        from gsbench.native.cuda.contexts import DeviceLayer, run_network

        self._check_kind(inputs, inputs.dtype == torch.int16)
        self._check_limit(*(torch.stack(inputs.aminmax()).tolist() if inputs.numel() else (0, 0)))
        if inputs.shape[1] % 2:
            inputs = torch.nn.functional.pad(inputs, (0, 1))
        layers = [DeviceLayer.of(layer, inputs.device) for layer in self._packed]
        return run_network(layers, inputs.contiguous())

    def _check_kind(self, inputs: Any, int16: bool) -> None:
        if not int16 or inputs.ndim != 2 or inputs.shape[1] != self.inputs:
            raise ValueError(f"inputs: expected int16 [M, {self.inputs}], got {inputs.dtype} {list(inputs.shape)}")

    def _check_limit(self, low: int, high: int) -> None:
        if not -self.input_limit <= low <= high <= self.input_limit:
            raise ValueError(f"inputs: expected magnitudes of at most {self.input_limit}, got {low} to {high}")

    def _forward(self, inputs: Int16, threads: int) -> Int32:
        if inputs.shape[1] % 2:
            inputs = np.pad(inputs, ((0, 0), (0, 1)))
        values = np.ascontiguousarray(inputs)
        for layer in self._packed[:-1]:
            values = dense_hidden(layer, values, -(-layer.outputs // 2) * 2, threads)
        return dense_last(self._packed[-1], values, threads)

    def to_bytes(self) -> bytes:
        """The network as a stream. Numbers are unsigned LEB128: layers, input limit, inputs of the first layer; per
        layer outputs, activation code, leak, limit; then the lengths of four streams of `encode_integers` and these:
        all weights divided by the power of two that all of an output share (row by row), the exponents of those
        powers (per output), biases, shifts.
        """
        head = [varint(len(self.layers)), varint(self.input_limit), varint(self.inputs)]
        for layer in self.layers:
            numbers = (len(layer.weights), ACTIVATIONS.index(layer.activation), layer.leak, layer.limit)
            head += [varint(number) for number in numbers]
        weights, exponents = [], []
        for layer in self.layers:
            wide = layer.weights.astype(np.int32)
            together = np.bitwise_or.reduce(np.abs(wide), axis=1)
            lowest = np.where(together > 0, together & -together, 1)
            weights.append((wide // lowest[:, None]).reshape(-1))
            exponents.append(np.log2(lowest).astype(np.int32))
        streams = [
            encode_integers(np.concatenate(parts).astype(np.int32))
            for parts in (
                weights,
                exponents,
                [layer.bias for layer in self.layers],
                [layer.shift for layer in self.layers],
            )
        ]
        return b"".join([*head, *(varint(len(stream)) for stream in streams), *streams])

    @classmethod
    def from_bytes(cls, data: bytes) -> IntegerNetwork:
        """The network of a stream of `to_bytes`.

        Raises:
            ArtifactError: if the stream is damaged, or what it describes might overflow.
        """
        reader = ByteReader(data, "integer network")
        count = reader.varint(MOST_LAYERS)
        input_limit = reader.varint(32767)
        width = reader.varint(MOST_WIDTH)
        shapes, kinds = [], []
        for _ in range(count):
            outputs = reader.varint(MOST_WIDTH)
            shapes.append((outputs, width))
            kinds.append((reader.varint(len(ACTIVATIONS) - 1), reader.varint(15), reader.varint(32767)))
            width = outputs
        all_outputs = sum(outputs for outputs, _ in shapes)
        sizes = (sum(a * b for a, b in shapes), all_outputs, all_outputs, all_outputs)
        if sizes[0] > MOST_WEIGHTS:
            raise ArtifactError(f"integer network: {sizes[0]} weights, expected at most {MOST_WEIGHTS}")
        lengths = [reader.varint() for _ in sizes]
        arrays: list[Int32] = []
        for size, length in zip(sizes, lengths, strict=True):
            values = decode_integers(reader.take(length), size)
            if len(values) != size:
                raise ArtifactError(f"integer network: {len(values)} numbers, expected {size}")
            arrays.append(values)
        reader.finish()
        weights, exponents, biases, shifts = arrays
        if len(exponents) and not (0 <= exponents.min() <= exponents.max() <= 15 and 0 <= shifts.min() <= shifts.max()):
            raise ArtifactError("integer network: damaged: exponents or shifts out of range")
        layers = []
        row = place = 0
        for (outputs, inputs), (activation, leak, limit) in zip(shapes, kinds, strict=True):
            rows = slice(row, row + outputs)
            block = weights[place : place + outputs * inputs].reshape(outputs, inputs).astype(np.int64)
            block <<= exponents[rows, None].astype(np.int64)
            if block.size and max(-block.min(), block.max(), shifts[rows].max()) > 32767:
                raise ArtifactError("integer network: damaged: a weight beyond 16 bits")
            shift = np.minimum(shifts[rows], 255).astype(np.uint8)
            layers.append(
                IntegerLayer(block.astype(np.int16), biases[rows], shift, ACTIVATIONS[activation], leak, limit)
            )
            row += outputs
            place += outputs * inputs
        try:
            return cls(tuple(layers), input_limit)
        except ValueError as error:
            raise ArtifactError(f"integer network: {error}") from None

    @classmethod
    def from_float(
        cls,
        layers: Sequence[nn.Module],
        calibration: Int16,
        *,
        input_bits: int,
        output_bits: int,
        weight_bits: int = 12,
        input_limit: int | None = None,
        hidden_limit: int = 8191,
    ) -> IntegerNetwork:
        """The integer network that comes near a float one.

        Each output's weights are scaled by the power of two that brings their largest to `weight_bits`; hidden layers
        by the power of two that brings what `calibration` makes them reach to within `hidden_limit`.

        Args:
            layers: a torch.nn.Sequential, or modules in order: Linear, each followed by ReLU, LeakyReLU or nothing.
                The slope of a LeakyReLU must be 2^-leak.
            calibration: int16 [M, inputs], typical inputs, M at least 1.
            input_bits: input q means q / 2^input_bits.
            output_bits: output y means y / 2^output_bits.
            weight_bits: 2 to 16, the sign included.
            input_limit: the largest magnitude of inputs; that of `calibration` by default.
            hidden_limit: 1 to 32767.

        Raises:
            ValueError: if an argument is not as stated, or weights are too large for the output's unit.
        """
        from gsbench.coding._quantize import quantize_network

        integer = quantize_network(layers, calibration, input_bits, output_bits, weight_bits, input_limit, hidden_limit)
        return cls(*integer)
