"""``gsbench render`` as a user types it, with the sealed decoder replaced where that is not what is tested."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from gsbench.bench import SealedResult
from gsbench.bench.sealed import Timing
from gsbench.cli import frames_sealed
from gsbench.errors import JobError
from gsbench.formats.ply import read_ply, write_ply
from gsbench.raster import RenderOptions, render
from gsbench.splats import Camera, Splats, cameras_to_json
from gsbench.testing import orbit_cameras, random_splats

Here = Callable[..., tuple[int, str, str]]
CommandLine = Callable[..., Any]


@pytest.fixture
def ply(tmp_path: Path) -> Path:
    path = tmp_path / "model.ply"
    write_ply(path, random_splats(300, sh_degree=1))
    return path


@pytest.fixture
def cameras(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.json"
    path.write_text(cameras_to_json(orbit_cameras(6, 40, 30)))
    return path


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> list[list[Camera]]:
    """Replaces the sealed decoder by one that draws a .ply in this process; returns the batches it got."""
    batches: list[list[Camera]] = []

    def here(
        method: str, artifact: Path, cameras: list[Camera], background: Any, device: str, threads: int, out: Path,
        *, inventory: Any, progress: Callable[[int], None],
    ) -> SealedResult:  # fmt: skip
        assert device == "cpu"
        batches.append(list(cameras))
        splats = read_ply(artifact)
        (out / "frames").mkdir()
        frames = []
        for index, camera in enumerate(cameras):
            image = render(splats, camera, RenderOptions(background=torch.tensor(background))).image
            frames.append(out / "frames" / f"{index:04d}.npy")
            np.save(frames[-1], image.numpy())
            progress(index + 1)
        times = tuple(2.0 for _ in cameras)
        return SealedResult(frames, Timing(0.5, times), "audit-hook", len(splats), None, "f" * 64, 1000, None)

    monkeypatch.setattr("gsbench.bench.decode_sealed", here, raising=False)
    monkeypatch.setattr("gsbench.bench.visible.take_inventory", lambda: None)
    return batches


def expected(splats: Splats, camera: Camera) -> np.ndarray:
    image = render(splats, camera, RenderOptions(background=torch.zeros(3))).image
    return np.round(np.clip(image.numpy(), 0, 1) * 255).astype(np.uint8)


def pages(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        return [np.asarray(page.convert("RGB")) for page in ImageSequence.Iterator(image)]


def test_images_are_named_after_their_views(
    here: Here, ply: Path, cameras: Path, sealed: list[Any], tmp_path: Path
) -> None:
    code, out, err = here("render", ply, "--cameras", cameras, "-o", "images", "--method", "3dgs")
    assert code == 0, err
    names = sorted(p.name for p in (tmp_path / "images").iterdir())
    assert names == [f"view_{i:03d}.png" for i in range(6)]
    for camera, name in zip(orbit_cameras(6, 40, 30), names, strict=True):
        with Image.open(tmp_path / "images" / name) as image:
            np.testing.assert_array_equal(np.asarray(image), expected(random_splats(300, sh_degree=1), camera))
    assert out == "6 images of 40x30 in images; method 3dgs, isolation audit-hook, 500 FPS\n"
    assert "model.ply 3dgs: render" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cameras.json", "images", "model.ply"]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["--downscale", "2"], (20, 15)),
        (["--width", "20"], (20, 15)),
        (["--height", "60"], (80, 60)),
        (["--width", "30", "--height", "60"], (30, 60)),
        (["--downscale", "100"], (1, 1)),
    ],
)
def test_sizes(options: list[str], size: tuple[int, int], here: Here, ply: Path, cameras: Path, sealed: Any) -> None:
    code, out, err = here("render", ply, "--cameras", cameras, "-o", "images", *options, "--json", "--quiet")
    assert (code, err) == (0, "")
    output = json.loads(out)
    assert output["sizes"] == [list(size)]
    with Image.open(output["files"][0]) as image:
        assert image.size == size


def test_a_turntable_of_a_model_begins_with_the_still(here: Here, ply: Path, sealed: Any, tmp_path: Path) -> None:
    """The video's frames, losslessly, are the images that the same turntable gives as a folder."""
    options = [ply, "--turntable", "--frames", "5", "--width", "64", "--height", "48", "--background", "1,0.5,0"]
    assert here("render", *options, "-o", "turn.png", "--fps", "10")[0] == 0
    assert here("render", *options, "-o", "images")[0] == 0
    shown = pages(tmp_path / "turn.png")
    assert len(shown) == 5
    for index, page in enumerate(shown):
        with Image.open(tmp_path / "images" / f"{index:04d}.png") as image:
            np.testing.assert_array_equal(page, np.asarray(image))
    assert shown[0].shape == (48, 64, 3)
    assert any((shown[0] != page).any() for page in shown[1:])
    np.testing.assert_array_equal(shown[0][0, 0], [255, 128, 0])
    colored = (shown[0] != [255, 128, 0]).any(axis=2)
    assert 0.05 < colored.mean() < 0.95, "the model is in view, and so is what is around it"


