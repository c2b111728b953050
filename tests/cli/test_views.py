"""Which views and which scene a verb means, and the demo, which is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gsbench.cli.views import load_one_scene, make_demo, read_cameras
from gsbench.errors import SceneError, UsageError
from gsbench.hooks import load_plugins
from gsbench.scenes import demo_cache
from gsbench.splats import cameras_to_json
from gsbench.testing import orbit_cameras

Progress = Callable[[int, int], None]


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bool]:
    """Replaces the making of the demo; returns whether it is there yet, which the test may change."""
    load_plugins()
    there = [False]

    def folder(cache: Path | None = None, progress: Progress | None = None) -> Path:
        if not there[0] and progress is not None:
            progress(1, 2)
            progress(2, 2)
        return tmp_path

    monkeypatch.setattr(demo_cache, "demo_folder", folder)
    return there


def test_making_the_demo_is_shown_once(demo: list[bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_demo(["demo"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line[9:] for line in captured.err.splitlines()] == ["demo: ray-trace", f"demo: made, in {tmp_path}"]
    demo[0] = True
    make_demo(["demo"])
    assert capsys.readouterr() == ("", "")


def test_the_demo_is_made_for_those_who_ask_for_it(
    demo: list[bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_demo([f"path:{tmp_path}"])
    make_demo(["demo"], quiet=True)
    assert capsys.readouterr() == ("", "")


def test_cameras_of_a_file(tmp_path: Path) -> None:
    cameras = orbit_cameras(3)
    path = tmp_path / "cameras.json"
    path.write_text(cameras_to_json(cameras))
    assert [camera.name for camera in read_cameras(path)] == [camera.name for camera in cameras]
    path.write_text(cameras_to_json([]))
    with pytest.raises(UsageError, match="it has no camera"):
        read_cameras(path)


def test_one_scene(tiny_capture: Path) -> None:
    scene = load_one_scene(f"path:{tiny_capture}", None, max_width=16)
    assert (scene.dataset, scene.name, scene.protocol.id) == ("path", "tiny", "gs1600+w16")
    assert load_one_scene(f"path:{tiny_capture}", "png4", downscale=2.0).protocol.id == "png4+d2"
    with pytest.raises(SceneError, match="does not exist"):
        load_one_scene(f"path:{tiny_capture}/none", None)


def test_several_scenes_are_too_many(monkeypatch: pytest.MonkeyPatch, tiny_capture: Path) -> None:
    from gsbench.scenes import SceneRef

    refs = [SceneRef("lab", "desk"), SceneRef("lab", "shelf")]
    monkeypatch.setattr("gsbench.scenes.resolve.resolve_scenes", lambda patterns: refs)
    monkeypatch.setattr("gsbench.scenes.resolve_scenes", lambda patterns: refs, raising=False)
    with pytest.raises(UsageError, match="expected one scene, this means lab/desk, lab/shelf"):
        load_one_scene("lab", None)
