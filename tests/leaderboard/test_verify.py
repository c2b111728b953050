"""Verification of real records: of a short training of 3dgs and hac on the demo scene, decoded in sealed processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsbench.cli import main
from gsbench.errors import RecordError
from gsbench.leaderboard.build import build_board
from gsbench.leaderboard.load import load_records
from gsbench.leaderboard.publish import add_records, check_folder
from gsbench.leaderboard.verify import VerifyOptions, verify_record, write_verification

pytest.importorskip("gsbench_3dgs", reason="the plugin gsbench-3dgs is not installed")


def run(out: Path) -> Path:
    words = ["run", "--methods", "3dgs", "--scenes", "demo", "--iterations", "10", "--metrics", "psnr,ssim"]
    command = [sys.executable, "-m", "gsbench", *words, "--max-width", "160", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run. Not to be changed."""
    return run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def record(trained: Path, tmp_path: Path) -> Path:
    """A copy of its record, with the artifact beside it."""
    shutil.copytree(trained, tmp_path / "runs", ignore=shutil.ignore_patterns("stages", "jobs", ".lock"))
    (path,) = (tmp_path / "runs").rglob("default.json")
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def outcomes(path: Path) -> dict[str, str]:
    return {check.what: check.outcome for check in verify_record(path).checks}


def test_a_real_record_follows_from_its_artifact(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(record.parents[4]), "--write"]) == 0
    out = capsys.readouterr().out
    assert "psnr" in out
    assert out.rstrip().endswith("1 of 1 verified")
    (item,) = load_records([record.parents[4]])
    assert item.trust == "decoded"
    assert item.verification is not None
    assert set(item.verification.differences) == {"psnr", "ssim"}
    board = build_board([record])
    assert board.sections[0].entries[0].trust == "decoded"

    add_records([record], tmp_path / "lb", max_artifact_bytes=10**8)
    (published,) = load_records([tmp_path / "lb"])
    assert published.trust == "decoded", "the note comes along"
    assert check_folder(tmp_path / "lb/demo").problems == ()


def test_changed_numbers_do_not_follow(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def better(value: dict[str, Any]) -> None:
        value["metrics"]["psnr"] += 1.0
        value["gaussians"] += 1
        for view in value["views"]:
            view["metrics"]["psnr"] += 1.0

    edit(record, better)
    load_records([record])  # it is consistent in itself
    assert main(["verify", str(record), "--json"]) == 4
    told = json.loads(capsys.readouterr().out)["records"][0]
    wrong = {check["what"] for check in told["checks"] if check["outcome"] == "mismatch"}
    assert {"psnr", "gaussians"} <= wrong
    assert {check["what"]: check["outcome"] for check in told["checks"]}["ssim"] == "ok"
    (psnr,) = [check for check in told["checks"] if check["what"] == "psnr"]
    assert psnr["difference"] == pytest.approx(-1.0)
    assert main(["verify", str(record), "--write"]) == 4
    assert not record.with_name("default.verified.json").exists()


def test_a_mean_that_is_not_that_of_its_views(record: Path) -> None:
    edit(record, lambda value: value["metrics"].update(psnr=value["metrics"]["psnr"] + 0.005))
    result = verify_record(record)
    assert not result.ok
    assert next(check for check in result.checks if check.what == "record").outcome == "mismatch"


def test_another_artifact_is_not_even_decoded(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = record.with_suffix(".ply")
    artifact.write_bytes(artifact.read_bytes()[:-4] + b"\0\0\0\0")
    result = verify_record(record)
    assert result.environment is None
    assert {check.what: check.outcome for check in result.checks} == {"bytes": "ok", "sha256": "mismatch"}
    with pytest.raises(RecordError, match="not verified"):
        write_verification(result)
    assert main(["verify", str(record)]) == 4
    assert "was not decoded" in capsys.readouterr().out


def test_a_missing_artifact_is_told(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record.with_suffix(".ply").unlink()
    assert main(["verify", str(record)]) == 1
    captured = capsys.readouterr()
    assert f"{record}: its artifact is missing: {record.with_suffix('.ply')}" in captured.err
    assert "0 of 1 verified" in captured.out
    assert main(["verify", str(record), "--with-artifact"]) == 0


def test_another_scene(record: Path) -> None:
    edit(record, lambda value: value.update(scene_hash="00" * 32))
    found = outcomes(record)
    assert found["scene hash"] == "mismatch"
    assert found["psnr"] == "ok"


def test_a_metric_that_is_not_available_is_not_checked(record: Path) -> None:
    def with_lpips(value: dict[str, Any]) -> None:
        value["metrics"]["lpips_vgg"] = 0.5
        for view in value["views"]:
            view["metrics"]["lpips_vgg"] = 0.5

    edit(record, with_lpips)
    result = verify_record(record)
    assert result.ok
    (check,) = [check for check in result.checks if check.what == "lpips_vgg"]
    assert (check.outcome, check.found) == ("not checked", None)
    assert "fetch lpips" in check.note


@pytest.mark.slow
def test_a_repeated_training(record: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(record), "--rerun", str(trained)]) == 2, "the same record is no repetition"
    assert "is the same record" in capsys.readouterr().err
    again = run(tmp_path / "again")
    result = verify_record(record, VerifyOptions(rerun=again))
    assert result.ok, [check for check in result.checks if check.outcome != "ok"]
    assert result.note().status == "reproduced"
    write_verification(result)
    assert load_records([record])[0].trust == "reproduced"


def test_wrong_tolerances(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(record), "--tolerance", "psnr"]) == 2
    assert "expected METRIC=X" in capsys.readouterr().err


def test_a_note_about_another_record_is_refused(record: Path) -> None:
    write_verification(verify_record(record))
    edit(record, lambda value: value["environment"].update(cpu="Other CPU"))
    with pytest.raises(RecordError, match="about another record"):
        load_records([record])
