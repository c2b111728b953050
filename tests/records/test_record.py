from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gsbench.errors import StoreError, UsageError
from gsbench.records import (
    RECORD_SCHEMA,
    Record,
    read_record,
    record_from_json,
    record_json_schema,
    record_path,
    record_to_json,
    write_record,
)


def minimal(**changes: Any) -> dict[str, Any]:
    value = {
        "schema": "gsbench.record/1",
        "status": "ok",
        "protocol": {"id": "gs1600", "hash": "0123456789abcdef"},
        "method": "3dgs",
        "method_info": {"distribution": "gsbench-3dgs", "version": "0.1.0", "digest": "ab" * 32},
        "dataset": "demo",
        "scene": "demo",
        "rate": "default",
        "seed": 0,
        "config": {"iterations": 30000, "lr": 1.6e-4, "name": "é", "list": [1, [2.5, None]], "on": True},
    }
    return {**value, **changes}


def full(**changes: Any) -> dict[str, Any]:
    value = minimal(
        iterations=2000,
        per_scene_settings=["voxel_size"],
        pretrained=True,
        scene_hash="cd" * 32,
        base={"name": "3dgs", "sha256": "ab" * 32, "own": False},
        bytes=1000,
        sha256="ef" * 32,
        sections={"container": 50, "header": 50, "positions": 900},
        artifact="stages/encode/x/artifact.gsb",
        decoded_sha256="01" * 32,
        gaussians=10,
        anchors=2,
        metrics={"psnr": 27.25, "ssim": 0.8, "lpips_vgg": None},
        views=[{"name": "0.png", "metrics": {"psnr": 27.25, "ssim": 0.8, "lpips_vgg": None}}],
        reasons={"lpips_vgg": "the weights are not installed: gsbench fetch lpips"},
        seconds={"train": 12.5, "encode": 0.25, "decode": 0.125},
        resumed=2,
        render_ms={"median": 4.5, "p95": 6.0},
        peak_host_bytes=2**31,
        peak_gpu_bytes=2**33,
        environment={
            "cpu": "Some CPU",
            "isa": "avx512",
            "threads": 2,
            "gpu": "Some GPU",
            "driver": "550.54",
            "torch": "2.13.0+cpu",
            "python": "3.11.4",
            "gsbench": "0.1.0",
            "native_build": "23" * 8,
            "commit": "45" * 20,
        },
        isolation="namespaces",
    )
    return {**value, **changes}


FAILED = {"status": "failed", "error": {"stage": "train", "message": "boom", "log": "logs/train.log"}}
EXAMPLES = [minimal(), full(), minimal(**FAILED), minimal(status="skipped")]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = record_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("value", EXAMPLES)
def test_round_trip(tmp_path: Path, value: dict[str, Any], validator) -> None:
    record = Record.model_validate(value)
    path = tmp_path / "a" / "b.json"
    write_record(path, record)
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]
    assert read_record(path) == record
    written = json.loads(path.read_bytes())
    validator.validate(written)
    assert {**written, **value} == written  # what was given is there as it was given


def test_text_is_stable() -> None:
    text = record_to_json(Record.model_validate(full()))
    assert text == record_to_json(record_from_json(text))
    assert text.startswith('{\n "schema": "gsbench.record/1",\n "status": "ok",\n "protocol": {\n  "id": "gs1600",\n')
    assert text.endswith("}\n")
    assert "é" in text
    # The order of the model, whatever the order was.
    shuffled = dict(reversed(list(full().items())))
    assert record_to_json(Record.model_validate(shuffled)) == text
    assert list(json.loads(text)) == ["schema", *[name for name in Record.model_fields if name != "schema_"]]


def test_every_field_of_the_design_is_there() -> None:
    assert set(full()) | {"error"} == {f.alias or name for name, f in Record.model_fields.items()}


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**63))
def test_numbers_survive(value: float, count: int) -> None:
    record = Record.model_validate(
        minimal(metrics={"psnr": value}, bytes=count, gaussians=count, config={"a": value, "b": count})
    )
    again = record_from_json(record_to_json(record))
    assert again == record
    assert repr(again.metrics["psnr"]) == repr(value)  # -0.0 too


