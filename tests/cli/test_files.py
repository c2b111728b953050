"""The verbs that read and write files: inspect, decode, and the frames they share with score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from PIL import Image

from gsbench.artifact import ArtifactWriter
from gsbench.bench import SealedResult
from gsbench.bench.score import save_image
from gsbench.bench.sealed import Timing
from gsbench.cli import main
from gsbench.cli.frames import find_frames, frame_names, read_frame
from gsbench.errors import ArtifactError, JobError, UsageError
from gsbench.formats.ply import write_ply
from gsbench.splats import Camera, Splats, cameras_to_json


def camera(name: str = "a.png", width: int = 4, height: int = 3) -> Camera:
    K = torch.tensor([[5.0, 0.0, 2.0], [0.0, 5.0, 1.5], [0.0, 0.0, 1.0]])
    return Camera(name, torch.eye(4), K, width, height)


@pytest.fixture
def container(tmp_path: Path) -> Path:
    path = tmp_path / "scene.gsb"
    with ArtifactWriter(path, "mine", "1.2") as out:
        out.header["sh_degree"] = 1
        out.section("positions", bytes(range(200)), kind="int16")
        out.section("colors", b"\0" * 3000, kind="uint8", coder="deflate")
    return path


@pytest.fixture
def ply(tmp_path: Path) -> Path:
    path = tmp_path / "scene.ply"
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    write_ply(path, Splats(some(5, 3), some(5, 3), some(5, 4), some(5), some(5, 1, 3)))
    return path


@pytest.fixture
def cameras(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.json"
    path.write_text(cameras_to_json([camera("left.jpg"), camera("right.jpg")]))
    return path


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the sealed decoder by one that writes flat frames; returns the calls it got."""
    calls: list[dict[str, Any]] = []

    def fake(
        method: str, artifact: Path, cameras: list[Camera], background: Any, device: str, threads: int, out: Path
    ) -> SealedResult:
        calls.append({"method": method, "artifact": artifact, "background": tuple(background), "threads": threads})
        frames = []
        (out / "frames").mkdir()
        for index, view in enumerate(cameras):
            frames.append(out / "frames" / f"{index:04d}.npy")
            np.save(frames[-1], np.full((view.height, view.width, 3), 0.25 * (index + 1), np.float32))
        return SealedResult(frames, Timing(0.5, (8.0, 8.0)), "audit-hook", 5, None, "f" * 64, 1000, None)

    monkeypatch.setattr("gsbench.bench.sealed.decode_sealed", fake)
    monkeypatch.setattr("gsbench.bench.decode_sealed", fake, raising=False)
    return calls


