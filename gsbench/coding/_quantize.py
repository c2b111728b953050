"""Post-training quantization of dense networks; `IntegerNetwork.from_float` is its public form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gsbench.coding.intnet import IntegerLayer

#: Hidden values may exceed those of the calibration by this factor before they are clamped.
_MARGIN = 1.25

Float64 = npt.NDArray[np.float64]


def quantize_network(
    modules: Sequence[nn.Module],
    calibration: npt.NDArray[np.int16],
    input_bits: int,
    output_bits: int,
    weight_bits: int,
    input_limit: int | None,
    hidden_limit: int,
) -> tuple[tuple[IntegerLayer, ...], int]:
    """The layers and the input limit; arguments as `IntegerNetwork.from_float`."""
    if not 2 <= weight_bits <= 16:
        raise ValueError(f"weight_bits: expected 2 to 16, got {weight_bits}")
    if not 1 <= hidden_limit <= 32767:
        raise ValueError(f"hidden_limit: expected 1 to 32767, got {hidden_limit}")
    floats = _layers(modules)
    inputs = floats[0][0].shape[1]
    if calibration.dtype != np.int16 or calibration.ndim != 2 or not len(calibration) or calibration.shape[1] != inputs:
        raise ValueError(
            f"calibration: expected int16 [M, {inputs}], got {calibration.dtype} {list(calibration.shape)}"
        )
    limit = max(1, int(np.abs(calibration.astype(np.int32)).max())) if input_limit is None else input_limit
    first_limit = limit
    values = calibration.astype(np.float64) / 2.0**input_bits
    unit_bits = input_bits  # of the layer's inputs: q means q / 2^unit_bits
    layers = []
    for i, (weights, bias, activation, leak) in enumerate(floats):
        values = values @ weights.T + bias
        if activation != "none":
            values = np.where(values < 0, 0.0 if activation == "relu" else values / 2.0**leak, values)
        last = i == len(floats) - 1
        next_bits = (
            output_bits if last else math.floor(math.log2(hidden_limit / (max(np.abs(values).max(), 1e-9) * _MARGIN)))
        )
        layer, next_bits = _quantize(weights, bias, limit, unit_bits, next_bits, weight_bits, last, i)
        layers.append(IntegerLayer(*layer, activation=activation, leak=leak, limit=0 if last else hidden_limit))
        limit, unit_bits = hidden_limit, next_bits
    return tuple(layers), first_limit


def _layers(modules: Sequence[nn.Module]) -> list[tuple[Float64, Float64, str, int]]:
    """Weights, bias, activation and leak of each dense layer."""
    layers: list[tuple[Float64, Float64, str, int]] = []
    for module in modules:
        if isinstance(module, nn.Linear):
            weights = module.weight.detach().to("cpu", torch.float64).numpy()
            bias = (
                np.zeros(len(weights)) if module.bias is None else module.bias.detach().to("cpu", torch.float64).numpy()
            )
            if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
                raise ValueError(f"layer {len(layers)}: expected finite weights")
            layers.append((weights, bias, "none", 0))
            continue
        if not layers or layers[-1][2] != "none":
            raise ValueError(f"layers: {type(module).__name__} does not follow a Linear")
        weights, bias, _, _ = layers[-1]
        if isinstance(module, nn.ReLU):
            layers[-1] = weights, bias, "relu", 0
        elif isinstance(module, nn.LeakyReLU):
            leak = round(-math.log2(module.negative_slope)) if module.negative_slope > 0 else 0
            if not 1 <= leak <= 15 or module.negative_slope != 2.0**-leak:
                raise ValueError(f"layers: expected a LeakyReLU of slope 1/2 to 2^-15, got {module.negative_slope}")
            layers[-1] = weights, bias, "leaky", leak
        else:
            raise ValueError(f"layers: expected Linear, ReLU and LeakyReLU, got {type(module).__name__}")
    if not layers:
        raise ValueError("layers: expected at least one Linear")
    return layers


def _quantize(
    weights: Float64,
    bias: Float64,
    limit: int,
    unit_bits: int,
    next_bits: int,
    weight_bits: int,
    last: bool,
    layer: int,
) -> tuple[tuple[npt.NDArray[np.int16], npt.NDArray[np.int32], npt.NDArray[np.uint8]], int]:
    """Weights, bias and shifts, and the bits of the outputs' unit: hidden layers may have to do with fewer."""
    largest = np.abs(weights).max(axis=1)
    most = 2 ** (weight_bits - 1) - 1
    # The power of two of each output's weights: their largest fits weight_bits, and the sum int32.
    with np.errstate(divide="ignore"):
        bits = np.floor(np.log2(most / largest))
        room = np.floor(
            np.log2((2.0**31 - 2.0**29) / (np.abs(weights).sum(axis=1) * limit + np.abs(bias) * 2.0**unit_bits))
        )
    bits = np.minimum(bits, np.minimum(room, 60.0))
    least = next_bits - unit_bits  # shifts are not negative
    if not last and bits.min() < least:
        next_bits -= int(least - bits.min())
        least = next_bits - unit_bits
    # A last layer whose unit is finer than its weights': more of their 16 bits are used.
    short = bits < least
    if short.any():
        bits = np.maximum(bits, least)
        if (largest * 2.0**bits > 32767).any() or (bits > room).any():
            raise ValueError(
                f"layer {layer}: weights of up to {largest.max():.3g} leave no room for outputs in 2^-{next_bits}"
            )
    bits = np.minimum(bits, least + 30)
    scaled = np.rint(weights * 2.0 ** bits[:, None])
    offsets = np.rint(bias * 2.0 ** (bits + unit_bits))
    arrays = scaled.astype(np.int16), offsets.astype(np.int32), (bits - least).astype(np.uint8)
    return arrays, next_bits