def test_a_path_begins_and_ends_with_the_views(
    here: Here, ply: Path, cameras: Path, sealed: Any, tmp_path: Path
) -> None:
    assert here("render", ply, "--cameras", cameras, "-o", "stills")[0] == 0
    code, out, _ = here("render", ply, "--cameras", cameras, "--path", "--frames", "7", "-o", "flight.png", "--json")
    assert code == 0
    assert json.loads(out)["frames"] == 7
    shown = pages(tmp_path / "flight.png")
    for page, name in ((shown[0], "view_000"), (shown[-1], "view_005")):
        with Image.open(tmp_path / "stills" / f"{name}.png") as image:
            np.testing.assert_array_equal(page, np.asarray(image))
    code, _, _ = here("render", ply, "--cameras", cameras, "--path", "--closed", "--frames", "7", "-o", "loop.webp")
    assert code == 0
    assert len(pages(tmp_path / "loop.webp")) == 7


def test_an_mp4_has_even_sizes(here: Here, ply: Path, cameras: Path, sealed: Any, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="the extra video is not installed")
    options = [ply, "--cameras", cameras, "--turntable", "--frames", "4"]
    code, out, err = here("render", *options, "--downscale", "2", "-o", "turn.mp4", "--json")
    assert code == 0, err
    output = json.loads(out)
    assert (output["sizes"], output["fps"], output["frames"]) == ([[20, 14]], 30, 4)
    assert (tmp_path / "turn.mp4").read_bytes()[4:8] == b"ftyp"
    code, _, err = here("render", *options, "--width", "21", "-o", "odd.mp4")
    assert code == 2
    assert "an .mp4 needs an even width and height, got 21" in err