def test_constructed_in_python() -> None:
    record = Record.model_validate(
        {**{k: v for k, v in minimal().items() if k != "schema"}, "config": {"a": (1, (2,))}}
    )
    assert record.schema_ == RECORD_SCHEMA
    assert record.config == {"a": [1, [2]]}
    assert record_from_json(record_to_json(record)) == record


def test_records_are_frozen() -> None:
    record = Record.model_validate(minimal())
    with pytest.raises(ValidationError, match="frozen"):
        record.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (minimal(extra=1), "extra: Extra inputs are not permitted, got 1"),
        (minimal(schema_="gsbench.record/1"), "schema_: Extra inputs are not permitted"),
        (minimal(protocol={"id": "x", "hash": "y", "z": 1}), "protocol.z: Extra inputs are not permitted"),
        ({k: v for k, v in minimal().items() if k != "scene"}, "scene: Field required"),
        (minimal(status="fine"), "status: Input should be 'ok', 'failed' or 'skipped', got 'fine'"),
        (minimal(seed="0"), "seed: Input should be a valid integer, got '0'"),
        (minimal(seed=-1), "seed: Input should be greater than or equal to 0, got -1"),
        (minimal(seed=0.5), "seed: Input should be a valid integer, got 0.5"),
        (minimal(bytes=-1), "bytes: Input should be greater than or equal to 0, got -1"),
        (minimal(seconds={"train": -1.0}), "seconds.train: Input should be greater than or equal to 0"),
        (minimal(metrics={"psnr": "30"}), "metrics.psnr: Input should be a valid number, got '30'"),
        (minimal(isolation="none"), "isolation: Input should be 'namespaces' or 'audit-hook', got 'none'"),
        (minimal(pretrained=1), "pretrained: Input should be a valid boolean, got 1"),
        (minimal(config=[]), "config: Input should be a valid dictionary"),
        (minimal(status="failed"), "error: missing, expected the reason of status 'failed'"),
        (minimal(error=FAILED["error"]), "error: given, expected null with status 'ok'"),
        (full(bytes=1001), "sections: their sum is 1000, expected bytes = 1001"),
        (full(bytes=None), "sections: their sum is 1000, expected bytes = None"),
        (full(reasons={}), "reasons: nothing says why lpips_vgg is null"),
        (minimal(extra=1, more=2), r"extra: .* got 1 \(and 1 more\)"),
        (minimal(schema="gsbench.record/2"), "schema is 'gsbench.record/2', this gsbench reads 'gsbench.record/1'"),
        ({k: v for k, v in minimal().items() if k != "schema"}, "schema is None, this gsbench reads"),
        ([], "expected an object with schema 'gsbench.record/1', got list"),
    ],
)
def test_what_is_not_a_record(tmp_path: Path, value: Any, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(StoreError, match=r"bad\.json: " + message):
        read_record(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (json.dumps(minimal())[:-20], "not JSON"),
        (json.dumps(minimal(metrics={"psnr": math.nan})), "not JSON: NaN is not a JSON number"),
        (json.dumps(minimal(metrics={"psnr": -math.inf})), "not JSON: -Infinity is not a JSON number"),
        (json.dumps(minimal(seed=12345)).replace("12345", "1e999"), "seed: Input should be a valid integer, got inf"),
        (json.dumps(minimal(metrics={"a": 12345})).replace("12345", "1e999"), "metrics.a: Input should be a finite"),
        (json.dumps(minimal(config={"a": 12345})).replace("12345", "1e999"), r"config.a: inf is not a JSON number"),
        ('{"seed": 1, "seed": 2}', "not JSON: the key 'seed' occurs twice in one object"),
        ("[" * 100000, "not JSON"),
    ],
)
def test_text_that_is_not_a_record(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"bad\.json: .*" + message):
        read_record(tmp_path / "bad.json")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(StoreError, match=r"bad\.json: not JSON"):
        read_record(tmp_path / "bad.json")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_is_refused_in_python_too(value: float) -> None:
    for changes in (
        {"metrics": {"psnr": value}},
        {"views": [{"name": "a", "metrics": {"psnr": value}}]},
        {"seconds": {"train": value}},
        {"render_ms": {"median": value, "p95": 1.0}},
    ):
        with pytest.raises(ValidationError, match="finite number"):
            Record.model_validate(minimal(**changes))
    with pytest.raises(ValidationError, match=r"config\.a\[1\]: -?(nan|inf) is not a JSON number"):
        Record.model_validate(minimal(config={"a": [0, value]}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"a": Path("x")}, "config.a: PosixPath is not a JSON value"),
        ({"a": {1: 2}}, "config.a: the key 1 is not a string"),
        ({"a": {1, 2}}, "config.a: set is not a JSON value"),
    ],
)
def test_config_is_json(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Record.model_validate(minimal(config=config))


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    record = Record.model_validate(minimal())
    with pytest.raises(UsageError, match=r"missing\.json: no such record"):
        read_record(tmp_path / "missing.json")
    with pytest.raises(UsageError, match="no such record"):
        read_record(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write .*a\.json: (Not a directory|File exists)"):
        write_record(tmp_path / "file" / "a.json", record)
    (tmp_path / "taken.json").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*taken\.json: Is a directory"):
        write_record(tmp_path / "taken.json", record)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "taken.json"]


def test_absurdly_large_file(tmp_path: Path) -> None:
    with (tmp_path / "big.json").open("wb") as file:
        os.truncate(file.fileno(), 2**40)
    with pytest.raises(StoreError, match=r"big\.json: 1099511627776 bytes, expected a record of at most"):
        read_record(tmp_path / "big.json")


def test_a_failed_write_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_record(path, Record.model_validate(minimal()))
    before = path.read_bytes()

    def no_space(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(StoreError, match=r"cannot write .*a\.json: No space left on device"):
        write_record(path, Record.model_validate(full()))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_paths() -> None:
    assert str(Record.model_validate(minimal()).path()) == "gs1600/demo/demo/3dgs/default.json"
    assert str(Record.model_validate(minimal(seed=3)).path()) == "gs1600/demo/demo/3dgs/default.3.json"
    assert str(record_path("gs1600+images_2", "mipnerf360", "bonsai", "hac", "low", 0)) == (
        "gs1600+images_2/mipnerf360/bonsai/hac/low.json"
    )


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\\b", "a\0"])
@pytest.mark.parametrize("part", ["dataset", "scene", "method", "rate"])
def test_names_that_lead_elsewhere(part: str, name: str) -> None:
    record = Record.model_validate(minimal(**{part: name}))
    with pytest.raises(ValueError, match=f"{part} .* cannot be part of a record's path"):
        record.path()


def test_schema_refuses_what_the_model_refuses(validator) -> None:
    for wrong in (
        {},
        minimal(extra=1),
        minimal(schema="gsbench.record/2"),
        {k: v for k, v in minimal().items() if k != "schema"},
        minimal(seed=-1),
        minimal(status="fine"),
        minimal(protocol={"id": "x"}),
    ):
        assert not validator.is_valid(wrong)


def test_published_schema_is_current(repository: Path, tmp_path: Path) -> None:
    published = repository / "leaderboards" / "record.schema.json"
    arguments = [sys.executable, "-m", "gsbench.records"]
    subprocess.run([*arguments, str(tmp_path / "new.json")], check=True, timeout=60)
    assert published.read_bytes() == (tmp_path / "new.json").read_bytes(), (
        "the model of a record has changed: run `python -m gsbench.records leaderboards/record.schema.json`"
    )
    wrong = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert wrong.returncode == 2
    assert "usage: python -m gsbench.records leaderboards/record.schema.json" in wrong.stderr
