"""The files of hac and hac++: what they decode to, wherever that happens, and what they cost."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gsbench_hac import integers
from gsbench_hac.codec import Codec
from gsbench_hac.coded import Coded
from gsbench_hac.integers import grid_features, group_model, step_indices

from gsbench import ArtifactReader, ArtifactWriter, Context
from gsbench.artifact import container
from gsbench.coding.gaussian import table_bits
from gsbench.errors import ArtifactError
from gsbench.hooks import method_class
from gsbench.native import cpu_isa, set_cpu_isa
from gsbench.raster import RenderOptions, render
from gsbench.testing import tiny_scene

METHODS = ("hac", "hac++")


def context(folder: Path, iterations: int | None = 60) -> Context:
    return Context(torch.device("cpu"), 1, 0, folder, iterations)


@pytest.fixture(scope="module", params=METHODS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """A method, its config, and a model in which some offsets and some anchors do not live."""
    method = method_class(request.param)()
    config = method.Config(densification_interval=15, densify_grad_threshold=1e-5, lmbda=0.001)
    scene = tiny_scene(views=8, width=48, height=36, points=400).for_training()
    model = method.fit(scene, config, context(tmp_path_factory.mktemp("fit")))
    with torch.no_grad():
        g = torch.Generator().manual_seed(4)
        model.gaussians._mask[torch.rand(model.gaussians._mask.shape, generator=g) < 0.3] = -10.0
        model.gaussians._mask[::9] = -10.0
    return method, config, model


def write(method: Any, config: Any, model: Any, path: Path) -> Path:
    with ArtifactWriter(path, "hac", "0") as out:
        method.encode(model, config, out, context(path.parent))
    return path


def test_what_is_decoded_is_what_was_quantized(trained: tuple[Any, Any, Any], tmp_path: Path) -> None:
    method, config, model = trained
    codec: Codec = method.codec
    coded = codec.quantize(model.gaussians)
    read = codec.read(ArtifactReader(write(method, config, model, tmp_path / "a.gsb")))
    assert read.state().keys() == coded.state().keys()
    for name, value in coded.state()["tensors"].items():
        assert torch.equal(value, read.state()["tensors"][name]), name
    assert {k: v for k, v in read.state().items() if k != "tensors"} == {
        k: v for k, v in coded.state().items() if k != "tensors"
    }

    # Within half a step of the model, and no anchor or offset too many.
    anchors = codec.renderable(read).anchors
    live = model.gaussians.live_offsets()
    kept = live.any(dim=1)
    assert 0 < len(anchors) == int(kept.sum()) < len(model.gaussians)
    assert anchors.masks is not None
    assert int(anchors.masks.sum()) == int(live.sum())
    place = {tuple(v): i for i, v in enumerate(model.gaussians._voxels.tolist())}
    order = [place[tuple(v)] for v in read.voxels.tolist()]
    assert torch.equal(anchors.positions, model.gaussians.get_xyz[order])
    assert torch.equal(anchors.masks > 0, live[order])
    features = model.gaussians._anchor_feat.detach()[order]
    points = read.box.points(read.voxels)
    outputs = read.context.forward(grid_features(points, read.box.extent, read.layout.levels(), read.signs))
    steps = 1.0 + np.tanh(step_indices(outputs)["features"] / 64)
    assert bool(((anchors.features - features).abs() <= torch.from_numpy(steps) * 0.5001 + 1e-6).all())


def test_a_model_from_a_file_encodes_to_the_same_file(trained: tuple[Any, Any, Any], tmp_path: Path) -> None:
    method, config, model = trained
    first = write(method, config, model, tmp_path / "a.gsb")
    again = method.model_from(ArtifactReader(first))
    assert write(method, config, again, tmp_path / "b.gsb").read_bytes() == first.read_bytes()
    restored = type(method).model_class.from_state(again.state(), config)
    assert write(method, config, restored, tmp_path / "c.gsb").read_bytes() == first.read_bytes()
    view = tiny_scene().train[0]
    decoded = type(method).decode(ArtifactReader(first), context(tmp_path))
    assert torch.equal(restored.render(view, torch.zeros(3)), decoded.render(view, torch.zeros(3)))


def test_the_gaussians_of_a_camera_are_what_it_renders(trained: tuple[Any, Any, Any], tmp_path: Path) -> None:
    method, config, model = trained
    decoded = type(method).decode(ArtifactReader(write(method, config, model, tmp_path / "a.gsb")), context(tmp_path))
    images = []
    for view in tiny_scene().train[:2]:
        found = decoded.gaussians(view)
        assert len(found.means) > 0
        assert found.sh_degree is None
        drawn = render(found, view, RenderOptions(background=torch.ones(3))).image
        assert torch.equal(drawn, decoded.render(view, torch.ones(3)))
        images.append(found.colors)
    assert images[0].shape != images[1].shape or not torch.equal(images[0], images[1])
    with pytest.raises(NotImplementedError, match=r"gaussians\(camera\)"):
        decoded.splats()


CHILD = """
import hashlib, pathlib, sys, torch
from gsbench import ArtifactReader, Context
from gsbench.bench.sealed_work import hash_decoded
from gsbench.hooks import method_class
for threads in (1, 3):
    torch.set_num_threads(threads)
    decoded = method_class(sys.argv[1]).decode(
        ArtifactReader(sys.argv[2]), Context(torch.device("cpu"), threads, 0, pathlib.Path())
    )
    a = decoded.anchors
    parts = [a.positions, a.features, a.scales, a.offsets, a.masks, *decoded.networks.parameters()]
    tensors = hash_decoded(decoded)
    assert tensors
    print(hashlib.sha256(tensors.encode() + b"".join(p.detach().numpy().tobytes() for p in parts)).hexdigest())
