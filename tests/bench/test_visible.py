"""What is visible to a sealed decoder: what was installed, and nothing that appeared beside it."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gsbench import hooks, native
from gsbench.artifact import ArtifactWriter
from gsbench.bench.sealed import choose_isolation, decode_sealed
from gsbench.bench.visible import pretrained_file, take_inventory
from gsbench.errors import JobError, PluginError
from gsbench.methods import MethodSpec
from gsbench.splats import Camera
from gsbench.testing.installed import write_distribution

PLUGIN = """
import gsbench
GSBENCH_API = 1
@gsbench.hookimpl
def gsbench_methods():
    spec = {"name": "edited", "target": "edited.method:Edited", "summary": "x"}
    return [gsbench.MethodSpec(**spec, pretrained=("edited:prior.bin",))]
"""

METHOD = """
import dataclasses, json
from pathlib import Path
import torch
from gsbench.errors import ArtifactError
from gsbench.methods import Method, Model

class Flat(Model):
    def __init__(self, value): self.value = value
    def render(self, camera, background): return torch.full((camera.height, camera.width, 3), self.value)
    def state(self): return {}
    @classmethod
    def from_state(cls, state, config): ...

class Edited(Method):
    @dataclasses.dataclass
    class Config:
        pass
    model_class = Flat
    def fit(self, scene, config, context): ...
    def encode(self, model, config, out, context): ...
    @classmethod
    def decode(cls, artifact, context):
        here = Path(__file__).parent
        try:
            (here / "side.bin").read_bytes()
        except OSError:
            return Flat(len((here / "prior.bin").read_bytes()) / 10)
        raise ArtifactError("read a file that nobody declared")
"""


@pytest.fixture
def editable(install: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin as ``pip install -e`` leaves it: metadata among the installed packages, sources elsewhere."""
    root = install("innocent", {"innocent.py": ""}, None)
    source = tmp_path / "source"
    for name, text in {"__init__": "", "plugin": PLUGIN, "method": METHOD}.items():
        path = source / "edited" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (source / "edited" / "prior.bin").write_bytes(b"abc")
    info = write_distribution(root, "gsbench-edited", {}, entry_points={"edited": "edited.plugin"})
    (info / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    monkeypatch.syspath_prepend(source)
    hooks.unload_plugins()
    return source / "edited"


def test_an_editable_plugin_decodes_and_sees_its_sources_alone(
    editable: Path, tmp_path: Path, cameras: list[Camera]
) -> None:
    artifact = tmp_path / "a.gsb"
    with ArtifactWriter(artifact, "edited", "1.0") as out:
        out.section("nothing", b"")
    (editable / "side.bin").write_bytes(b"what fit found out")
    (tmp_path / "out").mkdir()
    for isolation in {"audit-hook", choose_isolation("auto")}:
        result = decode_sealed(
            "edited", artifact, cameras[:1], torch.zeros(3), "cpu", 1, tmp_path / "out", isolation=isolation
        )
        assert len(result.frames) == 1


def test_the_code_of_plugins_is_listed_file_by_file(editable: Path) -> None:
    (editable / "notes.txt").write_text("not code")
    (editable / "fast.so").write_bytes(b"\x7fELF" + bytes(1 << 20))
    (editable / "__pycache__").mkdir(exist_ok=True)
    (editable / "__pycache__" / "method.cpython-311.pyc").write_bytes(b"x")
    found = take_inventory()
    own = {path for path in found.code if path.startswith(str(editable))}
    assert own == {str(editable / name) for name in ("__init__.py", "plugin.py", "method.py", "prior.bin", "fast.so")}
    assert str(native.library_path().resolve()) in found.code
    assert any(path.endswith("gsbench/bench/visible.py") for path in found.code)
    assert not any("/innocent.py" in path or path.endswith(".pyc") for path in found.code)
    assert str(editable) in found.packages
    assert str(editable) in found.code_folders
    assert str(editable.parent) not in found.code_folders
    assert found.code[str(editable / "method.py")].content == METHOD.encode()
    assert found.code[str(editable / "fast.so")].content is None, "too large to keep"

    found.check_unchanged()
    (editable / "memo.py").write_text("SECRET = 1")
    found.check_unchanged()  # what is new is not visible
    (editable / "method.py").write_text(METHOD + "#")
    (editable / "prior.bin").unlink()
    with pytest.raises(JobError, match=r": \S+method\.py, \S+prior\.bin; run again"):
        found.check_unchanged()
    found.check_unchanged([str(editable / "plugin.py")])


def test_data_of_the_core_is_visible_as_code_is(monkeypatch: pytest.MonkeyPatch, editable: Path) -> None:
    """Committed tables, for one; of plugins, only what they declare is."""
    core = Path(hooks.__file__).parents[1]
    found = take_inventory()
    assert str(core / "py.typed") in found.code
    assert not any(path.startswith(str(editable)) and path.endswith(".txt") for path in found.code)


def test_installed_distributions_are_listed_with_their_sizes(install: Callable[..., Path]) -> None:
    root = install("innocent", {"innocent/__init__.py": "12345", "innocent/data.json": "{}"}, None)
    (root / "innocent" / "side.bin").write_bytes(b"x")
    listed = take_inventory().listed[str(root)]
    assert (listed["innocent/__init__.py"], listed["innocent/data.json"]) == (5, 2)
    assert listed["innocent-1.0.dist-info/RECORD"] == -1
    assert "innocent/side.bin" not in listed
    # Package managers that rewrite files after they registered them: the size says nothing.
    (root / "innocent-1.0.dist-info" / "INSTALLER").write_text("conda\n")
    assert take_inventory().listed[str(root)]["innocent/data.json"] == -1


def test_folders_of_the_interpreter() -> None:
    found = take_inventory()
    assert str(Path(sysconfig.get_path("stdlib")).resolve()) in found.stdlib
    assert all(not path.startswith("/usr/lib/python") or "site-packages" not in path for path in found.stdlib)
    libraries = [Path(folder) for folder in found.libraries]
    assert any(list(folder.glob("libc.so*")) or list(folder.glob("libc.musl*")) for folder in libraries)
    assert not any("site-packages" in folder for folder in found.libraries)
    assert all(Path(entry).is_absolute() for entry in found.import_path)
    assert len(found.import_path) == len(set(found.import_path)) <= len(sys.path)
    json.dumps(found.to_json())


def test_pretrained_files(editable: Path) -> None:
    spec = MethodSpec(name="m", target="a:B", summary="")
    assert pretrained_file(spec, "edited:prior.bin") == editable / "prior.bin"
    for wrong in ("edited:nothing.bin", "edited:../../secret", "nowhere:x", "edited:", "edited"):
        with pytest.raises(PluginError, match="is not a file of its package"):
            pretrained_file(spec, wrong)
