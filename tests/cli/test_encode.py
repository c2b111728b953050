"""``gsbench encode``: a model without photos becomes an artifact that decodes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gsbench.artifact import open_artifact
from gsbench.formats.ply import read_ply, write_ply
from gsbench.splats import Splats
from gsbench.testing import random_splats

Here = Callable[..., tuple[int, str, str]]
CommandLine = Callable[..., Any]


pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def ply(tmp_path: Path) -> Path:
    path = tmp_path / "model.ply"
    write_ply(path, random_splats(300, sh_degree=2))
    return path


def test_a_ply_is_compressed_and_decodes(here: Here, ply: Path, tmp_path: Path) -> None:
    code, out, err = here("encode", "halved", ply, "-o", "small.gsb", "--json")
    assert code == 0, err
    output = json.loads(out)
    path = tmp_path / "small.gsb"
    assert output["schema"] == "gsbench.encode/1"
    assert (output["method"], output["rate"], output["output"]) == ("halved", "default", "small.gsb")
    assert output["bytes"] == path.stat().st_size == sum(output["sections"].values())
    assert output["sha256"] == open_artifact(path).sha256
    assert output["ply_bytes"] == ply.stat().st_size
    assert output["ratio"] == ply.stat().st_size / path.stat().st_size
    assert (output["verified"], output["gaussians"]) == (True, 150)
    reader = open_artifact(path, "halved")
    assert reader.read("means") == random_splats(300).means[:150].numpy().tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.ply", "small.gsb"]
    assert re.search(r"^\d\d:\d\d:\d\d model.ply halved default: encode$", err, re.MULTILINE)
    # The same model, the same bytes; and a setting changes them.
    assert here("encode", "halved", ply, "-o", "again.gsb", "-q", "--no-verify")[0] == 0
    assert (tmp_path / "again.gsb").read_bytes() == path.read_bytes()
    code, out, err = here("encode", "halved", ply, "-o", "less.gsb", "--set", "halved.keep=0.1", "--no-verify", "-q")
    assert (code, err) == (0, "")
    assert out.startswith(f"less.gsb: {(tmp_path / 'less.gsb').stat().st_size:,} bytes, 0.00")
    assert "decodes" not in out
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert lines["section"] == ["bytes", "share"]
    assert {"means", "sh", "quats", "header", "container"} < set(lines)
    assert open_artifact(tmp_path / "less.gsb").header["count"] == 30


def test_the_method_that_stores_gaussians_as_they_are(here: Here, ply: Path, tmp_path: Path) -> None:
    code, out, err = here("encode", "trained", ply, "-o", "same.ply")
    assert code == 0, err
    assert (tmp_path / "same.ply").read_bytes() == ply.read_bytes()
    assert "100 % of the .ply" in out
    assert "decodes to 300 Gaussians" in out
    assert "isolation" in out


def test_the_folder_that_the_original_code_leaves(here: Here, tmp_path: Path) -> None:
    for iteration, count in ((7000, 10), (30000, 20)):
        folder = tmp_path / "output" / "point_cloud" / f"iteration_{iteration}"
        folder.mkdir(parents=True)
        write_ply(folder / "point_cloud.ply", random_splats(count))
    code, out, err = here("encode", "halved", "output", "-o", "small.gsb", "--json")
    assert code == 0, err
    assert json.loads(out)["gaussians"] == 10, "half of the newest"


@pytest.fixture
def trained(here: Here, tiny_capture: Path, tmp_path: Path) -> Path:
    """A model of the method halved, as ``gsbench train`` leaves it."""
    code, _, err = here(
        *("train", "halved", "--scene", f"path:{tiny_capture}", "-o", "model", "-q"),
        *("--set", "halved.shift=1", "--base", tmp_path / "base.ply"),
    )
    assert code == 0, err
    return tmp_path / "model"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.ply"
    write_ply(path, random_splats(40))
    return path


def test_a_model_that_the_method_trained(base: Path, trained: Path, here: Here, tmp_path: Path) -> None:
    """Its state goes on, with the settings of its training; those of encoding can be changed."""
    assert sorted(p.name for p in trained.iterdir()) == [
        "base.ply",
        "model.json",
        "model.safetensors",
        "point_cloud.ply",
        "training.json",
    ]
    base.unlink()
    moved = tmp_path / "elsewhere"
    trained.rename(moved)
    code, out, err = here("encode", "halved", moved, "-o", "small.gsb", "--set", "halved.keep=0.25", "--json")
    assert code == 0, err
    assert json.loads(out)["gaussians"] == 10
    means = open_artifact(tmp_path / "small.gsb").read("means")
    assert means == (random_splats(40).means[:10] + 1.0).numpy().tobytes()
    code, _, err = here("encode", "halved", moved, "-o", "other.gsb", "--set", "halved.shift=2")
    assert code == 2
    assert "halved.shift is a setting of training, and the model is trained already; expected one of keep" in err
    # Another method takes its Gaussians.
    assert here("encode", "trained", moved, "-o", "plain.ply", "-q")[0] == 0
    assert torch.equal(read_ply(tmp_path / "plain.ply").means, random_splats(40).means + 1.0)
    (moved / "base.ply").unlink()
    code, _, err = here("encode", "halved", moved, "-o", "other.gsb")
    assert code == 1
    assert "base.ply is missing; expected what the model was trained from" in err


def test_damaged_model_folders(base: Path, trained: Path, here: Here, tmp_path: Path) -> None:
    info = json.loads((trained / "training.json").read_text())
    for text, message in (
        ("{", "training.json: not the description of a model"),
        (json.dumps({**info, "seed": "x"}), "seed: "),
        (json.dumps({**info, "schema": "gsbench.model/9"}), "schema: "),
        (json.dumps({**info, "config": {"keep": 0.5}}), "by another version of method 'halved'"),
    ):
        (trained / "training.json").write_text(text)
        code, _, err = here("encode", "halved", trained, "-o", "small.gsb", "-q")
        assert code in (1, 2)
        assert message in err
        assert "Traceback" not in err
    (trained / "training.json").write_text(json.dumps(info))
    (trained / "model.safetensors").write_bytes(b"\0" * 50)
    code, _, err = here("encode", "halved", trained, "-o", "small.gsb", "-q")
    assert code == 1
    assert "cannot be read" in err
    assert not (tmp_path / "small.gsb").exists()


def test_methods_that_cannot_say_so_in_one_sentence(here: Here, ply: Path, tiny_capture: Path, tmp_path: Path) -> None:
    for method, suffix, message in (
        ("points", ".ply", "method 'points' cannot encode a model of other origin: it trains its own from photos"),
        (
            "curious",
            ".gsb",
            "method 'curious' needs the photos of the scene (it asked for its train); give it both: "
            "gsbench run --methods curious --base MODEL --scenes path:/my/scene",
        ),
        ("opaque", ".gsb", "method 'opaque' cannot encode a model of other origin: it trains its own from photos"),
    ):
        code, out, err = here("encode", method, ply, "-o", f"new{suffix}", "-q")
        assert (code, out, err) == (2, "", f"gsbench: error: {message}\n")
    assert [p.name for p in tmp_path.iterdir()] == ["model.ply"]


def test_a_model_without_gaussians_is_for_its_own_method(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    assert here("train", "opaque", "--scene", f"path:{tiny_capture}", "-o", "model", "-q")[0] == 0
    code, out, err = here("encode", "opaque", "model", "-o", "new.gsb", "-q")
    assert code == 0, err
    assert "new.gsb: " in out
    assert "of the .ply" not in out
    code, _, err = here("encode", "halved", "model", "-o", "other.gsb", "-q")
    assert code == 2
    assert "model is a model of method 'opaque', which is not made of plain Gaussians; only opaque encodes it" in err


def test_what_does_not_decode_is_found_and_leaves_nothing(here: Here, ply: Path, tmp_path: Path) -> None:
    (tmp_path / "new.gsb").write_bytes(b"before")
    options = ["encode", "halved", ply, "-o", "new.gsb", "--force", "-q", "--set", "halved.wrong=header"]
    code, out, err = here(*options)
    assert (code, out) == (1, "")
    assert "numbers for 151 Gaussians" in err
    assert (tmp_path / "new.gsb").read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.ply", "new.gsb"]
    assert here(*options, "--no-verify")[0] == 0
    assert (tmp_path / "new.gsb").read_bytes() != b"before"


def test_the_whole_way_with_its_processes(command_line: CommandLine, ply: Path, tmp_path: Path) -> None:
    done = command_line("encode", "halved", ply, "-o", "small.gsb", "--json")
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    assert (output["verified"], output["gaussians"]) == (True, 150)
    assert output["isolation"] in ("namespaces", "audit-hook")
    assert re.search(r"^\d\d:\d\d:\d\d model.ply halved default: encode$", done.stderr, re.MULTILINE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.ply", "small.gsb"]


@pytest.mark.parametrize(
    ("wrong", "message", "printed"),
    [
        ("raise", "encoding failed: RuntimeError: no such luck; the end of what it printed:", "in encode"),
        ("exit", "the process that encodes ended with exit status 3; the end of what it printed:", "encoding halves"),
    ],
)
def test_a_method_that_fails_in_its_process(
    wrong: str, message: str, printed: str, command_line: CommandLine, ply: Path, tmp_path: Path
) -> None:
    done = command_line("encode", "halved", ply, "-o", "new.gsb", "--set", f"halved.wrong={wrong}", "-q")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"gsbench: error: {message}")
    assert printed in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["model.ply"]


def test_what_is_encoded_without_verification_may_not_decode(here: Here, ply: Path, tmp_path: Path) -> None:
    code, out, _ = here(
        "encode", "halved", ply, "-o", "new.gsb", "--no-verify", "--set", "halved.wrong=header", "-q", "--json"
    )
    assert code == 0
    output = json.loads(out)
    assert (output["verified"], output["gaussians"], output["isolation"]) == (False, None, None)


BAD: list[Any] = [
    (["halvde", "model.ply", "-o", "new.gsb"], "unknown method 'halvde'; did you mean 'halved'"),
    (["halved", "none.ply", "-o", "new.gsb"], "none.ply does not exist; expected a .ply of 3D Gaussians, or a folder"),
    (["halved", "empty", "-o", "new.gsb"], "empty has no model; expected point_cloud.ply in it or in"),
    (["halved", "model.ply", "-o", "new.ply"], "-o new.ply: artifacts of method 'halved' end in .gsb"),
    (["halved", "model.ply", "-o", ".gsb"], "artifacts of method 'halved' end in .gsb"),
    (
        ["halved", "model.ply", "-o", "there.gsb"],
        "there.gsb exists already; expected the name of a new file, or --force",
    ),
    (["halved", "model.ply", "-o", "folder.gsb", "--force"], "folder.gsb is a folder"),
    (["halved", "model.ply", "-o", "new.gsb", "--rate", "low"], "has no rate point 'low'"),
    (["points", "model.ply", "-o", "new.ply", "--rate", "smal"], "has no rate point 'smal'; did you mean 'small'"),
    (["halved", "model.ply", "-o", "new.gsb", "--set", "halved.kep=1"], "did you mean 'keep'"),
    (["halved", "model.ply", "-o", "new.gsb", "--set", "keep=1"], "METHOD.field=value"),
    (["halved", "model.ply", "-o", "new.gsb", "--set", "points.every=2"], "'points' is not part of this run"),
    (["halved", "model.ply", "-o", "new.gsb", "--device", "cuda:99"], "cuda:99"),
    (["halved", "model.ply", "-o", "model.ply/new.gsb"], "cannot write model.ply/new.gsb"),
    (["halved", "model.ply"], "'--output' / '-o'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_wrong_usage_is_one_message_and_leaves_nothing(
    arguments: list[str], message: str, here: Here, ply: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.gsb").mkdir()
    (tmp_path / "there.gsb").write_bytes(b"before")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = here("encode", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("gsbench: error: ")
    assert len(err.splitlines()) <= 2
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.gsb").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "truncated"),
        (lambda path: path.write_bytes(b"ply\nformat ascii 1.0\n"), "model.ply"),
        (lambda path: write_ply(path, Splats.empty()), "has no Gaussians"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "trailing"),
    ],
)
def test_damaged_models(damage: Callable[[Path], object], message: str, here: Here, ply: Path, tmp_path: Path) -> None:
    damage(ply)
    code, out, err = here("encode", "halved", ply, "-o", "new.gsb")
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model.ply"]


def test_a_real_model(here: Here, real_data: Path, tmp_path: Path) -> None:
    source = real_data / "model_playbot" / "playbot_lod3_sh2.ply"
    shutil.copy(source, tmp_path / "playbot.ply")
    code, out, err = here("encode", "3dgs", "playbot.ply", "-o", "same.ply", "--json", "-q")
    assert code == 0, err
    assert json.loads(out)["gaussians"] == 31_000
    assert (tmp_path / "same.ply").read_bytes() == source.read_bytes()