def test_a_missing_ffmpeg_is_told_before_anything_is_rendered(
    here: Here, ply: Path, sealed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = here("render", ply, "--turntable", "-o", "turn.mp4", "-q")
    assert (code, out) == (2, "")
    assert err == "gsbench: error: MP4 needs ffmpeg: pip install 'gsbench-core[video]'; .webp and .png do without it\n"
    assert sealed == []
    assert [p.name for p in tmp_path.iterdir()] == ["model.ply"]


def test_long_videos_are_rendered_in_parts(
    here: Here, ply: Path, cameras: Path, sealed: list[list[Camera]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So many frames at a time as the scratch folder may hold; together they are what one process would give."""
    options = [ply, "--cameras", cameras, "--path", "--frames", "11"]
    assert here("render", *options, "-o", "whole.png")[0] == 0
    monkeypatch.setattr(frames_sealed, "BATCH_BYTES", 4 * 12 * 40 * 30)
    assert here("render", *options, "-o", "parts.png")[0] == 0
    assert [len(batch) for batch in sealed] == [11, 4, 4, 3]
    assert (tmp_path / "parts.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    monkeypatch.setattr(frames_sealed, "BATCH_BYTES", 1)
    assert here("render", *options, "-o", "single.png")[0] == 0
    assert [len(batch) for batch in sealed[4:]] == [1] * 11


def test_cameras_of_a_scene_and_of_a_colmap_folder(
    here: Here, ply: Path, tiny_capture: Path, sealed: Any, tmp_path: Path
) -> None:
    """A scene's photos must be there; of a folder, the model is enough, and both mean the same views."""
    photos = sorted(p.stem for p in (tiny_capture / "images").iterdir())
    for views, wanted in (
        ("test", photos[::8]),
        ("train", [p for i, p in enumerate(photos) if i % 8]),
        ("all", photos),
    ):
        for name, where in (("scene", f"path:{tiny_capture}"), ("folder", tiny_capture / "sparse" / "0")):
            code, _, err = here("render", ply, "--cameras", where, "--views", views, "-o", f"{name}-{views}")
            assert code == 0, err
        made = {p.name: p.read_bytes() for p in (tmp_path / f"scene-{views}").iterdir()}
        assert sorted(made) == [f"{photo}.png" for photo in wanted]
        assert made == {p.name: p.read_bytes() for p in (tmp_path / f"folder-{views}").iterdir()}
    assert here("render", ply, "--cameras", tiny_capture, "-o", "default")[0] == 0
    assert sorted(p.stem for p in (tmp_path / "default").iterdir()) == photos[::8]


def test_cameras_of_a_scene_without_points(
    here: Here, ply: Path, tiny_capture: Path, sealed: Any, tmp_path: Path
) -> None:
    scene = tmp_path / "scene"
    shutil.copytree(tiny_capture, scene)
    for points in (scene / "sparse" / "0").glob("points3D.*"):
        points.unlink()
    assert here("render", ply, "--cameras", f"path:{scene}", "-o", "without")[0] == 0
    assert here("render", ply, "--cameras", f"path:{tiny_capture}", "-o", "with")[0] == 0
    images = {folder: {p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("with", "without")}
    assert images["with"] == images["without"]


def test_the_turntable_of_a_scene_can_be_told_otherwise(
    here: Here, ply: Path, cameras: Path, sealed: list[list[Camera]]
) -> None:
    base = [ply, "--cameras", cameras, "--turntable", "--frames", "3"]
    told = ["--radius", "5", "--elevation", "10", "--center", "1,0,0", "--up", "-z"]
    assert here("render", *base, *told, "-o", "turn.webp")[0] == 0
    for camera in sealed[0]:
        place = camera.camera_center.double().numpy() - [1, 0, 0]
        assert np.linalg.norm(place) == pytest.approx(5, abs=1e-4)
        assert place @ [0, 0, -1] / 5 == pytest.approx(math.sin(math.radians(10)), abs=1e-4)
    assert here("render", ply, "--turntable", "--frames", "1", "--up", "z", "-o", "model.webp")[0] == 0
    assert sealed[1][0].camera_center[2] > 0, "above, where z is up"


def test_a_container_needs_to_be_told_where_the_scene_is(here: Here, tmp_path: Path, sealed: list[Any]) -> None:
    from gsbench.artifact import ArtifactWriter

    with ArtifactWriter(tmp_path / "scene.gsb", "points", "1.0") as out:
        out.section("means", b"")
    code, _, err = here("render", "scene.gsb", "--turntable", "-o", "turn.webp")
    assert code == 2
    assert (
        "scene.gsb: where the scene is, only a .ply tells; expected --cameras, or --center X,Y,Z and --radius R" in err
    )
    _, _, err = here("render", "scene.gsb", "--turntable", "--center", "0,0,0", "--radius", "2", "-o", "turn.webp")
    assert "not a PLY file" in err, "it came as far as the decoder"


def test_a_decoder_that_fails_leaves_nothing(
    here: Here, ply: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any, **options: Any) -> SealedResult:
        raise JobError("the sealed decoder ended with signal 9")

    monkeypatch.setattr("gsbench.bench.decode_sealed", failing, raising=False)
    for output in ("turn.png", "turn.webp", "images"):
        code, out, err = here("render", ply, "--turntable", "-o", output, "-q")
        assert (code, out, err) == (1, "", "gsbench: error: the sealed decoder ended with signal 9\n")
    assert [p.name for p in tmp_path.iterdir()] == ["model.ply"]


def test_existing_files_are_kept_unless_forced(here: Here, ply: Path, sealed: Any, tmp_path: Path) -> None:
    (tmp_path / "turn.webp").write_bytes(b"mine")
    options = ["render", ply, "--turntable", "--frames", "2", "--width", "20", "--height", "20"]
    code, _, err = here(*options, "-o", "turn.webp")
    assert code == 2
    assert "turn.webp exists already; expected the name of a new file, or --force to replace it" in err
    assert (tmp_path / "turn.webp").read_bytes() == b"mine"
    assert here(*options, "-o", "turn.webp", "--force")[0] == 0
    assert len(pages(tmp_path / "turn.webp")) == 2


BAD: list[Any] = [
    ([], "expected --cameras, to know which views to render, or --turntable"),
    (["--turntable", "--path", "--cameras", "cameras.json"], "--turntable and --path: expected one of them"),
    (["--path"], "--path goes through cameras; expected --cameras"),
    (["--cameras", "cameras.json", "--frames", "3"], "--frames: only with --turntable or --path"),
    (["--cameras", "cameras.json", "--elevation", "3", "--up", "z"], "--elevation, --up: only with --turntable"),
    (["--turntable", "--closed"], "--closed: only with --path"),
    (["--turntable", "--fps", "3"], "--fps: only with a video"),
    (["--turntable", "--up", "w"], "'w': expected three numbers such as 0,-1,0, or an axis such as -y"),
    (["--turntable", "--up", "0,0,0"], "not all of them 0"),
    (["--turntable", "--elevation", "95"], "elevation 95: expected -89 to 89 degrees"),
    (["--turntable", "--radius", "-1"], "radius -1: expected a positive number"),
    (["--turntable", "--frames", "0"], "--frames"),
    (["--turntable", "--downscale", "2", "--width", "5"], "expected one way to say the size"),
    (["--turntable", "--background", "2,0,0"], "expected three numbers in [0, 1]"),
    (["--turntable", "--device", "cuda:99"], "cuda:99"),
    (["--turntable", "--method", "3dsg"], "did you mean '3dgs'"),
    (["--turntable", "--force"], "--force replaces a video"),
    (["--cameras", "none.json"], "--cameras none.json: No such file"),
    (["--cameras", "model.ply"], "not a text file"),
    (["--cameras", "cameras.json", "--views", "test"], "has no held-out views; expected all"),
    (["--cameras", "dmeo"], "did you mean 'demo'"),
    (["--cameras", "path:nowhere"], "nowhere"),
    (["--cameras", "empty"], "no COLMAP model"),
    (["-o", "video.avi", "--turntable"], "expected .mp4, .webp or .png for a video"),
    (["-o", "video.webp", "--cameras", "cameras.json"], "is a video, which needs --turntable or --path"),
    (["-o", "cameras.json/x", "--turntable"], "cannot write cameras.json/x"),
    (["-o", "x" * 300, "--turntable"], "File name too long"),
    (["-o", "x" * 300 + ".webp", "--turntable"], "File name too long"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(b[0])[:60] for b in BAD])
def test_wrong_usage_is_one_message_and_leaves_nothing(
    arguments: list[str], message: str, here: Here, ply: Path, cameras: Path, sealed: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    output = [] if "-o" in arguments else ["-o", "new"]
    code, out, err = here("render", ply, *output, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    errors = [line for line in err.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]
    assert len(errors) <= 2
    assert errors[0].startswith("gsbench: error: ")
    assert sealed == []
    assert sorted(tmp_path.rglob("*")) == before


def test_which_method_reads_a_native_file(here: Here, tmp_path: Path, sealed: Any, cameras: Path) -> None:
    (tmp_path / "thing.xyz").write_bytes(b"\1\2\3")
    code, _, err = here("render", "thing.xyz", "--cameras", cameras, "-o", "new")
    assert code == 2
    assert "thing.xyz does not say which method wrote it, and no installed method reads .xyz files" in err


def test_the_whole_way_with_the_sealed_decoder(
    command_line: CommandLine, ply: Path, cameras: Path, tmp_path: Path
) -> None:
    done = command_line("render", ply, "--cameras", cameras, "--path", "--frames", "4", "-o", "flight.png", "--json")
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    assert output["schema"] == "gsbench.render/1"
    assert output["isolation"] in ("namespaces", "audit-hook")
    assert output["gaussians"] == 300
    shown = pages(tmp_path / "flight.png")
    assert len(shown) == 4
    np.testing.assert_array_equal(
        shown[0], expected(random_splats(300, sh_degree=1), orbit_cameras(6, 40, 30)[0]), strict=True
    )


def test_a_real_model_turns(command_line: CommandLine, real_data: Path, tmp_path: Path) -> None:
    path = real_data / "model_playbot" / "playbot_lod3_sh2.ply"
    options = ["--turntable", "--frames", "3", "--width", "96", "--height", "72", "--background", "white"]
    done = command_line("render", path, *options, "-o", "turn.webp", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["gaussians"] == 31_000
    for page in pages(tmp_path / "turn.webp"):
        assert 0.05 < (page < 200).any(axis=2).mean() < 0.8
