"""The file of hac++: features are coded chunk by chunk, by mixtures of two Gaussians."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench import ArtifactError, ArtifactReader
from gsbench.coding.arrays import Array, beside, concatenate, convert, pick
from gsbench.coding.intnet import IntegerNetwork
from gsbench.coding.mixture import weights_of
from gsbench.coding.steps import STEP_LIMIT, step_table
from gsbench.coding.streams import Stream, Writing
from gsbench.methods.arrays import header_int
from gsbench.training.anchors.networks import TwoLayers
from gsbench_hac.codec import MOST_WIDTH, SAMPLE, Codec, read_network
from gsbench_hac.context import MEAN_SHIFT, ChannelContext
from gsbench_hac.integers import OUTPUT_BITS, cheapest, group_model
from gsbench_hac.model import HacModel

#: Bits after the point, of what the networks of chunks are given.
INPUT_BITS: Final = 10
INPUT_LIMIT: Final = 32767
#: Bits after the point, of the multipliers of steps.
_MULTIPLIER_BITS: Final = 14

Int32 = npt.NDArray[np.int32]


class ChannelCodec(Codec):
    """The codec of HAC, with the features by two Gaussians each: one by the hash grid, one by the chunks before.

    A section `chunks_<c>` holds the integer network of each chunk. Its inputs are the context's outputs about features
    and the features of the chunks before, in the unit of the means, both in 2^-10.
    """

    outputs_per_value = (3, 2, 2)

    def further_networks(
        self, model: HacModel, outputs: dict[str, Array], indices: dict[str, Array], symbols: dict[str, Int32]
    ) -> tuple[IntegerNetwork, ...]:
        """The networks of the chunks."""
        context = model.context
        assert isinstance(context, ChannelContext)
        total = len(symbols["features"])
        rows = slice(None, None, max(1, total // SAMPLE))
        outputs_of, index, known = outputs["features"][rows], indices["features"][rows], symbols["features"][rows]
        share = max(1, len(known)) / max(1, total)
        all_inputs = concatenate([_said(outputs_of), _worth(known, index)])
        networks = []
        for c, network in enumerate(context.chunks):
            assert isinstance(network, TwoLayers)
            part = slice(c * context.channels, (c + 1) * context.channels)
            inputs = all_inputs[:, : outputs_of.shape[1] + part.start]
            cost = partial(_bytes_of_chunk, known[:, part], outputs_of, inputs, index, part, share)
            networks.append(cheapest(network, inputs, INPUT_BITS, INPUT_LIMIT, cost))
        return tuple(networks)

    def code_features(
        self, stream: Stream, symbols: Int32 | None, outputs: Array, index: Array, networks: tuple[IntegerNetwork, ...]
    ) -> Int32:
        """Chunk by chunk; what is read of one goes into the next."""
        n, size = len(outputs), outputs.shape[1] // 3
        channels = size // len(networks)
        found = np.empty((n, size), np.int32)
        inputs = _said(outputs)
        for c, network in enumerate(networks):
            part = slice(c * channels, (c + 1) * channels)
            known = None if symbols is None else symbols[:, part]
            found[:, part] = _code_chunk(stream, known, outputs, network.forward(inputs), index, part)
            inputs = concatenate([inputs, _worth(found[:, part], index)])
        return found

    def read_networks(self, artifact: ArtifactReader, feat_dim: int) -> tuple[IntegerNetwork, ...]:
        """The networks of the chunks, whose number the header has."""
        count = header_int(artifact, "chunks", 1, MOST_WIDTH)
        if feat_dim % count:
            raise ArtifactError(f"{artifact.path}: header: chunks: expected a divisor of {feat_dim}, got {count}")
        channels = feat_dim // count
        return tuple(
            read_network(artifact, f"chunks_{c}", 3 * feat_dim + c * channels, 3 * channels, INPUT_LIMIT)
            for c in range(count)
        )


def _code_chunk(stream: Stream, symbols: Int32 | None, outputs: Array, said: Array, index: Array, part: slice) -> Int32:
    """The channels `part` of features, given the context's outputs and what the chunk's network said."""
    size, channels = outputs.shape[1] // 3, part.stop - part.start
    first = [outputs[:, k * size : (k + 1) * size][:, part] for k in range(3)]
    second = [said[:, k * channels : (k + 1) * channels] for k in range(3)]
    models = [group_model("features", mean, log2, index) for mean, log2, _ in (first, second)]
    return stream.mixture(symbols, models[0], models[1], weights_of(first[2], second[2], OUTPUT_BITS))


def _bytes_of_chunk(
    symbols: Int32, outputs: Array, inputs: Array, index: Array, part: slice, share: float, network: IntegerNetwork
) -> float:
    """What a chunk costs with this network, by a share of the anchors."""
    stream = Writing()
    _code_chunk(stream, symbols, outputs, network.forward(inputs), index, part)
    return len(stream.encoder.finish()) / share


def _worth(symbols: Int32, index: Array) -> Array:
    """What symbols are worth, in the unit of the means of features, as inputs of the networks, int16, where `index`
    is.
    """
    # The table's float32 times a power of two, rounded: the same on every machine.
    multipliers = np.rint(step_table().multiplier.astype(np.float64) * 2.0**_MULTIPLIER_BITS).astype(np.int64)
    drop = _MULTIPLIER_BITS + MEAN_SHIFT["features"] - INPUT_BITS
    wide = convert(beside(symbols, index), "int64") * pick(multipliers, index + STEP_LIMIT)
    worth = (wide + (1 << drop >> 1)) >> drop
    return convert(worth.clip(-INPUT_LIMIT, INPUT_LIMIT), "int16")


def _said(outputs: Array) -> Array:
    """The context's outputs, rounded, as inputs of the networks, int16."""
    drop = OUTPUT_BITS - INPUT_BITS
    # Limited first, so that nothing overflows; the limit is a whole number of what is dropped.
    rounded = outputs.clip(-INPUT_LIMIT << drop, INPUT_LIMIT << drop)
    rounded += 1 << drop >> 1
    rounded >>= drop
    return convert(rounded, "int16")