"""


def test_decodes_alike_with_every_instruction_set_and_thread_count(
    trained: tuple[Any, Any, Any], tmp_path: Path
) -> None:
    method, config, model = trained
    before = cpu_isa()
    available = []
    files = set()
    for isa in ("baseline", "avx2", "avx512"):
        try:
            set_cpu_isa(isa)
        except ValueError:
            continue
        available.append(isa)
        files.add(hashlib.sha256(write(method, config, model, tmp_path / f"{isa}.gsb").read_bytes()).hexdigest())
    set_cpu_isa(before)
    assert len(files) == 1
    name = "hac++" if isinstance(method, method_class("hac++")) else "hac"
    found = set()
    for isa in available:
        environment = {**os.environ, "GSBENCH_ISA": isa, "OMP_NUM_THREADS": "3"}
        command = [sys.executable, "-c", CHILD, name, str(tmp_path / f"{available[0]}.gsb")]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        hashes = result.stdout.split()
        assert len(hashes) == 2
        found.update(hashes)
    assert len(found) == 1


def float_bits(model: Any, coded: Coded) -> dict[str, float]:
    """What the float context says the same symbols cost."""
    gaussians = model.gaussians
    place = {tuple(v): i for i, v in enumerate(gaussians._voxels.tolist())}
    order = torch.tensor([place[tuple(v)] for v in coded.voxels.tolist()])
    with torch.no_grad():
        hidden, _ = gaussians.context.hidden(gaussians.points(gaussians._voxels[order]), gaussians.extent)
        steps = gaussians.context.step_sizes(hidden)
        values = {}
        for group in ("features", "scales", "offsets"):
            flat = gaussians.values_of(group)[order].flatten(1)
            values[group] = torch.round(flat / steps[group]) * steps[group]
        bits = gaussians.context.bits(hidden, values, steps)
    live = torch.from_numpy(coded.masks).repeat_interleave(3, dim=1)
    bits["offsets"] = bits["offsets"][live]
    return {group: float(value.sum()) for group, value in bits.items()}


def test_estimate_and_bytes_agree(
    trained: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What training takes for the rate is what the file has, within 1 % (and the streams' last bytes), where networks
    are not made smaller at the attributes' expense.
    """
    method, config, model = trained
    monkeypatch.setattr(integers, "WEIGHT_BITS", (10,))
    coded = method.codec.quantize(model.gaussians)
    reader = ArtifactReader(write(method, config, model, tmp_path / "a.gsb"))
    estimated = float_bits(model, coded)
    for group, bits in estimated.items():
        assert reader.section(group).length * 8 == pytest.approx(bits, rel=0.01, abs=80), group
    total = sum(reader.section(group).length for group in estimated) * 8
    assert total <= 1.005 * sum(estimated.values()) + 240


