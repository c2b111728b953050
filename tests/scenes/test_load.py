"""`load_scene` over data sets of plugins."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from gsbench import registry
from gsbench.errors import PluginError, UsageError
from gsbench.protocols import GS1600, PNG4, SHIPPED
from gsbench.scenes import DatasetSpec, Scene, SceneOptions, SceneRef, load_folder, load_scene


@pytest.fixture
def lab(capture: Any, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A data set whose loader reads a folder; `seen` holds the options that it was given."""
    folder: Path = capture()
    module = types.ModuleType("gsbench_test_lab")

    def load(scene: str, options: SceneOptions) -> Any:
        module.seen = options  # type: ignore[attr-defined]
        if scene == "odd":
            return "not a scene"
        protocol = options.effective_protocol(GS1600)
        name = "other" if scene == "renamed" else scene
        return load_folder(folder, protocol, options, dataset="lab", name=name, factor=2.0)

    module.load = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry.scenes, "_entries", {})
    spec = DatasetSpec("lab", ("desk", "odd", "renamed"), "gsbench_test_lab:load", "Rooms", PNG4)
    registry.scenes.register("lab", spec)
    return module


def test_the_data_sets_protocol_is_the_default(lab: Any) -> None:
    scene = load_scene(SceneRef("lab", "desk"))
    assert isinstance(scene, Scene)
    assert (scene.dataset, scene.name, scene.protocol) == ("lab", "desk", PNG4)
    assert scene.train[0].width == 12
    assert load_scene(SceneRef("lab", "desk"), SceneOptions(protocol=GS1600)).train[0].width == 24


def test_options_reach_the_loader(lab: Any) -> None:
    options = SceneOptions(protocol=SHIPPED, images="images", init="random:7", held_out=False)
    scene = load_scene(SceneRef("lab", "desk"), options)
    assert lab.seen == options
    assert scene.protocol.id == "shipped+images"
    assert (len(scene.points), len(scene.test)) == (7, 0)


@pytest.mark.usefixtures("lab")
def test_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="unknown data set 'lob'; did you mean 'lab'"):
        load_scene(SceneRef("lob", "desk"))
    with pytest.raises(UsageError, match="data set 'lab' has no scene 'dusk'; did you mean 'desk'"):
        load_scene(SceneRef("lab", "dusk"))
    with pytest.raises(PluginError, match="gsbench_test_lab:load was asked for scene lab/odd and returned str"):
        load_scene(SceneRef("lab", "odd"))
    with pytest.raises(PluginError, match="was asked for scene lab/renamed and returned lab/other"):
        load_scene(SceneRef("lab", "renamed"))


def test_for_training_hides_what_is_held_out(capture: Any) -> None:
    folder = capture()
    scene = load_scene(SceneRef("path", "capture", folder)).for_training()
    assert tuple(scene.test) == ()
    assert len(scene.train) == 8
