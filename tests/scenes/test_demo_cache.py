"""The cache of the data set `demo`, with a generator that takes no time in place of the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from gsbench.errors import SceneError
from gsbench.scenes import SceneOptions, demo_cache
from gsbench.scenes.demo_cache import cache_root, demo_folder, load

FAKE = """
import os, time
from pathlib import Path
import numpy as np
from PIL import Image
from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, write_model

def generate(folder, progress=None):
    with open(os.environ["FAKE_DEMO_LOG"], "a") as log:
        log.write("made\\n")
    time.sleep(float(os.environ.get("FAKE_DEMO_SECONDS", "0")))
    names = [f"{i}.png" for i in range(4)]
    (folder / "images").mkdir()
    for name in names:
        Image.new("RGB", (8, 6), (1, 2, 3)).save(folder / "images" / name)
        if progress is not None:
            progress(names.index(name) + 1, len(names))
    if os.environ.get("FAKE_DEMO_FAILS"):
        raise RuntimeError("no demo today")
    images = {i: ColmapImage(i, (1., 0., 0., 0.), (float(i), 0., 0.), 1, n) for i, n in enumerate(names, 1)}
    camera = ColmapCamera(1, "PINHOLE", 8, 6, 9., 9., 4., 3.)
    write_model(folder / "sparse" / "0", ColmapModel({1: camera}, images, np.ones((5, 3)), np.ones((5, 3), np.uint8)))
"""


class Fake:
    def __init__(self, folder: Path) -> None:
        self.module, self.log, self.cache = folder / "fake_demo.py", folder / "log", folder / "cache"

    @property
    def made(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake(tmp_path)
    fake.module.write_text(FAKE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(demo_cache, "_GENERATOR", "fake_demo")
    monkeypatch.setattr(demo_cache, "_SOURCES", ("fake_demo",))
    monkeypatch.setenv("FAKE_DEMO_LOG", str(fake.log))
    monkeypatch.setenv("GSBENCH_CACHE", str(fake.cache))
    monkeypatch.delitem(sys.modules, "fake_demo", raising=False)
    return fake


def test_made_once(fake: Fake) -> None:
    scene = load("demo", SceneOptions())
    assert (scene.dataset, scene.name, scene.protocol.id) == ("demo", "demo", "gs1600")
    assert (len(scene.train), len(scene.test), len(scene.points)) == (3, 1, 5)
    assert load("demo", SceneOptions()).hash == scene.hash
    assert fake.made == 1
    (folder,) = (p for p in (fake.cache / "demo").iterdir() if p.is_dir())
    assert folder == demo_folder()
    assert folder.stat().st_mode & 0o755 == 0o755


def test_options(fake: Fake, tmp_path: Path) -> None:
    scene = load("demo", SceneOptions(downscale=2.0, init="random:9", cache=tmp_path / "other"))
    assert (scene.protocol.id, scene.train[0].width, len(scene.points)) == ("gs1600+d2", 4, 9)
    assert not fake.cache.exists()
    assert (tmp_path / "other" / "demo").is_dir()


def test_progress(fake: Fake) -> None:
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        demo_folder(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: damage(folder / "images" / "2.png"),
        lambda folder: (folder / "images" / "2.png").unlink(),
        lambda folder: (folder / "images" / "extra.png").write_bytes(b""),
        lambda folder: (folder / "sparse" / "0" / "points3D.bin").write_bytes(b""),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text(json.dumps({"schema": 0})),
        lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe"),
    ],
)
def test_damage_is_repaired(fake: Fake, harm: Any) -> None:
    folder = demo_folder()
    before = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    harm(folder)
    assert demo_folder() == folder
    assert {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert fake.made == 2
    assert [p.name for p in folder.parent.iterdir() if p.suffix != ".lock"] == [folder.name]


def test_another_version_of_the_generator_makes_its_own(fake: Fake) -> None:
    first = demo_folder()
    fake.module.write_text(FAKE + "\n# changed\n")
    assert demo_folder() != first
    assert fake.made == 2


def test_a_package_counts_with_all_its_modules(fake: Fake) -> None:
    first = demo_folder()
    package = fake.module.with_suffix("")
    package.mkdir()
    (package / "__init__.py").write_text(FAKE)
    fake.module.unlink()
    (package / "shapes.py").write_text("")
    sys.modules.pop("fake_demo")
    second = demo_folder()
    (package / "shapes.py").write_text("SIDES = 3\n")
    assert len({first, second, demo_folder()}) == 3


def test_what_a_killed_process_left_is_removed(fake: Fake) -> None:
    folder = demo_folder()
    (folder / "manifest.json").unlink()
    for name in ("tmp-dead", "old-dead"):
        (folder.parent / f"{folder.name}.{name}").mkdir()
        (folder.parent / f"{folder.name}.{name}" / "x").write_text("x")
    demo_folder()
    assert [p.name for p in folder.parent.iterdir() if p.suffix != ".lock"] == [folder.name]


def test_failure_leaves_nothing(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DEMO_FAILS", "1")
    with pytest.raises(RuntimeError, match="no demo today"):
        demo_folder()
    assert [p for p in (fake.cache / "demo").iterdir() if p.suffix != ".lock"] == []
    monkeypatch.delenv("FAKE_DEMO_FAILS")
    assert demo_folder().is_dir()


def test_processes_at_once_make_it_once(fake: Fake) -> None:
    code = textwrap.dedent("""
        from gsbench.scenes import demo_cache
        demo_cache._GENERATOR = "fake_demo"
        demo_cache._SOURCES = ("fake_demo",)
        print(demo_cache.demo_folder())
    """)
    paths = os.pathsep.join([str(fake.module.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "FAKE_DEMO_SECONDS": "0.5"}
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert outputs == {f"{demo_folder()}\n"}
    assert fake.made == 1


def test_no_place_to_keep_it(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SceneError, match=r"the demo cannot be kept in .*/file/demo: .*; .*set GSBENCH_CACHE to one"):
        demo_folder(tmp_path / "file")
    assert fake.made == 0


def test_a_lock_that_is_held(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    folder = demo_folder()
    (folder / "manifest.json").unlink()
    monkeypatch.setattr(demo_cache, "_PATIENCE", 0.2)
    with (
        FileLock(folder.parent / f"{folder.name}.lock"),
        pytest.raises(SceneError, match=r"another process has been making the demo .* remove .*\.lock beside it"),
    ):
        demo_folder()
    assert fake.made == 1


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GSBENCH_CACHE", raising=False)
    assert cache_root() == tmp_path / ".cache" / "gsbench"
    monkeypatch.setenv("GSBENCH_CACHE", str(tmp_path / "c"))
    assert cache_root() == tmp_path / "c"
    assert cache_root(tmp_path / "d") == tmp_path / "d"
