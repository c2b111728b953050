"""``gsbench train``: the train stage of a run, and the model as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsbench.bench.model_folder import read_model_info
from gsbench.formats.ply import read_ply, write_ply
from gsbench.scenes.colmap import read_model
from gsbench.testing import random_splats

Here = Callable[..., tuple[int, str, str]]
CommandLine = Callable[..., Any]

one_process = pytest.mark.usefixtures("one_process")


@one_process
def test_a_model_folder(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    code, out, err = here("train", "points", "--scene", f"path:{tiny_capture}", "-o", "models/tiny", "--json")
    assert code == 0, err
    output = json.loads(out)
    assert output["schema"] == "gsbench.train/1"
    assert (output["method"], output["dataset"], output["scene"]) == ("points", "path", "tiny")
    assert (output["rate"], output["seed"], output["gaussians"]) == ("small", 0, 200)
    folder = tmp_path / "models" / "tiny"
    names = ["model.json", "model.safetensors", "point_cloud.ply", "training.json"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert {Path(f["path"]).name: f["bytes"] for f in output["files"]} == {
        p.name: p.stat().st_size for p in folder.iterdir()
    }
    points = read_model(tiny_capture / "sparse" / "0").xyz.astype(np.float32)
    np.testing.assert_array_equal(read_ply(folder / "point_cloud.ply").means.numpy(), points)
    info = read_model_info(folder)
    assert info is not None
    assert (info.method, info.rate, info.config, info.base) == ("points", "small", {"every": 2, "seconds": 0.0}, None)
    assert str(tmp_path) not in (folder / "training.json").read_text(), "it can be moved, and tells nothing"
    assert "points path/tiny small: train" in err
    assert not list(tmp_path.rglob("*.json.tmp"))
    records = [p for p in (tmp_path / "runs").rglob("*.json") if "stages" not in p.parts and "jobs" not in p.parts]
    assert records == [], "training alone is no result"


@one_process
def test_a_ply_alone(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    request = ["train", "points", "--scene", f"path:{tiny_capture}"]
    code, out, err = here(*request, "-o", "points.ply")
    assert code == 0, err
    assert out.startswith("points path/tiny small: trained in 0.0 s, 200 Gaussians\n")
    assert "points.ply" in out
    assert "Next:    gsbench render points.ply --turntable" in out
    first = (tmp_path / "points.ply").read_bytes()
    code, _, err = here(*request, "-o", "points.ply")
    assert code == 2
    assert "points.ply exists already; expected the name of a new file, or --force to replace it" in err
    code, out, err = here(*request, "-o", "points.ply", "--force", "--quiet")
    assert (code, err) == (0, "")
    assert (tmp_path / "points.ply").read_bytes() == first


@one_process
def test_what_is_trained_serves_the_run_and_the_other_way_round(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    scene = f"path:{tiny_capture}"
    assert here("train", "points", "--scene", scene, "-o", "model", "--seed", "3")[0] == 0
    plan = json.loads(here("plan", "--methods", "points", "--scenes", scene, "--seeds", "3", "--json")[1])
    assert plan["jobs"][0]["missing"] == ["encode", "decode", "score"]
    code, _, err = here("train", "points", "--scene", scene, "-o", "again", "--seed", "3")
    assert code == 0
    assert "train there already" in err
    for name in ("model.json", "model.safetensors", "point_cloud.ply", "training.json"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert here("train", "points", "--scene", scene, "-o", "other", "--runs", "elsewhere")[0] == 0
    assert (tmp_path / "elsewhere" / "stages" / "train").is_dir()


@one_process
def test_a_method_that_trains(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    options = ["--iterations", "5", "--max-width", "16", "--set", "trained.sh_degree=1"]
    code, out, err = here("train", "trained", "--scene", f"path:{tiny_capture}", "-o", "model", *options, "--json")
    assert code == 0, err
    output = json.loads(out)
    assert (output["iterations"], output["protocol"]["id"]) == (5, "gs1600+w16")
    splats = read_ply(tmp_path / "model" / "point_cloud.ply")
    assert (len(splats), splats.sh_degree) == (output["gaussians"], 1)
    code, _, err = here("encode", "trained", "model", "-o", "same.ply", "-q")
    assert code == 0, err
    assert (tmp_path / "same.ply").read_bytes() == (tmp_path / "model" / "point_cloud.ply").read_bytes()


@one_process
def test_a_method_with_a_base_trains_that_too(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    """The base is trained, encoded and decoded, but neither rendered nor scored as a result of its own."""
    code, out, err = here("train", "halved", "--scene", f"path:{tiny_capture}", "-o", "model", "--json")
    assert code == 0, err
    base = json.loads(out)["base"]
    assert (base["name"], base["own"]) == ("points", False)
    assert "halved path/tiny default: base train" in err
    assert len(read_ply(tmp_path / "model" / "base.ply")) == 100, "the points at their default rate"
    stages = {p.name for p in (tmp_path / "runs" / "stages").iterdir()}
    assert stages == {"train", "encode", "decode"}


@one_process
def test_from_a_model_of_ones_own(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    write_ply(tmp_path / "mine.ply", random_splats(30))
    options = ["--base", "mine.ply", "--set", "halved.shift=2"]
    code, out, err = here("train", "halved", "--scene", f"path:{tiny_capture}", "-o", "model", *options, "--json")
    assert code == 0, err
    assert json.loads(out)["base"]["name"] == "mine.ply"
    assert (tmp_path / "model" / "base.ply").read_bytes() == (tmp_path / "mine.ply").read_bytes()
    cloud = read_ply(tmp_path / "model" / "point_cloud.ply")
    assert torch.equal(cloud.means, random_splats(30).means + 2.0)


@one_process
def test_a_model_without_gaussians(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    request = ["train", "opaque", "--scene", f"path:{tiny_capture}"]
    code, out, err = here(*request, "-o", "model.ply", "-q")
    assert (code, out) == (2, "")
    assert "its model is not made of plain Gaussians" in err
    assert "nothing will be trained again" in err
    assert not (tmp_path / "model.ply").exists()
    code, out, err = here(*request, "-o", "model")
    assert code == 0
    assert "train there already" in err
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "model.json",
        "model.safetensors",
        "training.json",
    ]


@one_process
def test_a_training_that_fails(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    code, out, err = here("train", "broken", "--scene", f"path:{tiny_capture}", "-o", "model")
    assert (code, out) == (1, "")
    assert "gsbench: error: training failed in train: RuntimeError: no such luck (log: runs/stages/train/" in err
    assert "The last lines of its log:\n" in err
    assert not (tmp_path / "model").exists()
    log = err.rpartition("(log: ")[2].partition(")\n")[0]
    assert "about to fail" in (tmp_path / log).read_text()


@one_process
def test_options_in_a_file(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text(f'scene = "path:{tiny_capture}"\nseed = 4\nset.points.every = 3\n')
    code, out, err = here("train", "points", "--config", "train.toml", "-o", "model", "--json")
    assert code == 0, err
    assert json.loads(out)["seed"] == 4
    info = read_model_info(tmp_path / "model")
    assert info is not None
    assert info.config["every"] == 3


BAD: list[Any] = [
    (["pionts"], "unknown method 'pionts'; did you mean 'points'"),
    (["points", "--scene", "dmo"], "did you mean 'demo'"),
    (["points", "--scene", "path:none"], "does not exist"),
    (["points", "--rate", "smal"], "has no rate point 'smal'; did you mean 'small'"),
    (["points", "--rate", "all"], "expected one rate point on one scene, this means 2: all on path/tiny"),
    (["points", "--set", "points.evry=3"], "did you mean 'every'"),
    (["points", "--iterations", "0"], "--iterations"),
    (["points", "--seed", "-1"], "--seed"),
    (["points", "--base", "there.ply"], "--base: points trains its own model and does not start from another"),
    (["halved", "--base", "none.ply"], "none.ply does not exist; expected a .ply file, or a folder with one"),
    (["points", "--device", "cuda:99"], "cuda:99"),
    (["points", "-o", "there"], "there exists already; expected the name of a new folder"),
    (["points", "-o", "there.ply"], "there.ply exists already"),
    (["points", "-o", "new", "--force"], "--force replaces a .ply"),
    (["points", "-o", "new.gsb"], "gsbench encode points MODEL -o new.gsb makes an artifact of it"),
    (["points", "-o", "there.ply/new"], "cannot write there.ply/new"),
    (["points", "--itertions", "3"], "--iterations"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_wrong_usage_is_one_message_and_leaves_nothing(
    arguments: list[str], message: str, here: Here, tiny_capture: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    (tmp_path / "there.ply").touch()
    before = sorted(tmp_path.rglob("*"))
    scene = [] if "--scene" in arguments else ["--scene", f"path:{tiny_capture}"]
    output = [] if "-o" in arguments else ["-o", "new"]
    code, out, err = here("train", *arguments, *scene, *output)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("gsbench: error: ")
    assert len(err.splitlines()) <= 2
    assert sorted(tmp_path.rglob("*")) == before


def test_the_whole_way_with_its_processes(command_line: CommandLine, tiny_capture: Path, tmp_path: Path) -> None:
    done = command_line("train", "points", "--scene", f"path:{tiny_capture}", "-o", "model", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["gaussians"] == 200
    assert (tmp_path / "model" / "point_cloud.ply").is_file()
    assert not [p for p in tmp_path.rglob(".*") if p.name != ".lock"], "nothing half-written"
