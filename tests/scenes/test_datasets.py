"""The field's data sets in their own layouts, made on the spot: pixels, view lists, hashes; what is not fetched."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsbench import registry
from gsbench.errors import SceneError, UsageError
from gsbench.fetch import load_catalog
from gsbench.protocols import BLENDER, BUNGEE, GS1600, PNG4, SHIPPED, Protocol
from gsbench.scenes import (
    DatasetSpec,
    Scene,
    SceneOptions,
    SceneRef,
    check_fetched,
    core_datasets,
    load_folder,
    load_scene,
    resolve_scenes,
)
from gsbench.scenes.datasets import FETCHED

OUTDOOR = ("bicycle", "flowers", "garden", "stump", "treehill")
INDOOR = ("room", "counter", "kitchen", "bonsai")
#: Wider than 1600, and of a height that rounding, truncating and rounding up all reduce differently.
WIDTH, HEIGHT = 1705, 15


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of data sets, an empty cache, and the core's data sets alone."""
    monkeypatch.setenv("GSBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry.scenes, "_entries", {})
    for spec in core_datasets():
        registry.scenes.register(spec.name, spec)
    return tmp_path / "data"


@pytest.fixture
def mipnerf360(capture: Any, data: Path) -> Path:
    """garden and kitchen, each with reduced photos whose sides are rounded up."""
    for scene in ("garden", "kitchen"):
        folder = capture(f"data/mipnerf360/{scene}", width=WIDTH, height=HEIGHT)
        for factor in (2, 4, 8):
            (folder / f"images_{factor}").mkdir()
            for path in (folder / "images").iterdir():
                size = (-(-WIDTH // factor), -(-HEIGHT // factor))
                with Image.open(path) as image:
                    image.resize(size, Image.Resampling.LANCZOS).save(folder / f"images_{factor}" / path.name)
    return data / "mipnerf360"


def load(dataset: str, scene: str, protocol: Protocol | None = None, **options: Any) -> Scene:
    return load_scene(SceneRef(dataset, scene), SceneOptions(protocol=protocol, **options))


def stored(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def reduced(path: Path, size: tuple[int, int]) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def check_views(scene: Scene, size: tuple[int, int], folder: Path, shipped: bool) -> None:
    """Every eighth view is held out; pixels are those of the files, reduced in one step unless they are shipped so."""
    names = [f"photo{i:02d}.png" for i in range(10)]
    assert [v.name for v in scene.test] == [names[0], names[8]]
    assert [v.name for v in scene.train] == [n for i, n in enumerate(names) if i % 8]
    for view in [*scene.train, *scene.test]:
        assert (view.width, view.height) == size
        truth = stored(folder / view.name) if shipped else reduced(folder / view.name, size)
        assert np.array_equal(view.pixels.numpy(), truth)
        # Each axis by its own ratio to the camera of the COLMAP model, which is of the full size.
        x, y = size[0] / WIDTH, size[1] / HEIGHT
        expected = [30 * x, 0, (WIDTH / 2 + 0.25) * x, 0, 31 * y, (HEIGHT / 2 - 0.5) * y, 0, 0, 1]
        assert view.K.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_gs1600(mipnerf360: Path) -> None:
    for name in ("garden", "kitchen"):
        scene = load("mipnerf360", name)
        assert (scene.dataset, scene.name, scene.protocol) == ("mipnerf360", name, GS1600)
        assert scene.notes == ()
        check_views(scene, (1600, 14), mipnerf360 / name / "images", shipped=False)  # 15 * 1600 / 1705 = 14.08


def test_shipped(mipnerf360: Path) -> None:
    """A quarter outdoors, a half indoors, as they lie on disk; never reduced again."""
    for name, factor, size in (("garden", 4, (427, 4)), ("kitchen", 2, (853, 8))):
        scene = load("mipnerf360", name, SHIPPED)
        assert scene.protocol == SHIPPED
        folder = mipnerf360 / name / f"images_{factor}"
        check_views(scene, size, folder, shipped=True)
        assert {n for n in scene.files if n.startswith("images")} == {
            f"images_{factor}/photo{i:02d}.png" for i in range(10)
        }


def test_png4(mipnerf360: Path, tmp_path: Path) -> None:
    """Full size reduced by the data set's factor, sides rounded to the nearest; kept losslessly."""
    for name, size in (("garden", (426, 4)), ("kitchen", (852, 8))):  # 426.25, 3.75; 852.5 and 7.5 go to the even one
        scene = load("mipnerf360", name, PNG4)
        assert scene.protocol == PNG4
        check_views(scene, size, mipnerf360 / name / "images", shipped=False)
    kept = list((tmp_path / "cache" / "images").rglob("*.png"))
    assert len(kept) == 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gsbench.scenes.pixels.decode", lambda *_: pytest.fail("decoded the photo again"))
        check_views(load("mipnerf360", "garden", PNG4), (426, 4), mipnerf360 / "garden" / "images", shipped=False)
    # With a factor of one's own it is another protocol, and nothing is kept.
    assert load("mipnerf360", "garden", PNG4, downscale=3.0).protocol.id == "png4+d3"


@pytest.mark.parametrize("scene", [*OUTDOOR, *INDOOR])
def test_rules_of_mipnerf360(data: Path, scene: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "mipnerf360" / scene).mkdir(parents=True)
    given: dict[str, Any] = {}
    monkeypatch.setattr("gsbench.scenes.fetched.load_folder", lambda *args, **fields: given.update(fields))
    with pytest.raises(Exception, match="was asked for scene"):
        load("mipnerf360", scene)
    factor = 4 if scene in OUTDOOR else 2
    assert (given["images"], given["factor"], given["whole"]) == (f"images_{factor}", factor, True)


@pytest.mark.parametrize(("dataset", "scene"), [("tandt", "train"), ("tandt", "truck"), ("db", "playroom")])
@pytest.mark.parametrize("protocol", [None, SHIPPED, PNG4])
def test_one_size_of_photos(capture: Any, data: Path, dataset: str, scene: str, protocol: Protocol | None) -> None:
    folder = capture(f"data/{dataset}/{scene}", width=98, height=54)
    loaded = load(dataset, scene, protocol)
    assert loaded.protocol == (protocol or GS1600)
    assert [v.name for v in loaded.test] == ["photo00.png", "photo08.png"]
    for view in loaded.train:
        assert np.array_equal(view.pixels.numpy(), stored(folder / "images" / view.name))


def test_bungee(capture: Any, data: Path) -> None:
    names = [f"Bun_{i:03d}.png" for i in range(40)]
    folder = capture("data/bungee/rome", names=names, width=WIDTH, height=HEIGHT)
    scene = load("bungee", "rome")
    assert scene.protocol == BUNGEE
    assert scene.protocol.id == "gs1600+first31"
    assert [v.name for v in scene.test] == names[:31]
    assert [v.name for v in scene.train] == names[31:]
    view = scene.test[30]
    assert np.array_equal(view.pixels.numpy(), reduced(folder / "images" / view.name, (1600, 14)))
    assert load("bungee", "rome", max_width=800).protocol.id == "gs1600+first31+w800"
    assert len(load("bungee", "rome", GS1600).test) == 5  # asked for by name, the other split
    few = capture("data/bungee/quebec", names=names[:31])
    with pytest.raises(
        SceneError, match=r"images\.bin: 31 posed images; expected at least 32, to train on and to hold"
    ):
        load_folder(few, BUNGEE, SceneOptions(), dataset="bungee", name="quebec")


def blender_scene(folder: Path) -> None:
    """NeRF-Synthetic's layout: 2 training views and 12 held out, whose names do not sort as their numbers do."""
    for split, count in (("train", 2), ("test", 12)):
        (folder / split).mkdir(parents=True)
        frames = []
        for index in range(count):
            rgba = np.random.default_rng(index).integers(0, 256, (20, 20, 4), dtype=np.uint8)
            Image.fromarray(rgba).save(folder / split / f"r_{index}.png")
            pose = np.eye(4)
            pose[2, 3] = 4.0 + index
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": pose.tolist()})
        text = json.dumps({"camera_angle_x": 0.7, "frames": frames})
        (folder / f"transforms_{split}.json").write_text(text)


def test_nerf_synthetic(data: Path) -> None:
    folder = data / "nerf_synthetic" / "lego"
    blender_scene(folder)
    scene = load("nerf_synthetic", "lego")
    assert scene.protocol == BLENDER
    assert [v.name for v in scene.train] == ["train/r_0.png", "train/r_1.png"]
    assert [v.name for v in scene.test] == sorted(f"test/r_{i}.png" for i in range(12))
    assert len(scene.points) == 100_000
    for view in [*scene.train, *scene.test]:
        with Image.open(folder / view.name) as image:
            rgba = np.asarray(image).astype(int)
        exact = rgba[..., :3] * rgba[..., 3:] + 255 * (255 - rgba[..., 3:])
        assert np.array_equal(view.pixels.numpy(), (2 * exact + 255) // 510)
        index = int(view.name.split("_")[1][:-4])
        assert view.camera_center.tolist() == [0.0, 0.0, 4.0 + index]
        assert float(view.K[0, 0]) == pytest.approx(10 / math.tan(0.35), rel=1e-6)
    for protocol in (GS1600, SHIPPED, PNG4):
        with pytest.raises(UsageError, match=f"protocol '{protocol.id}' does not fit .*expected protocol blender"):
            load("nerf_synthetic", "lego", protocol)
    shutil.rmtree(folder / "test")
    with pytest.raises(SceneError, match="12 of 14 photos of the transforms files are not there"):
        load("nerf_synthetic", "lego")


def test_scene_hashes_are_those_of_the_folders(mipnerf360: Path) -> None:
    """A data set's scene and the same folder given with path: have the same content."""
    path = SceneRef("path", "garden", mipnerf360 / "garden")
    assert load("mipnerf360", "garden").hash == load_scene(path, SceneOptions()).hash
    assert load("mipnerf360", "garden").hash != load("mipnerf360", "garden", SHIPPED).hash


def test_published_scenes_are_whole(mipnerf360: Path) -> None:
    """Half of a download is no scene; photos that nobody posed do no harm."""
    shutil.copy(mipnerf360 / "garden/images/photo03.png", mipnerf360 / "garden/images/extra.png")
    assert load("mipnerf360", "garden").notes == (
        "1 of 11 photos in images/ have no pose in the COLMAP model and are left out: extra.png",
    )
    (mipnerf360 / "garden/images/photo03.png").unlink()
    with pytest.raises(SceneError, match=r"1 of 10 images .* not in images/: photo03\.png; expected every photo"):
        load("mipnerf360", "garden")


# Names.


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["mipnerf360"], [f"mipnerf360/{s}" for s in (*OUTDOOR, *INDOOR)]),
        (["mipnerf360/*"], [f"mipnerf360/{s}" for s in (*OUTDOOR, *INDOOR)]),
        (["tandt/tr*"], ["tandt/train", "tandt/truck"]),
        (["tandt", "db"], ["tandt/train", "tandt/truck", "db/drjohnson", "db/playroom"]),
        (["*/k*", "mipnerf360/k?tchen"], ["mipnerf360/kitchen"]),
        (["nerf_synthetic/[lm]*"], [f"nerf_synthetic/{s}" for s in ("lego", "materials", "mic")]),
        (["bungee/rome", "demo"], ["bungee/rome", "demo/demo"]),
    ],
)
def test_patterns(patterns: list[str], expected: list[str]) -> None:
    """Names need no files."""
    assert [str(ref) for ref in resolve_scenes(patterns)] == expected


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("mipnerf360/grden", "data set 'mipnerf360' has no scene 'grden'; did you mean 'garden'"),
        ("mipnerf36", "unknown data set 'mipnerf36'; did you mean 'mipnerf360'"),
        ("garden", "unknown data set 'garden'; did you mean 'mipnerf360/garden'"),
        ("tandt/x*", r"no scene matches 'tandt/x\*'"),
        ("nerf-synthetic", "did you mean 'nerf_synthetic'"),
    ],
)
def test_misspelled(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_scenes([pattern])


def test_the_catalog_has_the_same_scenes() -> None:
    catalog = load_catalog().datasets
    assert {name: set(entry.scenes) for name, entry in catalog.items()} == {s.name: set(s.scenes) for s in FETCHED}


# What is not there.


@pytest.mark.usefixtures("data")
def test_a_scene_that_is_not_fetched() -> None:
    message = (
        r"^mipnerf360/garden is not fetched: run `gsbench fetch mipnerf360/garden`, or put it in .*/mipnerf360/gar"
    )
    with pytest.raises(SceneError, match=message) as caught:
        load("mipnerf360", "garden")
    assert "\n" not in str(caught.value)
    with pytest.raises(SceneError, match=message):
        check_fetched(resolve_scenes(["mipnerf360/garden"]))
    with pytest.raises(SceneError, match=r"bungee/rome is not fetched: it cannot be fetched automatically"):
        load("bungee", "rome")


def test_all_missing_scenes_at_once(data: Path) -> None:
    (data / "mipnerf360" / "garden").mkdir(parents=True)
    refs = resolve_scenes(["mipnerf360", "tandt", "bungee/r*", "demo"])
    with pytest.raises(SceneError) as caught:
        check_fetched(refs)
    text = str(caught.value)
    missing = [f"mipnerf360/{s}" for s in (*OUTDOOR, *INDOOR) if s != "garden"]
    names = ", ".join([*missing, "tandt/train", "tandt/truck", "bungee/rome"])
    assert text.startswith(
        f"11 of 13 scenes are not fetched ({names}): run `gsbench fetch {' '.join(missing)} tandt`; "
    )
    assert text.endswith(f"expected it in {data / 'bungee'}")
    assert "\n" not in text
    for ref in refs:
        (data / ref.dataset / ref.scene).mkdir(parents=True, exist_ok=True)
    check_fetched(refs)


@pytest.mark.usefixtures("data")
def test_other_data_sets_are_not_looked_for(tmp_path: Path) -> None:
    """Neither folders nor a plugin's data set, even of the same name."""
    registry.scenes.unregister("tandt")
    registry.scenes.register("tandt", DatasetSpec("tandt", ("train",), "a.b:c", "Of a plugin"), "a-plugin")
    check_fetched([*resolve_scenes(["demo", "tandt", f"path:{tmp_path}"])])


def gsbench(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GSBENCH_DATA": str(data), "GSBENCH_CACHE": str(data.parent / "cache")}
    command = [sys.executable, "-m", "gsbench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=data.parent, timeout=120)


def test_planning_mipnerf360(capture: Any, data: Path) -> None:
    pytest.importorskip("gsbench_3dgs")
    for scene in (*OUTDOOR, *INDOOR):
        capture(f"data/mipnerf360/{scene}", names=["a.png", "b.png"], points=5)
    request = ["plan", "--methods", "3dgs", "--scenes", "mipnerf360", "--json"]
    done = gsbench(*request, data=data)
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout)["jobs"]
    assert [job["description"]["scene"] for job in jobs] == [*OUTDOOR, *INDOOR]
    for scene in ("stump", "room"):
        shutil.rmtree(data / "mipnerf360" / scene)
    done = gsbench(*request, data=data)
    assert done.returncode == 2
    assert "2 of 9 scenes are not fetched (mipnerf360/stump, mipnerf360/room)" in " ".join(done.stderr.split())
    assert "gsbench fetch mipnerf360/stump mipnerf360/room" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
