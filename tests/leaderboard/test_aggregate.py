"""Means, spreads, ties and fronts, against the same computed by the statistics module."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gsbench.errors import UsageError
from gsbench.leaderboard.board import Board, Value, within_spread
from gsbench.leaderboard.build import build_board

Put = Callable[..., Path]

TANDT = ("train", "truck")


def test_seeds_give_mean_and_sample_deviation(tmp_path: Path, put: Put) -> None:
    values = [27.0, 27.5, 26.75]
    for seed, psnr in enumerate(values):
        put(tmp_path, "hac", "low", seed=seed, metrics={"psnr": psnr}, artifact=b"x" * (1000 + seed))
    (section,) = build_board([tmp_path]).sections
    (entry,) = section.entries
    assert entry.seeds == (0, 1, 2)
    for value in (entry.metrics["psnr"], entry.scenes[0].metrics["psnr"]):
        assert value.mean == pytest.approx(statistics.mean(values), abs=1e-12)
        assert value.spread == pytest.approx(statistics.stdev(values), abs=1e-12)
        assert value.seeds == 3
    assert entry.bytes.mean == 1001.0
    assert entry.bytes.spread == pytest.approx(1.0)
    assert sum(entry.scenes[0].sections.values()) == pytest.approx(entry.bytes.mean)
    assert entry.fps.mean == pytest.approx(100.0)


def test_one_seed_has_no_spread(tmp_path: Path, put: Put) -> None:
    put(tmp_path, "hac", "low")
    entry = build_board([tmp_path]).sections[0].entries[0]
    assert entry.metrics["psnr"] == Value(27.0, None, 1, None)


def test_a_mean_needs_all_scenes_and_says_how_many_there_are(tmp_path: Path, put: Put) -> None:
    put(tmp_path, "hac", "low", dataset="tandt", scene="train", metrics={"psnr": 20.0})
    (section,) = build_board([tmp_path]).sections
    (entry,) = section.entries
    assert section.scenes == TANDT
    assert (entry.scenes_present, entry.scenes_needed, entry.complete) == (1, 2, False)
    assert entry.metrics["psnr"] == Value(None, None, 0, "1/2 scenes")
    assert entry.bytes.mean is None
    assert entry.scenes[0].metrics["psnr"].mean == 20.0

    put(tmp_path, "hac", "low", dataset="tandt", scene="truck", metrics={"psnr": 26.0})
    entry = build_board([tmp_path]).sections[0].entries[0]
    assert entry.complete
    assert entry.metrics["psnr"].mean == pytest.approx(23.0)


def test_the_spread_of_a_data_set_is_that_of_its_means(tmp_path: Path, put: Put) -> None:
    psnr = {("train", 0): 20.0, ("truck", 0): 24.0, ("train", 1): 20.5, ("truck", 1): 23.5, ("train", 2): 21.0}
    for (scene, seed), value in psnr.items():
        put(tmp_path, "hac", "low", dataset="tandt", scene=scene, seed=seed, metrics={"psnr": value})
    entry = build_board([tmp_path]).sections[0].entries[0]
    assert entry.seeds == (0, 1), "those that both scenes have"
    assert entry.metrics["psnr"].mean == pytest.approx((20.5 + 23.75) / 2)
    assert entry.metrics["psnr"].spread == pytest.approx(0.0, abs=1e-12), "22 and 22: the scenes make up for each other"
    assert entry.metrics["psnr"].seeds == 2
    assert "2 to 3 seeds per scene" in entry.notes


def test_protocols_are_never_in_one_section(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "a", "hac", "low")
    put(tmp_path / "a", "hac", "low", protocol=("gs1600+w800", "11" * 8))
    put(tmp_path / "b", "scaffold", "low", protocol=("gs1600", "22" * 8))
    sections = build_board([tmp_path / "a", tmp_path / "b"]).sections
    assert len({(s.protocol, s.protocol_hash) for s in sections}) == len(sections) == 3
    assert len({s.slug for s in sections}) == 3
    assert [s.protocol for s in sections] == ["gs1600", "gs1600", "gs1600+w800"]
    assert all(len(s.entries) == 1 for s in sections)


def test_other_settings_are_another_entry(tmp_path: Path, put: Put) -> None:
    put(tmp_path, "hac", "low", seed=0, iterations=1500)
    put(tmp_path, "hac", "low", seed=1, iterations=7000)
    put(tmp_path, "hac", "low", seed=2, iterations=7000, config={"iterations": 30000, "lr": 0.25})
    put(tmp_path, "scaffold", "default")
    (section,) = build_board([tmp_path]).sections
    hac = [entry for entry in section.entries if entry.method == "hac"]
    assert len(hac) == 3
    assert {entry.iterations for entry in hac} == {1500, 7000}
    assert sum(entry.variant == "1,500 steps" for entry in hac) == 1
    assert sum(entry.variant.startswith("7,000 steps, settings ") for entry in hac) == 2
    assert len({entry.key for entry in section.entries}) == 4
    assert next(e for e in section.entries if e.method == "scaffold").variant == ""


def test_settings_chosen_per_scene_are_named_and_do_not_split(tmp_path: Path, put: Put) -> None:
    for scene, size in zip(TANDT, (0.1, 0.2), strict=True):
        config = {"voxel": {"size": size, "levels": 3}}
        put(tmp_path, "hac", "low", dataset="tandt", scene=scene, config=config, per_scene_settings=["voxel.size"])
    (entry,) = build_board([tmp_path]).sections[0].entries
    assert entry.per_scene_settings == ("voxel.size",)
    assert entry.config == {"voxel": {"levels": 3}}
    assert entry.complete


def test_failed_jobs_are_told_of_and_not_counted(tmp_path: Path, put: Put) -> None:
    put(tmp_path, "hac", "low", dataset="tandt", scene="train")
    put(tmp_path, "hac", "low", dataset="tandt", scene="truck", status="failed", bytes=None, sha256=None, sections={},
        metrics={}, views=[], error={"stage": "train", "message": "boom", "log": None})  # fmt: skip
    (section,) = build_board([tmp_path]).sections
    (entry,) = section.entries
    assert [result.name for result in section.failed] == ["gs1600/tandt/truck/hac/low.json"]
    assert (entry.scenes_present, entry.metrics["psnr"].reason) == (1, "1/2 scenes")
    assert entry.scenes[1].results == ()
    assert entry.scenes[1].metrics["psnr"].reason == "failed: train: boom"


def test_a_metric_that_could_not_be_computed_says_why(tmp_path: Path, put: Put) -> None:
    put(tmp_path, "hac", "low", metrics={"psnr": 27.0, "lpips_vgg": None})
    (section,) = build_board([tmp_path]).sections
    assert [metric.name for metric in section.metrics] == ["psnr", "lpips_vgg"]
    assert section.entries[0].metrics["lpips_vgg"] == Value(None, None, 0, "no weights")
    assert section.entries[0].gaussians.mean == 1000.0
    assert section.entries[0].anchors.reason == "not in the records"


def test_the_front_and_the_ties(tmp_path: Path, put: Put) -> None:
    points = {"a": (1000, 25.0, 0.1), "b": (2000, 27.0, 0.1), "c": (2500, 26.9, 0.1), "d": (9000, 30.0, 0.1)}
    for method, (size, psnr, deviation) in points.items():
        for seed, offset in ((0, -deviation), (1, deviation)):
            put(tmp_path, method, "default", seed=seed, artifact=b"x" * size, metrics={"psnr": psnr + offset})
    (section,) = build_board([tmp_path]).sections
    assert [e.method for e in section.entries if e.pareto["psnr"]] == ["a", "b", "d"]
    assert {e.method: e.ties["psnr"] for e in section.entries} == {
        "a": (),
        "b": ("c/default",),
        "c": ("b/default",),
        "d": (),
    }
    assert all(e.ties["bytes"] == () for e in section.entries)


def test_within_spread() -> None:
    assert within_spread(Value(1.0, 0.3), Value(1.5, 0.4)) is True
    assert within_spread(Value(1.0, 0.3), Value(1.51, 0.4)) is False
    assert within_spread(Value(1.0, 0.3), Value(1.2)) is True
    assert within_spread(Value(1.0), Value(1.0)) is None
    assert within_spread(Value(None), Value(1.0, 0.1)) is None


def test_the_anchor_of_bd_rates(tmp_path: Path, put: Put) -> None:
    for method, sizes in {"hac": (1000, 2000, 4000, 8000), "slim": (500, 1000, 2000, 4000), "one": (3000,)}.items():
        for index, size in enumerate(sizes):
            put(tmp_path, method, f"r{index}", artifact=b"x" * size, metrics={"psnr": 25.0 + index})
    (section,) = build_board([tmp_path]).sections
    assert section.anchor == "hac", "the first of those with the most rate points"
    found = section.bd_rate("slim", "hac", "psnr")
    assert found is not None
    assert found.percent == pytest.approx(-50.0)
    back = section.bd_rate("hac", "slim", "psnr")
    assert back is not None
    assert back.percent == pytest.approx(100.0)
    none = section.bd_rate("one", "hac", "psnr")
    assert none is not None
    assert (none.percent, none.reason) == (None, "this curve has 1 rate point on its front, at least 2 are needed")
    assert section.bd_rate("hac", "one", "psnr") is None
    assert build_board([tmp_path], anchor="slim").sections[0].anchor == "slim"
    with pytest.raises(UsageError, match="did you mean 'slim'"):
        build_board([tmp_path], anchor="slin")


def test_provenance_and_how_to_repeat(tmp_path: Path, put: Put) -> None:
    put(tmp_path, "3dgs", "default", seed=1, suffix=".ply", dataset="tandt", scene="truck", iterations=7000)
    put(tmp_path, "3dgs", "default", seed=2, suffix=".ply", dataset="tandt", scene="truck", iterations=7000)
    board = build_board([tmp_path])
    result = board.sections[0].entries[0].scenes[0].results[0]
    assert result.provenance.commit == "cd" * 20
    assert result.provenance.artifact_checked
    assert result.provenance.trust == "claimed"
    words = result.rerun.split()
    assert words[:6] == ["gsbench", "run", "--methods", "3dgs", "--scenes", "tandt/truck"]
    assert words[6:10] == ["--seeds", "1", "--iterations", "7000"]
    card = board.methods["3dgs"]
    assert "--seeds 1,2" in card.rerun["gs1600-tandt"]
    assert card.paper
    assert card.license == "Apache-2.0"


def test_a_changed_protocol_is_in_the_command(tmp_path: Path, put: Put) -> None:
    from gsbench.protocols import GS1600

    changed = GS1600.with_overrides(max_width=800, background=(1.0, 1.0, 1.0), images="images_2")
    put(tmp_path, "unknown", "low", protocol=(changed.id, changed.hash), config={"a": {"b": [1, 2]}, "on": True})
    (section,) = build_board([tmp_path]).sections
    rerun = section.entries[0].scenes[0].results[0].rerun
    assert "--images images_2 --max-width 800 --background 1,1,1" in rerun
    assert "--set unknown.a.b=1,2 --set unknown.on=true" in rerun, "its defaults are not known here"


def many_records(folder: Path, put: Put) -> int:
    count = 0
    scenes = {"tandt": TANDT, "db": ("drjohnson", "playroom"), "demo": ("demo",)}
    for method in range(50):
        for rate in range(20):
            for dataset, names in scenes.items():
                for scene in names:
                    for seed in (0, 1):
                        size = 2000 - 90 * rate + method + seed
                        metrics = {"psnr": 30.0 - 0.2 * rate + 0.01 * method + 0.05 * seed, "ssim": 0.9 - 0.01 * rate}
                        put(folder, f"m{method}", f"r{rate}", dataset=dataset, scene=scene, seed=seed,
                            artifact=b"x" * size, metrics=metrics)  # fmt: skip
                        count += 1
    return count


@pytest.mark.slow
def test_ten_thousand_records(tmp_path: Path, put: Put) -> None:
    assert many_records(tmp_path, put) == 10_000
    before = time.process_time()
    board: Board = build_board([tmp_path])
    assert time.process_time() - before < 20.0, "processor time: the machine may have other work"
    assert board.records == 10_000
    assert [len(section.entries) for section in board.sections] == [1000, 1000, 1000]
