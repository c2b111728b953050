"""Keys: what changes them and what does not, and golden values that must not drift."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gsbench.bench import keys
from gsbench.bench.keys import CodeIdentity
from gsbench.bench.model import JobSpec
from gsbench.records import ProtocolInfo
from gsbench.scenes import SceneOptions

CODE = CodeIdentity("dist", "1.0", "d" * 64, "c" * 64, "native", "2.0")


def spec(**changes: Any) -> JobSpec:
    values: dict[str, Any] = {
        "method": "dots",
        "distribution": "dist",
        "rate": "high",
        "seed": 0,
        "suffix": ".gsb",
        "dataset": "path",
        "scene": "desk",
        "scene_path": Path("/a/desk"),
        "options": SceneOptions(),
        "protocol": ProtocolInfo(id="gs1600", hash="p" * 16),
        "scene_hash": "s" * 64,
        "config": {"bits": 8, "gain": 1.0, "inner": {"depth": 3, "shade": 0.5}},
        "encode_fields": ["bits", "inner.shade"],
        "iterations": None,
        "device": "cpu",
        "metrics": ["psnr"],
        "out": Path("/a/runs"),
    }
    return JobSpec.model_validate({**values, **changes})


def all_keys(job: JobSpec, code: CodeIdentity = CODE, base: str | None = None) -> dict[str, str]:
    return {
        "train": keys.digest(keys.train_inputs(job, code, base)),
        "encode": keys.digest(keys.encode_inputs(job, code, "model", base)),
        "decode": keys.digest(keys.decode_inputs(job, code, "artifact")),
        "score": keys.digest(keys.score_inputs(job, code, "frames", None, {"psnr": {"available": True}})),
    }


def changed(job: JobSpec, code: CodeIdentity = CODE, base: str | None = None) -> set[str]:
    before, after = all_keys(spec()), all_keys(job, code, base)
    return {stage for stage in before if before[stage] != after[stage]}


EVERYTHING = {"train", "encode", "decode", "score"}


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        # What plays no part: names, paths, threads, the machine's memory, rates as names, what is kept.
        ({"rate": "low"}, set()),
        ({"scene_path": Path("/b/desk")}, set()),
        ({"out": Path("/b/runs")}, set()),
        ({"dataset": "lab", "scene": "other"}, set()),
        ({"threads": 7}, set()),
        ({"memory_bytes": 5}, set()),
        ({"keep_frames": True}, set()),
        ({"decode_timeout": 5.0}, set()),
        ({"after": ["x"], "requires": ["x"], "dependency": True}, set()),
        ({"device": "cpu"}, set()),
        # What does.
        ({"method": "dashes"}, EVERYTHING),
        ({"device": "cuda"}, EVERYTHING),
        ({"seed": 1}, {"train", "encode"}),
        ({"iterations": 7}, {"train", "encode"}),
        ({"scene_hash": "t" * 64}, {"train", "decode", "score"}),
        ({"protocol": ProtocolInfo(id="gs1600", hash="q" * 16)}, {"train", "decode", "score"}),
        ({"options": SceneOptions(init="random:5")}, {"train"}),
        ({"config": {"bits": 8, "gain": 2.0, "inner": {"depth": 3, "shade": 0.5}}}, {"train", "encode"}),
        ({"config": {"bits": 8, "gain": 1.0, "inner": {"depth": 4, "shade": 0.5}}}, {"train", "encode"}),
        # Settings of encoding train nothing anew.
        ({"config": {"bits": 4, "gain": 1.0, "inner": {"depth": 3, "shade": 0.5}}}, {"encode"}),
        ({"config": {"bits": 8, "gain": 1.0, "inner": {"depth": 3, "shade": 0.7}}}, {"encode"}),
    ],
)
def test_what_changes_a_key(changes: dict[str, Any], stages: set[str]) -> None:
    assert changed(spec(**changes)) == stages


def test_which_gpu_plays_no_part() -> None:
    assert all_keys(spec(device="cuda:1")) == all_keys(spec(device="cuda"))


@pytest.mark.parametrize("field", ["distribution", "version", "digest", "core_digest", "native_build", "torch"])
def test_the_code_is_in_every_key(field: str) -> None:
    assert changed(spec(), replace(CODE, **{field: "other"})) == EVERYTHING


def test_contents_of_inputs_are_in_the_keys() -> None:
    assert changed(spec(), base="base") == {"train", "encode"}
    job = spec()
    pairs = [
        (keys.encode_inputs(job, CODE, "a", None), keys.encode_inputs(job, CODE, "b", None)),
        (keys.decode_inputs(job, CODE, "a"), keys.decode_inputs(job, CODE, "b")),
        (keys.score_inputs(job, CODE, "a", None, {}), keys.score_inputs(job, CODE, "b", None, {})),
        (keys.score_inputs(job, CODE, "a", None, {}), keys.score_inputs(job, CODE, "a", "base", {})),
        (keys.score_inputs(job, CODE, "a", None, {"x": 1}), keys.score_inputs(job, CODE, "a", None, {"x": 2})),
    ]
    for one, other in pairs:
        assert keys.digest(one) != keys.digest(other)


def test_canonical_json() -> None:
    assert keys.canonical_json({"b": [1, 2.5, None], "a": {"é": True}}) == b'{"a":{"\\u00e9":true},"b":[1,2.5,null]}'
    assert keys.digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with pytest.raises(ValueError, match="not JSON compliant"):
        keys.canonical_json(float("nan"))


def test_golden_keys() -> None:
    """Changing these throws away every stored result: do it only when a key lacked something."""
    assert json.loads(keys.canonical_json(keys.train_inputs(spec(), CODE, None))) == {
        "stage": "train",
        "method": "dots",
        "distribution": "dist",
        "version": "1.0",
        "digest": "d" * 64,
        "core_digest": "c" * 64,
        "native_build": "native",
        "torch": "2.0",
        "device": "cpu",
        "config": {"gain": 1.0, "inner": {"depth": 3}},
        "iterations": None,
        "seed": 0,
        "scene": "s" * 64,
        "protocol": "p" * 16,
        "init": None,
        "base": None,
    }
    assert {stage: key[:16] for stage, key in all_keys(spec()).items()} == {
        "train": "ab9d6075c6beb353",
        "encode": "20fcf7b2e506a303",
        "decode": "f9f81aa58c054892",
        "score": "31050462e8357956",
    }


def test_the_identity_of_installed_code(zoo: Path, install: Callable[..., Path]) -> None:
    before = keys.code_identity("dots")
    assert (before.distribution, before.version) == ("gsbench-zoo", "1.0")
    (zoo / "zoo_method.py").write_text((zoo / "zoo_method.py").read_text() + "\n# changed\n")
    assert keys.code_identity("dots") == before, "what was imported does not change"
    keys.code_digest.cache_clear()
    keys.code_identity.cache_clear()
    after = keys.code_identity("dots")
    assert after.digest != before.digest
    assert replace(after, digest=before.digest) == before