def test_smaller_networks_are_chosen_where_that_saves_bytes(
    trained: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, config, model = trained
    chosen = write(method, config, model, tmp_path / "chosen.gsb").stat().st_size
    for bits in integers.WEIGHT_BITS:
        monkeypatch.setattr(integers, "WEIGHT_BITS", (bits,))
        assert chosen <= 1.002 * write(method, config, model, tmp_path / "fixed.gsb").stat().st_size


def test_bits_of_the_integer_context_are_those_of_the_file(trained: tuple[Any, Any, Any], tmp_path: Path) -> None:
    method, config, model = trained
    coded = method.codec.quantize(model.gaussians)
    outputs = coded.context.forward(
        grid_features(coded.box.points(coded.voxels), coded.box.extent, coded.layout.levels(), coded.signs)
    )
    part = method.codec.split(outputs, coded.symbols, coded.masks)["scales"]
    said = group_model("scales", part[:, :6], part[:, 6:], step_indices(outputs)["scales"])
    bits = table_bits(
        *(np.ascontiguousarray(a).reshape(-1) for a in (coded.symbols["scales"], said.mean64, said.scale_index))
    )
    length = ArtifactReader(write(method, config, model, tmp_path / "a.gsb")).section("scales").length
    assert 8 * length <= 1.0005 * bits.sum() + 64


def test_no_anchor_lives(trained: tuple[Any, Any, Any], tmp_path: Path) -> None:
    method, config, model = trained
    state = model.state()
    state["tensors"] = {**state["tensors"], "masks": torch.full_like(state["tensors"]["masks"], -10.0)}
    empty = type(method).model_class.from_state(state, config)
    decoded = type(method).decode(ArtifactReader(write(method, config, empty, tmp_path / "a.gsb")), context(tmp_path))
    assert type(method).counts(decoded) == {"gaussians": 0, "anchors": 0}
    image = decoded.render(tiny_scene().train[0], torch.tensor([0.1, 0.2, 0.3]))
    assert torch.equal(image, torch.tensor([0.1, 0.2, 0.3]).expand_as(image))


@pytest.mark.parametrize(
    "change",
    [
        {"anchors": 5},
        {"anchors": -1},
        {"anchors": 2**40},
        {"feat_dim": 49},
        {"n_offsets": 11},
        {"origin": [0, 0]},
        {"box": [[0, 0, 0], [0, 1, 1]]},
        {"box": None},
        {"voxel_size": "1"},
        {"q_scales": -1.0},
        {"q_features": 9e29},  # times a large symbol, beyond float32
        {"voxel_size": 10**400},
        {"origin": [2**31 - 1, 0, 0]},
        {"space_entries": 0},
    ],
)
def test_headers_that_lie_are_refused(trained: tuple[Any, Any, Any], tmp_path: Path, change: dict[str, Any]) -> None:
    method, config, model = trained
    reader = ArtifactReader(write(method, config, model, tmp_path / "a.gsb"))
    with ArtifactWriter(tmp_path / "b.gsb", "hac", "0") as out:
        out.header |= {**reader.header, **change}
        for section in reader.sections:
            out.section(section.name, reader.read(section.name), section.kind, section.coder)
    with pytest.raises(ArtifactError):
        type(method).decode(ArtifactReader(tmp_path / "b.gsb"), context(tmp_path))


def test_the_header_says_nothing_about_the_machine(trained: tuple[Any, Any, Any], tmp_path: Path) -> None:
    method, config, model = trained
    header = ArtifactReader(write(method, config, model, tmp_path / "a.gsb")).header
    expected = {"anchors", "feat_dim", "n_offsets", "voxel_size", "origin", "box", "space_entries", "plane_entries"}
    expected |= {"q_features", "q_scales", "q_offsets"} | ({"chunks"} if "chunks" in header else set())
    assert set(header) == expected
    assert json.loads(json.dumps(header)) == header


# Damage. The decoder is run on thousands of wrong files, in this process: a crash or a hang would end the tests.


@dataclasses.dataclass(frozen=True)
class Stored:
    """A file in memory: as it is, and its parts, of which `sealed` makes a file with right checksums."""

    data: bytes
    header: bytes
    sections: tuple[tuple[container.Section, bytes], ...]

    @classmethod
    def of(cls, path: Path) -> Stored:
        data, reader = path.read_bytes(), ArtifactReader(path)
        preamble = container.unpack_preamble(data[: container.PREAMBLE.size], len(data))
        header = data[container.PREAMBLE.size :][: preamble.header_length]
        return cls(data, header, tuple((s, data[s.offset : s.offset + s.length]) for s in reader.sections))

    def sealed(self, header: bytes, bodies: Sequence[bytes]) -> bytes:
        """The file with this header and these stored sections, and checksums that fit them."""
        parts = []
        for (section, _), body in zip(self.sections, bodies, strict=True):
            raw_length = len(body) if section.coder == "raw" else section.raw_length
            parts.append((dataclasses.replace(section, raw_length=raw_length), body))
        return b"".join(container.pack(header, parts))


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """`data` with a few bytes changed, a stretch overwritten, cut out or doubled."""
    array = np.frombuffer(data, np.uint8).copy()
    if not len(array):
        return data
    first = int(random.integers(len(array)))
    last = min(len(array), first + int(random.integers(1, 9)))
    match int(random.integers(5)):
        case 0:
            array[first] ^= 1 << int(random.integers(8))
        case 1:
            array[random.integers(len(array), size=4)] = random.integers(0, 256, 4, np.uint8)
        case 2:
            array[first:last] = random.integers(0, 256, last - first, np.uint8)
        case 3:
            array = np.concatenate([array[:first], array[last:]])
        case _:
            array = np.concatenate([array[:last], array[first:]])
    return array.tobytes()


def survives(method: Any, data: bytes, path: Path, *, render: bool) -> bool:
    """Whether `data` decodes; what it decodes to is well formed, if maybe wrong. Anything but `ArtifactError` fails."""
    path.write_bytes(data)
    try:
        decoded = type(method).decode(ArtifactReader(path), context(path.parent))
    except ArtifactError as error:
        message = str(error)
    else:
        return _well_formed(decoded, render)
    assert str(path) in message
    return False


def _well_formed(decoded: Any, render: bool) -> bool:
    anchors = decoded.anchors
    for values in (anchors.positions, anchors.features, anchors.scales, anchors.offsets, anchors.masks):
        assert len(values) == len(anchors)
        assert bool(values.isfinite().all())
    if render:
        assert decoded.render(tiny_scene().train[0], torch.zeros(3)).isfinite().all()
    return True


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_files_are_refused(trained: tuple[Any, Any, Any], tmp_path: Path, count: int) -> None:
    method, config, model = trained
    stored = Stored.of(write(method, config, model, tmp_path / "a.gsb"))
    random = np.random.default_rng(1)
    for _ in range(count):
        wrong = damaged(stored.data, random)
        assert wrong == stored.data or not survives(method, wrong, tmp_path / "b.gsb", render=False)
    lengths = range(len(stored.data)) if count > 1000 else random.integers(0, len(stored.data), count)
    for length in lengths:
        assert not survives(method, stored.data[: int(length)], tmp_path / "b.gsb", render=False)


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damage_behind_right_checksums_is_found_or_harmless(
    trained: tuple[Any, Any, Any], tmp_path: Path, count: int
) -> None:
    method, config, model = trained
    stored = Stored.of(write(method, config, model, tmp_path / "a.gsb"))
    bodies = [body for _, body in stored.sections]
    assert stored.sealed(stored.header, bodies) == stored.data
    random, survived = np.random.default_rng(2), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(count):
        header, wrong = stored.header, list(bodies)
        part = int(random.integers(len(bodies) + 1))
        if part == len(bodies):
            header = damaged(header, random)
        else:
            wrong[part] = damaged(wrong[part], random)
        survived += survives(method, stored.sealed(header, wrong), tmp_path / "b.gsb", render=i % 50 == 0)
    for part, body in enumerate(bodies):
        step = 1 if count > 1000 else max(1, len(body) // 10)
        for length in range(0, len(body), step):
            wrong = [*bodies[:part], body[:length], *bodies[part + 1 :]]
            survived += survives(method, stored.sealed(stored.header, wrong), tmp_path / "b.gsb", render=False)
    assert survived  # the coders saw damage: wrong symbols, where nothing gives them away
    # KiB. The file is 30 KB; what a changed digit of the header makes of it stays far below this.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19
