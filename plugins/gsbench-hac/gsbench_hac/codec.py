"""The file of hac: from a trained model to sections and back.

Sections, in this order; what belongs to anchors is in the order in which `positions` gives them:

    positions   the voxels of the anchors that have a live offset, as an octree
    grid        the signs of the rows of the hash grid that those anchors touch; all others do not matter
    context     the integer network that predicts from the grid
    chunks_<c>  hac++ (channels.py): the integer networks of the chunks of features
    masks       which offsets live
    features, scales, offsets
                integers, each coded by the Gaussian that the context predicts, and worth as many of the anchor's
                adaptive steps; offsets that do not live are left out
    mlps        the networks that make Gaussians of anchors, quantized

`Coded` is all that in memory; it is written and read by one function, so that both sides do the same. `device` is where
contexts are computed (`gsbench.coding.arrays`); files, and what they decode to, are the same everywhere.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from gsbench import ArtifactError, ArtifactReader, ArtifactWriter
from gsbench.coding.arrays import Array, beside, host, place
from gsbench.coding.bits import decode_flags, encode_flags
from gsbench.coding.intnet import IntegerNetwork
from gsbench.coding.octree import decode_positions, encode_positions
from gsbench.coding.sign_grid import pack_signs, touched_rows, unpack_signs
from gsbench.coding.steps import dequantize, quantize
from gsbench.coding.streams import Reading, Stream, Writing
from gsbench.methods.arrays import (
    fill_weights,
    header_float,
    header_int,
    in_section,
    quantize_weights,
    read_weights,
    write_weights,
)
from gsbench.training.anchors import AnchorNetworks, Anchors, ExactAnchorRenderable
from gsbench.training.hashgrid import HashLayout
from gsbench_hac.coded import Coded, triple
from gsbench_hac.context import GROUPS
from gsbench_hac.integers import (
    GRID_BITS,
    Box,
    cheapest,
    grid_features,
    group_model,
    signs_of,
    split_outputs,
    step_indices,
)
from gsbench_hac.model import HacModel

#: A file that claims more is refused.
MOST_ANCHORS: Final = 1 << 26
MOST_WIDTH: Final = 512
MOST_VOXEL: Final = 1 << 30
#: As the settings have it: no symbol times such a step overflows float32.
MOST_STEP: Final = 1e9
#: Anchors on which the encoder compares networks.
SAMPLE: Final = 1 << 12

Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Device = torch.device | str


class Codec:
    """How models of hac become files. hac++ has a subclass."""

    #: Outputs of the context network per feature, scale and offset coordinate.
    outputs_per_value: tuple[int, int, int] = (2, 2, 2)

    # From a model to integers.

    def quantize(self, model: HacModel, device: Device = "cpu") -> Coded:
        """Choose all integers, with the context in integers."""
        if model.device.type != "cpu":  # elsewhere, exp has other bits
            model = type(model).from_state(model.state(), model.model_params)
        lives = ~model.useless()
        voxels = model.tensors()["voxels"][lives].numpy()
        origin = voxels.min(axis=0) if len(voxels) else np.zeros(3, np.int32)
        _, order = encode_positions(np.ascontiguousarray(voxels - origin))
        index = lives.nonzero().squeeze(1)[torch.from_numpy(order)]
        voxels = voxels[order]
        masks = model.live_offsets()[index].numpy()

        box = Box(triple(model.low), triple(model.extent))
        context = model.context
        levels = context.grid.levels
        signs = signs_of(context)
        points = place(box.points(voxels), device)
        signs[~host(touched_rows(points, box.extent, levels.numpy(), len(signs)))] = 0
        features = grid_features(points, box.extent, levels, place(signs, device))
        steps = {group: float(np.float32(context.steps[group])) for group in GROUPS}
        values = {group: place(model.values_of(group)[index].flatten(1).numpy(), device) for group in GROUPS}
        sample = slice(None, None, max(1, len(voxels) // SAMPLE))

        def bytes_of_all(network: IntegerNetwork) -> float:
            outputs = network.forward(features[sample])
            rows = {group: values[group][sample] for group in GROUPS}
            symbols = _symbols(rows, steps, step_indices(outputs), masks[sample])
            share = max(1, len(outputs)) / max(1, len(voxels))
            return sum(self._cost(symbols, outputs, masks[sample]).values()) / share

        network = cheapest(context.network, features, GRID_BITS, 1 << GRID_BITS, bytes_of_all)
        outputs = network.forward(features)
        indices = step_indices(outputs)
        symbols = _symbols(values, steps, indices, masks)
        further = self.further_networks(model, self.split(outputs, symbols, masks), indices, symbols)
        return Coded(
            voxel_size=model.voxel_size,
            steps=steps,
            box=box,
            layout=context.grid.layout,
            voxels=voxels,
            masks=masks,
            signs=signs,
            context=network,
            symbols=symbols,
            mlps=quantize_weights(model.networks),
            further=further,
        )

    def _cost(self, symbols: dict[str, Int32], outputs: Array, masks: Bool) -> dict[str, int]:
        """The bytes of each group, all by the context's Gaussians."""
        parts, indices = self.split(outputs, symbols, masks), step_indices(outputs)
        cost = {}
        for group in GROUPS:
            stream = Writing()
            if group == "offsets":
                self.code_offsets(stream, symbols[group], parts[group], indices[group], masks)
            else:
                _code(stream, group, symbols[group], parts[group][:, : 2 * symbols[group].shape[1]], indices[group])
            cost[group] = len(stream.encoder.finish())
        return cost

    def further_networks(
        self, model: HacModel, outputs: dict[str, Array], indices: dict[str, Array], symbols: dict[str, Int32]
    ) -> tuple[IntegerNetwork, ...]:
        """Further integer networks, given the context's outputs for each group."""
        return ()

    def sizes(self, feat_dim: int, n_offsets: int) -> list[int]:
        """How many outputs of the context network are about each group."""
        return [a * b for a, b in zip(self.outputs_per_value, (feat_dim, 6, 3 * n_offsets), strict=True)]

    def split(self, outputs: Array, symbols: dict[str, Int32], masks: Bool) -> dict[str, Array]:
        """The outputs about each group."""
        return split_outputs(outputs, self.sizes(symbols["features"].shape[1], masks.shape[1]))

    # The streams of the attributes, alike in both directions.

    def code_features(
        self, stream: Stream, symbols: Int32 | None, outputs: Array, index: Array, networks: tuple[IntegerNetwork, ...]
    ) -> Int32:
        """Features [n, F] through a stream, given the context's outputs about them."""
        return _code(stream, "features", symbols, outputs, index)

    def code_offsets(self, stream: Stream, symbols: Int32 | None, outputs: Array, index: Array, masks: Bool) -> Int32:
        """Live offsets [live, 3] through a stream."""
        n, k = masks.shape
        mean, log2 = (outputs[:, half * 3 * k : (half + 1) * 3 * k].reshape(n * k, 3) for half in range(2))
        live = beside(np.flatnonzero(masks), index)
        return stream.gaussian(symbols, group_model("offsets", mean[live], log2[live], index[live // k]))

    # Files.

    def write(self, coded: Coded, out: ArtifactWriter, device: Device = "cpu") -> None:
        """Write the sections."""
        n, k = coded.masks.shape
        origin = coded.voxels.min(axis=0) if n else np.zeros(3, np.int32)
        out.header |= {
            "anchors": n,
            "feat_dim": coded.symbols["features"].shape[1],
            "n_offsets": k,
            "voxel_size": coded.voxel_size,
            "origin": origin.tolist(),
            "box": [list(coded.box.low), list(coded.box.extent)],
            "space_entries": coded.layout.space_entries,
            "plane_entries": coded.layout.plane_entries,
            **{f"q_{group}": coded.steps[group] for group in GROUPS},
        }
        if coded.further:
            out.header["chunks"] = len(coded.further)
        positions, order = encode_positions(np.ascontiguousarray(coded.voxels - origin))
        assert np.array_equal(order, np.arange(n))
        out.section("positions", positions, kind="octree")
        levels = coded.layout.levels()
        rows, contexts = _grid_rows(place(coded.box.points(coded.voxels), device), coded.box, levels)
        out.section("grid", encode_flags(_sign_bits(coded.signs[rows]), contexts), kind="signs")
        out.section("context", coded.context.to_bytes(), kind="network")
        for c, network in enumerate(coded.further):
            out.section(f"chunks_{c}", network.to_bytes(), kind="network")
        out.section("masks", encode_flags(coded.masks.reshape(-1).astype(np.uint8), _mask_contexts(n, k)), kind="flags")
        outputs = coded.outputs(device)
        parts, indices = self.split(outputs, coded.symbols, coded.masks), step_indices(outputs)
        for group in GROUPS:
            stream = Writing()
            self._code_group(
                stream, group, coded.symbols[group], parts[group], indices[group], coded.masks, coded.further
            )
            out.section(group, stream.encoder.finish(), kind="integers")
        write_weights(out, "mlps", coded.mlps)

    def read(self, artifact: ArtifactReader, device: Device = "cpu") -> Coded:
        """Read them back.

        Raises:
            ArtifactError: if the file is damaged.
        """
        n = header_int(artifact, "anchors", 0, MOST_ANCHORS)
        f, k = (header_int(artifact, name, 1, MOST_WIDTH) for name in ("feat_dim", "n_offsets"))
        origin = _header_triples(artifact, "origin", [artifact.header.get("origin")], -MOST_VOXEL)[0]
        box = _header_triples(artifact, "box", artifact.header.get("box"), -MOST_VOXEL, count=2)
        if min(box[1]) < 1:
            raise ArtifactError(f"{artifact.path}: header: box: expected an extent of at least 1, got {box[1]}")
        layout = HashLayout(
            space_entries=header_int(artifact, "space_entries", 1, 1 << 24),
            plane_entries=header_int(artifact, "plane_entries", 1, 1 << 24),
        )
        steps = {group: header_float(artifact, f"q_{group}", most=MOST_STEP) for group in GROUPS}
        with in_section(artifact, "positions"):
            relative = decode_positions(artifact.read("positions"), n)
            if len(relative) != n:
                raise ArtifactError(f"expected {n} anchors, got {len(relative)}")
        wide = relative + np.array(origin, np.int64)
        if wide.max(initial=0) >= 2**31:
            raise ArtifactError(f"{artifact.path}: header: origin: {origin} puts anchors at {wide.max()}, beyond 2^31")
        voxels = wide.astype(np.int32)
        levels, where = layout.levels(), Box(box[0], box[1])
        points = place(where.points(voxels), device)
        rows, contexts = _grid_rows(points, where, levels)
        signs = np.zeros(int(levels[:, 3].sum()), np.uint8)
        with in_section(artifact, "grid"):
            flags = decode_flags(artifact.read("grid"), len(contexts), contexts)
        signs[rows] = pack_signs(flags.reshape(-1, 4) == 1)
        sizes = self.sizes(f, k)
        context = read_network(artifact, "context", 4 * len(levels), sum(sizes) + len(GROUPS), 1 << GRID_BITS)
        further = self.read_networks(artifact, f)
        with in_section(artifact, "masks"):
            masks = decode_flags(artifact.read("masks"), n * k, _mask_contexts(n, k)).reshape(n, k) == 1
        outputs = context.forward(grid_features(points, where.extent, levels, place(signs, device)))
        parts, indices = split_outputs(outputs, sizes), step_indices(outputs)
        symbols = {}
        for group in GROUPS:
            with in_section(artifact, group):
                stream = Reading(artifact.read(group))
                symbols[group] = self._code_group(stream, group, None, parts[group], indices[group], masks, further)
                stream.decoder.finish()
        mlps = read_weights(artifact, "mlps", AnchorNetworks(f, k))
        voxel_size = header_float(artifact, "voxel_size")
        return Coded(voxel_size, steps, where, layout, voxels, masks, signs, context, symbols, mlps, further)

    def read_networks(self, artifact: ArtifactReader, feat_dim: int) -> tuple[IntegerNetwork, ...]:
        """The further networks of a file."""
        return ()

    def _code_group(
        self,
        stream: Stream,
        group: str,
        symbols: Int32 | None,
        outputs: Array,
        index: Array,
        masks: Bool,
        networks: tuple[IntegerNetwork, ...],
    ) -> Int32:
        if group == "features":
            return self.code_features(stream, symbols, outputs, index, networks)
        if group == "offsets":
            return self.code_offsets(stream, symbols, outputs, index, masks)
        return _code(stream, group, symbols, outputs, index)

    def renderable(self, coded: Coded, device: Device = "cpu") -> ExactAnchorRenderable:
        """The anchors that the integers stand for, on `device`: every value is a symbol times its step, one product in
        float32.
        """
        n, k = coded.masks.shape
        indices = step_indices(coded.outputs(device))
        live = beside(np.flatnonzero(coded.masks), indices["offsets"])
        indices["offsets"] = indices["offsets"][live // k]
        features, scales, of_live = (
            torch.as_tensor(dequantize(place(coded.symbols[group], device), coded.steps[group], indices[group]))
            for group in GROUPS
        )
        offsets = torch.zeros(n * k, 3, device=device)
        offsets[torch.as_tensor(live)] = of_live
        networks = AnchorNetworks(coded.symbols["features"].shape[1], k)
        fill_weights(networks, coded.mlps)
        anchors = Anchors(
            torch.from_numpy(coded.voxels.astype(np.float32) * np.float32(coded.voxel_size)).to(device),
            features,
            scales,
            offsets.reshape(n, k, 3),
            torch.from_numpy(coded.masks.astype(np.float32)).to(device),
        )
        return ExactAnchorRenderable(anchors, networks).to(device)


def _symbols(
    values: dict[str, Array], steps: dict[str, float], indices: dict[str, Array], masks: Bool
) -> dict[str, Int32]:
    """The integers of all groups; of offsets, those that live."""
    symbols = {group: host(quantize(values[group], steps[group], indices[group])) for group in GROUPS}
    symbols["offsets"] = symbols["offsets"].reshape(-1, 3)[masks.reshape(-1)]
    return symbols


def _code(stream: Stream, group: str, symbols: Int32 | None, outputs: Array, index: Array) -> Int32:
    size = outputs.shape[1] // 2
    model = group_model(group, outputs[:, :size], outputs[:, size:], index)
    return stream.gaussian(symbols, model)


def _grid_rows(points: Array, box: Box, levels: torch.Tensor) -> tuple[npt.NDArray[np.int64], Int32]:
    """The rows of the grid that points touch, ascending, and for each of their signs its context: the level."""
    total = int(levels[:, 3].sum())
    rows = np.flatnonzero(host(touched_rows(points, box.extent, levels.numpy(), total)))
    level = np.searchsorted(levels[:, 2].numpy(), rows, side="right") - 1
    return rows, np.repeat(level, 4).astype(np.int32)


def _sign_bits(signs: UInt8) -> UInt8:
    bits: UInt8 = unpack_signs(signs).reshape(-1).astype(np.uint8)
    return bits


def _mask_contexts(n: int, k: int) -> Int32:
    return np.tile(np.arange(k, dtype=np.int32), n)


def read_network(artifact: ArtifactReader, name: str, inputs: int, outputs: int, limit: int) -> IntegerNetwork:
    """The integer network of a section, of these sizes and with inputs of at most `limit`.

    Raises:
        ArtifactError: if the section is missing or damaged, or holds another network.
    """
    with in_section(artifact, name):
        network = IntegerNetwork.from_bytes(artifact.read(name))
        if (network.inputs, network.outputs, network.input_limit) != (inputs, outputs, limit):
            raise ArtifactError(
                f"expected {inputs} inputs up to {limit} and {outputs} outputs, got {network.inputs} up to "
                f"{network.input_limit} and {network.outputs}"
            )
    return network


def _header_triples(
    artifact: ArtifactReader, name: str, value: Any, least: int, count: int = 1
) -> list[tuple[int, int, int]]:
    lists = isinstance(value, list) and len(value) == count and all(isinstance(v, list) and len(v) == 3 for v in value)
    if not lists or any(type(i) is not int or not least <= i < 2**31 for v in value for i in v):
        raise ArtifactError(f"{artifact.path}: header: {name}: expected three integers each, got {value!r}")
    return [triple(v) for v in value]
