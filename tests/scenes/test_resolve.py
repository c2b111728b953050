"""From ``--scenes`` to scenes, and the specs that plugins write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from gsbench import registry
from gsbench.errors import PluginError, SceneError, UsageError
from gsbench.protocols import GS1600, PNG4, SHIPPED
from gsbench.scenes import DatasetSpec, SceneOptions, SceneRef, resolve_scenes
from gsbench.scenes.datasets import DEMO
from gsbench.scenes.spec import safe_name


@pytest.fixture
def _datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the core's data sets and one more are registered."""
    monkeypatch.setattr(registry.scenes, "_entries", {})
    lab = DatasetSpec("lab", ("desk", "shelf", "garden"), "some.module:load", "Rooms")
    more = DatasetSpec("lab-more", ("desk",), "some.module:load", "More rooms", SHIPPED)
    for spec in (DEMO, lab, more):
        registry.scenes.register(spec.name, spec)


def names(*patterns: str) -> list[str]:
    return [str(ref) for ref in resolve_scenes(patterns)]


@pytest.mark.usefixtures("_datasets")
@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["demo"], ["demo/demo"]),
        (["lab"], ["lab/desk", "lab/shelf", "lab/garden"]),
        (["lab/shelf", "demo", "lab/desk"], ["lab/shelf", "demo/demo", "lab/desk"]),
        (["lab*/desk"], ["lab/desk", "lab-more/desk"]),
        (["lab/[sg]*"], ["lab/shelf", "lab/garden"]),
        (["*/?????"], ["lab/shelf"]),
        (["l*e"], ["lab-more/desk"]),
        (["lab", "lab/desk", " lab/desk "], ["lab/desk", "lab/shelf", "lab/garden"]),
        (["*"], ["demo/demo", "lab/desk", "lab/shelf", "lab/garden", "lab-more/desk"]),
    ],
)
def test_patterns(patterns: list[str], expected: list[str]) -> None:
    assert names(*patterns) == expected


@pytest.mark.usefixtures("_datasets")
@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("dmeo", "unknown data set 'dmeo'; did you mean 'demo'"),
        ("lab/dsek", "data set 'lab' has no scene 'dsek'; did you mean 'desk'"),
        ("garden", "unknown data set 'garden'; did you mean 'lab/garden'"),
        (
            "zzzzz",
            "unknown data set 'zzzzz'; known: demo, lab, lab-more .a folder of your own is written path:/my/scene.",
        ),
        ("x*", r"no scene matches 'x\*'; known: demo, lab, lab-more"),
        ("/tmp", "unknown scene '/tmp'; for a folder of your own, write path:/tmp"),
        ("./here", r"for a folder of your own, write path:\./here"),
        ("path:", "'path:' names no folder; expected path:/my/scene"),
        (" ", "an empty scene name; expected a data set"),
    ],
)
def test_misspelled(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        resolve_scenes([pattern])
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("_datasets")
def test_nothing_asked_for() -> None:
    with pytest.raises(UsageError, match="no scene is given; expected a data set such as demo, or path:/my/scene"):
        resolve_scenes([])


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "My scene"
    folder.mkdir()
    expected = SceneRef("path", "My-scene", folder.resolve())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    patterns = [f"path:{folder}", "path:My scene", "path:My scene/", "path:./My scene/.", "path:~/My scene"]
    for pattern in patterns:
        assert resolve_scenes([pattern]) == [expected]
    assert resolve_scenes(patterns) == [expected]
    monkeypatch.chdir(folder)
    assert resolve_scenes(["path:."]) == [expected]


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"scene folder .*/nope does not exist"):
        resolve_scenes([f"path:{tmp_path}/nope"])
    (tmp_path / "file").write_text("x")
    with pytest.raises(SceneError, match=r"scene folder .*/file is a file"):
        resolve_scenes([f"path:{tmp_path}/file"])
    with pytest.raises(SceneError, match=r"File name too long|does not exist"):
        resolve_scenes([f"path:{tmp_path}/{'x' * 5000}"])
    with pytest.raises(UsageError, match="names no folder"):
        resolve_scenes(["path:a\0b"])
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SceneError, match=r"scene folder .*loop"):
        resolve_scenes([f"path:{tmp_path}/loop"])
    with pytest.raises(SceneError, match="scene folder"):
        resolve_scenes(["path:~nobody-of-this-name/x"])


