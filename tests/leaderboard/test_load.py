"""Records that cannot be published are refused, each with its path and the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsbench.errors import RecordError, UsageError
from gsbench.leaderboard.load import find_records, load_records
from gsbench.leaderboard.publish import add_records

Put = Callable[..., Path]


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def refusal(*paths: Path) -> str:
    with pytest.raises(RecordError) as caught:
        load_records(paths)
    return str(caught.value)


def test_a_good_record_comes_with_its_artifact_and_its_place(tmp_path: Path, put: Put) -> None:
    path = put(tmp_path, "hac", "0.004", seed=1)
    for given in (tmp_path, path, path.parent):
        (item,) = load_records([given])
        assert item.name == "gs1600/demo/demo/hac/0.004.1.json"
        assert item.root == tmp_path
        assert item.artifact == path.with_name("0.004.1.gsb")
        assert item.trust == "claimed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v.update(colour="red"), "colour"),
        (lambda v: v["environment"].update(host="mine"), "environment.host"),
        (lambda v: v.pop("sha256"), "sha256 is null"),
        (lambda v: v.update(bytes="1000"), "bytes"),
        (lambda v: v.update(schema="gsbench.record/9"), "gsbench.record/9"),
        (lambda v: v["sections"].update(header=101), "their sum is 1001"),
        (lambda v: v["metrics"].update(psnr=27.5), "metrics.psnr is 27.5, the mean of its 2 views is 27.0"),
        (lambda v: v["views"][0]["metrics"].update(ssim=0.9), "metrics.ssim is 0.8"),
        (lambda v: v["views"][0]["metrics"].pop("ssim"), "metrics.ssim"),
        (lambda v: v.update(views=[]), "views is empty"),
        (lambda v: v.update(seed=3), "belongs at gs1600/demo/demo/hac/low.3.json"),
        (lambda v: v.update(method="hac++"), "belongs at"),
        (lambda v: v.update(method="../x"), "cannot be part"),
        (lambda v: v.update(artifact="/etc/passwd"), "expected a file beside the record"),
        (lambda v: v.update(artifact="gs1600/demo/demo/hac/low"), "expected a file beside the record"),
        (lambda v: v.update(artifact="gs1600/demo/demo/other/low.gsb"), "expected a file beside the record"),
        (lambda v: v.update(sha256="00" * 32), "is another one"),
        (lambda v: (v.update(bytes=999), v.update(sections={})), "the record says 999 bytes"),
    ],
)
def test_what_is_wrong_is_told(change: Callable[[Any], object], reason: str, tmp_path: Path, put: Put) -> None:
    path = put(tmp_path, "hac", "low")
    edit(path, change)
    told = refusal(tmp_path)
    assert told.startswith(str(path))
    assert reason in told


def test_an_artifact_that_is_missing_or_another(tmp_path: Path, put: Put) -> None:
    path = put(tmp_path, "hac", "low")
    artifact = path.with_suffix(".gsb")
    artifact.write_bytes(b"y" * 1000)
    assert "its artifact low.gsb is another one" in refusal(path)
    artifact.unlink()
    assert f"{path}: its artifact is missing: {artifact}" in refusal(path)


def test_all_problems_are_told_at_once(tmp_path: Path, put: Put) -> None:
    paths = [put(tmp_path, "hac", f"r{index}") for index in range(25)]
    put(tmp_path, "hac", "good")
    for path in paths:
        path.write_text("{")
    told = refusal(tmp_path)
    assert told.startswith("25 records are refused:")
    assert "and 5 more" in told
    assert "good" not in told


def test_what_is_no_record_of_a_results_folder_is_left_alone(tmp_path: Path, put: Put) -> None:
    path = put(tmp_path, "hac", "low")
    for name in ("stages/train/x/key.json", "jobs/a.json", "record.schema.json", "reported/x.json", ".hidden.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert find_records([tmp_path, path, tmp_path]) == [path]


def test_paths_without_records(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no records in"):
        find_records([tmp_path])
    with pytest.raises(UsageError, match="does not exist"):
        find_records([tmp_path / "none"])
    (tmp_path / "x.txt").touch()
    with pytest.raises(UsageError, match=r"is not a \.json file"):
        find_records([tmp_path / "x.txt"])


def test_two_records_of_one_name_are_refused_unless_they_are_the_same(tmp_path: Path, put: Put) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    put(a, "hac", "low")
    put(b, "hac", "low")
    assert len(load_records([a, b])) == 1
    put(b, "hac", "low", metrics={"psnr": 28.0})
    assert "another record of the same name" in refusal(a, b)


def test_a_published_record_that_was_edited_is_refused_however_consistent(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "runs", "hac", "low")
    add_records([tmp_path / "runs"], tmp_path / "lb")
    path = tmp_path / "lb/demo/gs1600/demo/demo/hac/low.json"
    assert load_records([tmp_path / "lb"])[0].path == path

    def better(value: dict[str, Any]) -> None:
        value["metrics"]["psnr"] += 1.0
        for view in value["views"]:
            view["metrics"]["psnr"] += 1.0

    edit(path, better)
    assert "changed after it was published" in refusal(path)


def test_published_artifacts_are_checked_and_those_that_are_not_published_are_not_missed(
    tmp_path: Path, put: Put
) -> None:
    put(tmp_path / "runs", "hac", "low")
    put(tmp_path / "runs", "hac", "high", artifact=b"z" * 5000)
    add_records([tmp_path / "runs"], tmp_path / "lb", max_artifact_bytes=2000)
    items = {item.record.rate: item for item in load_records([tmp_path / "lb"])}
    assert items["low"].artifact is not None
    assert items["high"].artifact is None
    (tmp_path / "lb/demo/gs1600/demo/demo/hac/low.gsb").unlink()
    assert "low.json: its artifact is missing" in refusal(tmp_path / "lb")


def test_a_failed_job_needs_no_artifact(tmp_path: Path, put: Put) -> None:
    error = {"stage": "train", "message": "boom", "log": None}
    put(tmp_path, "hac", "low", status="failed", error=error, artifact=b"", metrics={}, views=[], bytes=None,
        sha256=None, sections={})  # fmt: skip
    (item,) = load_records([tmp_path])
    assert (item.record.status, item.artifact) == ("failed", None)
