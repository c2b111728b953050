"""What the viewer shows: Gaussians re-encoded as .splat rows, and what that costs."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gsbench.leaderboard.site.bake import ROW, bake, from_rows, to_rows
from gsbench.methods.rendering import SplatsRenderable
from gsbench.raster import Gaussians
from gsbench.splats import Camera, Splats

CAMERA = Camera("front", torch.eye(4), torch.tensor([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]]), 64, 48)
BLACK = torch.zeros(3)


def some_splats(count: int, sh: int = 4, seed: int = 0) -> Splats:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=generator) * 0.6 + torch.tensor([0.0, 0.0, 4.0])
    return Splats(
        means=means,
        log_scales=torch.randn(count, 3, generator=generator) * 0.3 - 1.8,
        quats=torch.randn(count, 4, generator=generator),
        opacity_logits=torch.randn(count, generator=generator),
        sh=torch.randn(count, sh, 3, generator=generator) * torch.tensor([1.0, *[0.1] * (sh - 1)])[None, :, None],
    )


def test_rows_are_those_of_the_format() -> None:
    assert ROW.itemsize == 32
    gaussians = Gaussians(
        means=torch.tensor([[1.0, 2.0, 3.0]]),
        opacities=torch.tensor([0.5]),
        colors=torch.tensor([[0.0, 1.0, 2.0]]),
        quats=torch.tensor([[2.0, 0.0, 0.0, -2.0]]),
        scales=torch.tensor([[0.25, 0.5, 4.0]]),
    )
    data = to_rows(gaussians).tobytes()
    assert np.frombuffer(data[:24], "<f4").tolist() == [1.0, 2.0, 3.0, 0.25, 0.5, 4.0]
    # Colors beyond 1 are clamped, 127.5 is rounded to even; the quaternion is (1, 0, 0, -1) / sqrt 2, 128 being 0.
    assert list(data[24:28]) == [0, 255, 255, 128]
    half = round(128 / math.sqrt(2))
    assert list(data[28:]) == [128 + half, 128, 128, 128 - half]


def test_a_round_trip_is_within_half_a_step() -> None:
    splats = some_splats(200)
    gaussians = replace(Gaussians.of(splats, 0), colors=torch.rand(200, 3), sh_degree=None)
    again = from_rows(to_rows(gaussians))
    assert torch.equal(again.means, gaussians.means)
    assert again.scales is not None
    assert torch.equal(again.scales, splats.scales)
    assert again.colors is not None
    assert gaussians.colors is not None
    assert (again.colors - gaussians.colors).abs().max() <= 0.5 / 255 + 1e-6
    assert (again.opacities - gaussians.opacities).abs().max() <= 0.5 / 255 + 1e-6
    unit = torch.nn.functional.normalize(splats.quats, dim=1)
    assert again.quats is not None
    assert (again.quats - unit).abs().max() <= 1 / 128 + 1e-6


def test_the_loss_is_small_where_colors_do_not_depend_on_the_view() -> None:
    found = bake(SplatsRenderable(some_splats(300, sh=1)), CAMERA, BLACK, 1000)
    assert len(found.rows) == found.total == 300
    assert not found.view_dependent
    assert found.psnr > 38


def test_the_part_that_depends_on_the_view_costs_quality() -> None:
    plain = some_splats(300, sh=4)
    strong = replace(plain, sh=torch.cat([plain.sh[:, :1], plain.sh[:, 1:] * 10], dim=1))
    losses = [bake(SplatsRenderable(splats), CAMERA, BLACK, 1000).psnr for splats in (plain, strong)]
    assert losses[0] > losses[1] + 3


def test_the_least_important_are_left_out_first() -> None:
    splats = some_splats(300)
    full = bake(SplatsRenderable(splats), CAMERA, BLACK, 1000)
    some = bake(SplatsRenderable(splats), CAMERA, BLACK, 100)
    assert (len(some.rows), some.total) == (100, 300)
    assert some.rows.tobytes() == full.rows[:100].tobytes()
    area = splats.scales.sort(dim=1, descending=True).values[:, :2].prod(dim=1) * splats.opacities
    kept = {row.tobytes() for row in some.rows["mean"]}
    expected = {splats.means[i].numpy().tobytes() for i in area.argsort(descending=True)[:100]}
    assert kept == expected
    assert some.psnr < full.psnr


def test_viewer_files_of_real_artifacts(site: Callable[[], Path]) -> None:
    folder = site()
    text = (folder / "data" / "gs1600-demo.demo.js").read_text(encoding="utf-8")
    data = json.loads(text.removeprefix("window.GSB_SCENE=").removesuffix(";\n"))
    viewer = data["viewer"]
    assert viewer[""]["width"] > 0
    entries = {entry["method"]: viewer[entry["key"]] for entry in data["entries"]}
    assert not entries["3dgs"]["baked"]
    assert entries["hac"]["baked"]  # its Gaussians depend on the view
    for of in entries.values():
        script = (folder / of["file"]).read_text()
        rows = np.frombuffer(base64.b64decode(script.removeprefix('window.GSB_SPLAT="').removesuffix('";\n')), ROW)
        assert len(rows) == of["shown"] <= of["total"]
        assert rows.nbytes == of["bytes"]
        assert np.isfinite(rows["mean"]).all()
        assert of["psnr"] > 25


def test_a_file_that_decodes_to_other_values_is_not_shown(results: Path, tmp_path: Path) -> None:
    from gsbench.leaderboard.build import build_board
    from gsbench.leaderboard.site.bake import ViewerWriter
    from gsbench.leaderboard.site.options import SiteOptions
    from gsbench.leaderboard.site.scenes import find_scene

    section = build_board([results]).sections[0]
    changed = []
    for entry in section.entries:
        of = entry.scenes[0]
        record = of.results[0].record.model_copy(update={"decoded_sha256": "0" * 64})
        changed.append(replace(entry, scenes=(replace(of, results=(replace(of.results[0], record=record),)),)))
    section = replace(section, entries=tuple(changed))
    found = ViewerWriter(tmp_path, SiteOptions(threads=1)).scene(
        section, "demo", find_scene(changed[0].scenes[0].results[0].record, SiteOptions())
    )
    reasons = {found[entry.key] for entry in changed}
    assert reasons == {"the artifact decodes to other values here than its record says"}


@pytest.mark.parametrize("field", ["views", "quality", "viewer_gaussians"])
def test_options_without_meaning_are_refused(field: str) -> None:
    from gsbench.leaderboard.site.options import SiteOptions

    with pytest.raises(ValueError, match=f"{field}: expected 1"):
        SiteOptions(**{field: 0})