def test_folders_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    for name in ("a/scene", "b/Scene", "c/s cene", "d/s-cene"):
        (tmp_path / name).mkdir(parents=True)
    for one, other in (("a/scene", "b/Scene"), ("c/s cene", "d/s-cene")):
        with pytest.raises(UsageError, match=f"{one} and .*{other} would both be called path/"):
            resolve_scenes([f"path:{tmp_path}/{one}", f"path:{tmp_path}/{other}"])
    assert len(resolve_scenes([f"path:{tmp_path}/a/scene", f"path:{tmp_path}/c/s cene"])) == 2


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("fox_colmap", "fox_colmap"),
        ("a b/c\\d", "a-b-c-d"),
        ("..", "scene"),
        (".hidden", "hidden"),
        ("\u4e2d", "scene"),
        ("\u00fc\u4e2d", "u"),
        ("caf\u00e9 1", "cafe-1"),
        ("--help", "help"),
        ("", "scene"),
        ("x" * 300, "x" * 100),
    ],
)
def test_names_are_safe_in_paths(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "La b"}, "data set name 'La b': expected letters"),
        ({"name": "../x"}, "data set name"),
        ({"name": "Path"}, "and not 'path'"),
        ({"scenes": ()}, "scenes must be a tuple of names that differ"),
        ({"scenes": "desk"}, "scenes must be a tuple of names that differ, got 'desk'"),
        ({"scenes": ("a", "a")}, "scenes must be a tuple of names that differ"),
        ({"scenes": ("a/b",)}, "scene name 'a/b'; expected up to 100 letters"),
        ({"scenes": (".a",)}, "scene name '.a'"),
        ({"target": "module"}, "target 'module' is not of the form"),
        ({"iterations": 0}, "iterations: expected a positive integer, got 0"),
        ({"iterations": 1.5}, "iterations: expected a positive integer"),
    ],
)
def test_specs_are_checked(fields: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"name": "lab", "scenes": ("desk",), "target": "a.b:c", "summary": "x"}
    assert DatasetSpec(**good).protocol is GS1600  # type: ignore[arg-type]
    with pytest.raises(PluginError, match=message):
        DatasetSpec(**(good | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("init", ["random", "random:", "random:0", "random:-3", "random:1e5", "random:99999999", "sfm"])
def test_init_is_checked(init: str) -> None:
    with pytest.raises(UsageError, match=r"--init '.*': expected random:N with N from 1 to"):
        SceneOptions(init=init)


def test_init() -> None:
    assert SceneOptions().random_points is None
    assert SceneOptions(init="random:100000").random_points == 100_000


def test_options_and_protocols_travel_as_json() -> None:
    options = SceneOptions(SHIPPED, "images_2", 2.0, 100, (1.0, 0.5, 0.0), "random:9", Path("/c"), held_out=False)
    adapter = TypeAdapter(SceneOptions)
    for value in (options, SceneOptions(), SceneOptions(PNG4)):
        assert adapter.validate_json(adapter.dump_json(value)) == value


def test_listing_needs_no_torch() -> None:
    """What listing plugins and resolving ``--scenes`` import is light; every public name imports."""
    code = (
        "import sys, gsbench.scenes as s\n"
        "s.core_datasets(); s.DatasetSpec; s.SceneOptions(); s.resolve_scenes\n"
        "import gsbench.scenes.colmap\n"
        "assert not {'torch', 'PIL', 'filelock'} & set(sys.modules)\n"
        "assert all(getattr(s, n) is not None for n in s.__all__) and 'torch' in sys.modules\n"
        "assert dir(s) == s.__all__\n"
        "from gsbench.scenes import demo_cache\n"
        "assert len(demo_cache._source_digest()) == 64 and 'gsbench.scenes.demo' not in sys.modules\n"
        "try: s.nonsense\n"
        "except AttributeError: pass\n"
        "else: raise SystemExit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_names_of_folders_lose_their_accents() -> None:
    assert safe_name("ñoño çà dé") == "nono-ca-de"
    assert safe_name("庭") == "scene"
    assert safe_name("_x") == "x"
