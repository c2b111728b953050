"""Publishing records, and the check of what is published."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gsbench.cli import main
from gsbench.errors import RecordError, UsageError
from gsbench.leaderboard.publish import add_records, check_folder
from gsbench.records import record_json_schema
from gsbench.records.io import to_json

Put = Callable[..., Path]
PLACE = "demo/gs1600/demo/demo/hac"


@pytest.fixture
def runs(tmp_path: Path, put: Put) -> Path:
    put(tmp_path / "runs", "hac", "low")
    put(tmp_path / "runs", "hac", "low", seed=1, artifact=b"y" * 1200)
    return tmp_path / "runs"


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "leaderboards"
    folder.mkdir()
    (folder / "record.schema.json").write_text(to_json(record_json_schema()))
    return folder


def test_records_and_small_artifacts_are_published_once(runs: Path, boards: Path) -> None:
    done = add_records([runs], boards, max_artifact_bytes=1100)
    assert done.added == ["demo/gs1600/demo/demo/hac/low.1.json", "demo/gs1600/demo/demo/hac/low.json"]
    assert done.artifacts == [f"{PLACE}/low.gsb"]
    assert done.left_out == {f"{PLACE}/low.1.gsb": "0.00 MB, more than 0.0011 MB"}
    assert (boards / PLACE / "low.json").read_bytes() == (runs / "gs1600/demo/demo/hac/low.json").read_bytes()
    before = {p: p.read_bytes() for p in boards.rglob("*") if p.is_file()}
    again = add_records([runs], boards, max_artifact_bytes=1100)
    assert (again.added, again.replaced, len(again.unchanged)) == ([], [], 2)
    assert {p: p.read_bytes() for p in boards.rglob("*") if p.is_file()} == before
    found = check_folder(boards)
    assert (found.boards, found.records, found.artifacts, found.problems) == (1, 2, 1, ())
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=boards / "demo", check=True)


def test_a_number_does_not_change_silently(runs: Path, boards: Path, put: Put) -> None:
    add_records([runs], boards)
    before = {p: p.read_bytes() for p in boards.rglob("*") if p.is_file()}
    put(runs, "hac", "low", metrics={"psnr": 28.0, "ssim": 0.8}, artifact=b"z" * 900)
    put(runs, "hac", "new")
    with pytest.raises(RecordError, match=r"bytes 1000 there, 900 here; psnr 27\.0 there, 28\.0 here") as caught:
        add_records([runs], boards)
    assert "--replace --reason" in str(caught.value)
    assert {p: p.read_bytes() for p in boards.rglob("*") if p.is_file()} == before, "nothing is written"
    with pytest.raises(UsageError, match="say why"):
        add_records([runs], boards, replace=True, reason=" ")
    done = add_records([runs], boards, replace=True, reason="a bug in the encoder")
    assert done.replaced == [f"{PLACE}/low.json"]
    assert done.added == [f"{PLACE}/new.json"]
    (line,) = (boards / "demo/replaced.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "a bug in the encoder"
    assert (boards / PLACE / "low.gsb").read_bytes() == b"z" * 900
    assert check_folder(boards).problems == ()


def test_the_artifact_of_a_replaced_record_goes_with_it(runs: Path, boards: Path, put: Put) -> None:
    add_records([runs], boards)
    put(runs, "hac", "low", artifact=b"z" * 5000)
    add_records([runs], boards, replace=True, reason="larger", max_artifact_bytes=2000)
    assert not (boards / PLACE / "low.gsb").exists()
    assert (boards / PLACE / "low.1.gsb").exists(), "that of another seed stays"
    assert check_folder(boards).problems == ()


def test_what_is_refused(runs: Path, boards: Path) -> None:
    (runs / "gs1600/demo/demo/hac/low.gsb").unlink()
    with pytest.raises(RecordError, match="its artifact is missing"):
        add_records([runs], boards)
    assert not (boards / "demo").exists()
    with pytest.raises(UsageError, match="board"):
        add_records([runs], boards, board="../up")


def test_failed_jobs_are_left_out(tmp_path: Path, boards: Path, put: Put) -> None:
    error = {"stage": "train", "message": "boom", "log": None}
    put(tmp_path / "runs", "hac", "low", status="failed", error=error, bytes=None, sha256=None, sections={},
        metrics={}, views=[])  # fmt: skip
    done = add_records([tmp_path / "runs"], boards, board="mine")
    assert done.left_out == {"mine/gs1600/demo/demo/hac/low.json": "its job failed, which is no result"}
    assert check_folder(boards).records == 0


def spoil_record(board: Path) -> None:
    path = board / "gs1600/demo/demo/hac/low.json"
    path.write_text(path.read_text().replace('"cpu": "Some CPU"', '"cpu": "Other CPU"'))


def spoil_key(board: Path) -> None:
    path = board / "gs1600/demo/demo/hac/low.json"
    path.write_text(path.read_text().replace('"status"', '"note": 1, "status"'))


SPOILED: list[tuple[Callable[[Path], object], str]] = [
    (spoil_record, "low.json: changed after it was published"),
    (spoil_key, "low.json: note"),
    (lambda b: (b / "gs1600/demo/demo/hac/low.gsb").write_bytes(b"?"), "its artifact low.gsb is another one"),
    (lambda b: (b / "gs1600/demo/demo/hac/low.gsb").unlink(), "its artifact is missing"),
    (lambda b: (b / "gs1600/demo/demo/hac/low.json").unlink(), "low.json: missing, though listed"),
    (lambda b: (b / "gs1600/demo/demo/hac/notes.txt").touch(), "notes.txt: belongs to no record"),
    (
        lambda b: (b / "gs1600/demo/demo/hac/low.verified.json").write_text("{}"),
        "expected an object with schema 'gsbench.verification/1'",
    ),
    (lambda b: (b / "SHA256SUMS").unlink(), "no SHA256SUMS"),
    (lambda b: (b / "SHA256SUMS").write_text("x"), "SHA256SUMS, line 1"),
    (lambda b: (b / "replaced.jsonl").write_text("{}\n"), "replaced.jsonl, line 1"),
    (lambda b: (b.parent / "record.schema.json").write_text("{}"), "not the schema of this gsbench"),
    (lambda b: (b.parent / "stray.json").touch(), "stray.json: expected a board"),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILED)
def test_the_check_finds(
    spoil: Callable[[Path], object], reason: str, runs: Path, boards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_records([runs], boards)
    assert check_folder(boards).problems == ()
    spoil(boards / "demo")
    assert main(["leaderboard", "check", str(boards)]) == 1
    out = capsys.readouterr().out
    assert reason in out
    assert str(boards) in out.splitlines()[0]


def test_the_verbs(
    runs: Path, boards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["leaderboard", "add", str(runs), "--to", str(boards)]) == 0
    assert "2 records added, 0 replaced, 0 there already; with 2 artifacts" in capsys.readouterr().out
    assert main(["leaderboard", "check", str(boards), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 2
    assert main(["leaderboard", "build", str(boards), "-o", str(tmp_path / "site"), "--tables-only", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [section["entries"] for section in told["sections"]] == [1]
    assert all(Path(path).is_file() for path in told["exports"])
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard", "build", "--tables-only"]) == 0, "runs, if nothing is said"
    assert main(["leaderboard", "add", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
