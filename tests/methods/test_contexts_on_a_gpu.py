"""Files of hac and hac++ whose contexts are computed on a GPU, simulated or real: the same bytes in, the same tensors
out, as on the CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gsbench import ArtifactReader, ArtifactWriter, Context, PointCloud
from gsbench.artifact import container
from gsbench.bench.sealed_work import hash_decoded
from gsbench.errors import ArtifactError
from gsbench.testing.damage import flips
from gsbench.testing.simulated_cuda import Log

ANCHORS = 400


@pytest.fixture(params=["hac", "hac++"])
def method(request: pytest.FixtureRequest, find_method: Callable[[str], Any]) -> Any:
    return find_method(request.param)


def made_model(method: Any, *, live: bool = True) -> Any:
    """Anchors on a sphere with random attributes; some of them, and some offsets, do not live."""
    g = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(ANCHORS, 3, generator=g))
    model = method.gaussian_model.construct(method.model_params(voxel_size=1e-3))
    model.create_from_points(PointCloud(points, torch.zeros(ANCHORS, 3, dtype=torch.uint8)), 1.0)
    with torch.no_grad():
        model._anchor_feat.copy_(2.0 * torch.randn(model._anchor_feat.shape, generator=g))
        model._scaling.add_(torch.randn(model._scaling.shape, generator=g))
        model._offset.copy_(0.3 * torch.randn(model._offset.shape, generator=g))
        model._offset[5, 3] = 1e6  # far from what is predicted
        model._mask.copy_(6.0 * torch.randn(model._mask.shape, generator=g) if live else torch.tensor(-10.0))
        model._mask[::9] = -10.0
    model.freeze_box()
    return method.model_class(model, method.pipeline_params())


def contexts(folder: Path) -> dict[str, Context]:
    here = Context(device=torch.device("cpu"), threads=1, seed=0, workdir=folder)
    return {"cpu": here, "cuda": dataclasses.replace(here, device=torch.device("cuda"))}


def written(method: Any, model: Any, context: Context, name: str = "file") -> Path:
    path = context.workdir / f"{name}.{context.device.type}.gsb"
    with ArtifactWriter(path, "it", "1") as out:
        method().encode(model, method.Config(), out, context)
    return path


@pytest.mark.parametrize("live", [True, False])
def test_files_are_the_same(gpu: Log | None, method: Any, tmp_path: Path, live: bool) -> None:
    """Whether the model is on the GPU or not, and where it is read."""
    where = contexts(tmp_path)
    model = made_model(method, live=live)
    path = written(method, model, where["cpu"])
    expected = path.read_bytes()
    if gpu is not None:
        gpu.clear()
    assert written(method, model, where["cuda"]).read_bytes() == expected
    if gpu is not None:
        assert not gpu.racing
    on_the_gpu = type(model.gaussians).construct(model.gaussians.model_params)
    on_the_gpu.device = torch.device("cuda")
    on_the_gpu.load_state(model.gaussians.state())
    assert on_the_gpu._anchor_feat.is_cuda
    there = method.model_class(on_the_gpu, method.pipeline_params())
    assert written(method, there, where["cuda"], "there").read_bytes() == expected
    assert written(method, there, where["cpu"], "there").read_bytes() == expected

    # What a file holds, as a model whose state was restored on the GPU.
    read = method.model_from(ArtifactReader(path))
    state = read.state()
    state["coded"]["tensors"] = {name: t.to("cuda") for name, t in state["coded"]["tensors"].items()}
    again = method.model_class.from_state(state, method.Config())
    assert written(method, again, where["cuda"], "again").read_bytes() == expected


def test_what_is_read_is_the_same(gpu: Log | None, method: Any, tmp_path: Path) -> None:
    where = contexts(tmp_path)
    path = written(method, made_model(method), where["cpu"])
    expected = method.decode(ArtifactReader(path), where["cpu"])
    if gpu is not None:
        gpu.clear()
    found = method.decode(ArtifactReader(path), where["cuda"])
    if gpu is not None:
        assert not gpu.racing
        # Per section, or per chunk of features: not per symbol.
        sections = len(ArtifactReader(path).sections)
        assert sum(gpu.waits.values()) <= 4 * sections
    for name, value in vars(expected.anchors).items():
        other = getattr(found.anchors, name)
        assert other.device.type == "cuda", name
        assert torch.equal(other.cpu(), value), name
    assert all(p.device.type == "cuda" for p in found.networks.parameters())
    assert hash_decoded(found) == hash_decoded(expected)
    assert method.counts(found) == method.counts(expected)


def outcome(method: Any, path: Path, context: Context) -> str:
    """A hash of what a file decodes to, or that it is refused."""
    try:
        decoded = method.decode(ArtifactReader(path), context)
    except ArtifactError as error:
        assert str(path) in str(error)  # noqa: PT017
        return "refused"
    return str(hash_decoded(decoded))


def test_damage_has_the_same_end_on_both(gpu: Log | None, method: Any, tmp_path: Path) -> None:
    """Single bits behind right checksums: `ArtifactError`, or the same wrong tensors."""
    where = contexts(tmp_path)
    path = written(method, made_model(method), where["cpu"])
    reader = ArtifactReader(path)
    data = path.read_bytes()
    preamble = container.unpack_preamble(data[: container.PREAMBLE.size], len(data))
    header = data[container.PREAMBLE.size :][: preamble.header_length]
    bodies = [data[s.offset : s.offset + s.length] for s in reader.sections]
    parts = [(s.name, s.length) for s in reader.sections]
    seen, broken = set(), tmp_path / "broken.gsb"
    for damage in flips(parts, count=8, seed=1)[64:]:
        place, sections = damage.position, []
        for section, body in zip(reader.sections, bodies, strict=True):
            inside = 0 <= place < len(body)
            changed = dataclasses.replace(damage, position=place).apply(body) if inside else body
            sections.append((section, changed))
            place -= len(body)
        broken.write_bytes(b"".join(container.pack(header, sections)))
        ends = {outcome(method, broken, context) for context in where.values()}
        assert len(ends) == 1, damage.describe(parts)
        seen |= ends
    assert "refused" in seen
    assert len(seen) > 1
