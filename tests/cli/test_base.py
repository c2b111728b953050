"""``gsbench run --base``: what a user types and reads. The rest is in tests/bench/test_own_models.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsbench.formats.ply import write_ply
from gsbench.testing import random_splats

Here = Callable[..., tuple[int, str, str]]
CommandLine = Callable[..., Any]


@pytest.fixture
def models(tmp_path: Path, tiny_capture: Path) -> Path:
    """A folder as in the archive of pretrained models."""
    folder = tmp_path / "pretrained"
    for iteration, count in ((7000, 20), (30000, 50)):
        path = folder / "tiny" / "point_cloud" / f"iteration_{iteration}" / "point_cloud.ply"
        path.parent.mkdir(parents=True)
        write_ply(path, random_splats(count))
    return folder


@pytest.mark.usefixtures("one_process")
def test_a_run_from_a_folder_of_models(here: Here, models: Path, tiny_capture: Path, tmp_path: Path) -> None:
    request = ["--methods", "halved", "--scenes", f"path:{tiny_capture}", "--base", "pretrained"]
    code, out, err = here("plan", *request)
    assert code == 0, err
    assert out.splitlines()[1].split()[:2] == ["halved", "path/tiny"]
    assert len(out.splitlines()) == 4, "no job for a base"
    code, out, err = here("run", *request, "--json")
    assert code == 0, err
    (record,) = json.loads(out)["records"]
    newest = models / "tiny" / "point_cloud" / "iteration_30000" / "point_cloud.ply"
    sha256 = hashlib.sha256(newest.read_bytes()).hexdigest()
    assert record["base"] == {"name": "pretrained", "sha256": sha256, "own": True}
    assert record["gaussians"] == 25
    assert record["metrics"]["psnr_to_base"] > 5
    assert str(tmp_path) not in json.dumps({**record, "artifact": None})
    assert "points" not in err
    assert f"halved on path/tiny starts from pretrained, sha256 {sha256[:16]}" in here("run", *request, "-q")[1]


@pytest.mark.usefixtures("one_process")
def test_the_file_of_options_can_name_it(here: Here, models: Path, tiny_capture: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        f'methods = "halved"\nscenes = ["path:{tiny_capture}"]\nbase = "pretrained/tiny"\n'
    )
    code, out, err = here("run", "--config", "run.toml", "--json", "-q")
    assert code == 0, err
    assert json.loads(out)["records"][0]["base"]["name"] == "tiny"


def test_wrong_bases_are_told_before_anything_runs(
    here: Here, models: Path, tiny_capture: Path, tmp_path: Path
) -> None:
    broken = models / "tiny" / "point_cloud" / "iteration_30000" / "point_cloud.ply"
    broken.write_bytes(broken.read_bytes()[:-20])
    other = tmp_path / "other"
    other.symlink_to(tiny_capture)
    before = sorted(tmp_path.rglob("*"))
    for arguments, messages in (
        (
            ["--methods", "halved", "--base", "pretrained"],
            ["no usable model for the scene", "path/tiny: ", "truncated"],
        ),
        (["--methods", "halved", "--base", "none"], ["none does not exist; expected a .ply file, or a folder"]),
        (["--methods", "points,halved", "--base", "pretrained"], ["--base: points trains its own model"]),
        (["--methods", "halved", "--base", str(broken)], ["truncated"]),
    ):
        code, out, err = here("run", *arguments, "--scenes", f"path:{tiny_capture}")
        assert (code, out) == (2, "")
        for message in messages:
            assert message in err
        assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_whole_way_with_its_processes(
    command_line: CommandLine, models: Path, tiny_capture: Path, tmp_path: Path
) -> None:
    request = ["run", "--methods", "halved", "--scenes", f"path:{tiny_capture}", "--base", "pretrained", "--json"]
    done = command_line(*request)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["records"]
    assert (record["status"], record["gaussians"]) == ("ok", 25)
    assert "halved path/tiny default: base done in" in done.stderr