@pytest.mark.parametrize("kind", ["container", "ply"])
def test_inspect_accounts_for_every_byte(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    path: Path = request.getfixturevalue(kind)
    assert main(["inspect", str(path), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["schema"] == "gsbench.inspect/1"
    assert sum(section["bytes"] for section in output["sections"]) == output["bytes"] == path.stat().st_size
    assert output["method"] == ("mine" if kind == "container" else None)
    assert main(["inspect", str(path)]) == 0
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    counts = [int(line.split()[-3].replace(",", "")) for line in lines[4:-1]]
    assert sum(counts) == path.stat().st_size
    assert lines[-1].split() == ["total", f"{path.stat().st_size:,}"]


def test_inspect_names_kind_and_coder_of_sections(container: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(container)]) == 0
    out = capsys.readouterr().out
    assert "an artifact of method mine" in out
    assert [line.split()[:4] for line in out.splitlines() if line.startswith("positions")] == [
        ["positions", "int16", "raw", "200"]
    ]


def test_inspect_of_a_damaged_file_is_an_artifact_error(container: Path, capsys: pytest.CaptureFixture[str]) -> None:
    container.write_bytes(container.read_bytes()[:-7])
    assert main(["inspect", str(container)]) == ArtifactError.exit_code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"gsbench: error: {container}: ")
    assert len(captured.err.splitlines()) == 1


def test_decode_writes_an_image_per_view(
    container: Path, cameras: Path, sealed: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "images"
    assert main(["decode", str(container), "--cameras", str(cameras), "-o", str(target), "--background", "white"]) == 0
    assert sorted(p.name for p in target.iterdir()) == ["left.png", "right.png"]
    with Image.open(target / "left.png") as image:
        assert image.size == (4, 3)
        assert set(np.asarray(image).ravel().tolist()) == {64}  # 0.25 * 255 = 63.75, rounded
    assert [p.name for p in target.parent.iterdir()] == ["images"], "nothing else is left"
    assert sealed[0]["method"] == "mine"
    assert sealed[0]["background"] == (1.0, 1.0, 1.0)
    assert capsys.readouterr().out == (
        f"2 images in {target}; method mine, isolation audit-hook, decoded in 0.50 s, 125 FPS\n"
    )


def test_decode_as_arrays_and_json(
    ply: Path, cameras: Path, sealed: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "frames"
    arguments = ["--cameras", str(cameras), "-o", str(target), "--format", "npy", "--threads", "1", "--json"]
    assert main(["decode", str(ply), *arguments]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["method"] == "3dgs", "a .ply is read by the method that writes it"
    assert output["frames"] == [str(target / "left.npy"), str(target / "right.npy")]
    assert output["isolation"] == "audit-hook"
    assert sealed[0]["threads"] == 1
    frame = np.load(target / "right.npy")
    assert frame.dtype == np.float32
    assert (frame == 0.5).all()


def test_decode_that_fails_leaves_nothing(
    container: Path, cameras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*arguments: Any) -> SealedResult:
        raise JobError("the decoder ended with signal 9")

    monkeypatch.setattr("gsbench.bench.decode_sealed", failing, raising=False)
    before = sorted(tmp_path.iterdir())
    assert main(["decode", str(container), "--cameras", str(cameras), "-o", str(tmp_path / "images")]) == 1
    assert capsys.readouterr().err == "gsbench: error: the decoder ended with signal 9\n"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{file}", "-o", "{new}"], "either --cameras FILE or --scene SCENE"),
        (["{file}", "-o", "{new}", "--cameras", "{cameras}", "--scene", "demo"], "either --cameras FILE or --scene"),
        (["{file}", "-o", "{new}", "--cameras", "{cameras}", "--max-width", "80"], "--max-width: only with --scene"),
        (["{file}", "-o", "{new}", "--cameras", "{file}"], "not a text file"),
        (["{file}", "-o", "{new}", "--cameras", "{folder}/none.json"], "none.json: No such file"),
        (["{file}", "-o", "{folder}", "--cameras", "{cameras}"], "exists already; expected the name of a new folder"),
        (["{other}", "-o", "{new}", "--cameras", "{cameras}"], "does not say which method wrote it"),
        (["{folder}", "-o", "{new}", "--cameras", "{cameras}"], "is not a file; expected an artifact"),
    ],
)
def test_decode_refuses_wrong_usage(
    arguments: list[str],
    message: str,
    container: Path,
    cameras: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "thing.xyz"
    other.write_bytes(b"\1\2\3")
    names = {"file": container, "cameras": cameras, "folder": tmp_path, "new": tmp_path / "new", "other": other}
    before = sorted(tmp_path.iterdir())
    assert main(["decode", *(text.format(**names) for text in arguments)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_frames_are_named_after_photos_where_that_is_possible() -> None:
    assert frame_names([camera("IMG 1.jpg"), camera("b/IMG-2.png")]) == ["IMG 1", "IMG-2"]
    assert frame_names([camera("left/1.jpg"), camera("right/1.jpg")]) == ["0000", "0001"]
    assert frame_names([camera("a.jpg"), camera("A.png")]) == ["0000", "0001"]
    assert frame_names([camera("../etc.jpg"), camera("..")]) == ["0000", "0001"]


def test_frames_are_found_by_name_or_by_number(tmp_path: Path) -> None:
    views = [camera("x.jpg"), camera("y.jpg")]
    for name in ("0000.png", "0001.npy", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in find_frames(tmp_path, views)] == ["0000.png", "0001.npy"]
    (tmp_path / "y.png").touch()
    (tmp_path / "x.PNG").touch()
    assert [p.name for p in find_frames(tmp_path, views)] == ["x.PNG", "y.png"]
    (tmp_path / "x.npy").touch()
    with pytest.raises(UsageError, match="which one is meant"):
        find_frames(tmp_path, views)


def test_missing_frames_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    with pytest.raises(UsageError, match=r"no image of 1 of 2 views, the first being 'y'"):
        find_frames(tmp_path, [camera("x.jpg"), camera("y.jpg")])
    with pytest.raises(UsageError, match="not a folder"):
        find_frames(tmp_path / "none", [camera()])


def test_frames_survive_the_way_to_a_file_and_back(tmp_path: Path) -> None:
    values = np.linspace(-0.2, 1.2, 36, dtype=np.float32).reshape(3, 4, 3)
    save_image(torch.from_numpy(values), tmp_path / "a.png")
    np.save(tmp_path / "b.npy", values)
    expected = np.round(np.clip(values.astype(np.float64), 0, 1) * 255) / 255
    np.testing.assert_allclose(read_frame(tmp_path / "a.png", camera()), expected, atol=1e-7)
    np.testing.assert_array_equal(read_frame(tmp_path / "b.npy", camera()), values)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"no image", "not an image"),
        ("a.npy", b"no array", "not an image"),
        ("a.npy", np.zeros((3, 4, 3)), "expected float32, got float64"),
        ("a.npy", np.zeros((4, 3, 3), np.float32), r"expected 4x3 RGB, got shape \[4, 3, 3\]"),
        ("a.npy", np.full((3, 4, 3), np.nan, np.float32), "not finite"),
        ("a.npy", np.array([{}], dtype=object), "not an image"),
    ],
)
def test_what_is_no_frame_is_refused(name: str, content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(UsageError, match=message):
        read_frame(path, camera())
