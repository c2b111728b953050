"""Keys of stages: what a stage's result depends on, and nothing else.

A key is the SHA-256 of canonical JSON: the stage, the method, the code (the method's distribution, gsbench's own
sources and native build, torch), the stage's part of the config, the seed, the type of device, and digests of the
*contents* of its inputs; the scene and the protocol where they are used. Paths, the number of threads and the machine
play no part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from gsbench.bench.settings import without_fields
from gsbench.hooks import distribution_digest, method_origin
from gsbench.native._library import DISTRIBUTION as CORE

if TYPE_CHECKING:
    from gsbench.bench.model import JobSpec


def canonical_json(value: Any) -> bytes:
    """`value` as the one JSON text that equal values share: sorted keys, no spaces, ASCII.

    Raises:
        ValueError: for NaN and infinities.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()


def digest(value: Any) -> str:
    """SHA-256 (64 hex digits) of `value` as canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


@dataclass(frozen=True)
class CodeIdentity:
    """The code that computes a method's results.

    Fields:
        distribution, version, digest: of the distribution that supplies the method; the digest is over its .py files.
        core_digest, native_build: gsbench's own sources, and what its native library was built from.
        torch: its version.
    """

    distribution: str
    version: str
    digest: str
    core_digest: str
    native_build: str
    torch: str


@cache
def code_digest(distribution: str) -> str:
    """SHA-256 over the .py files of a distribution. Read once per process: what was imported does not change."""
    return distribution_digest(distribution)


@cache
def code_identity(method: str) -> CodeIdentity:
    """The code behind `method`, as installed here; read once per process.

    Raises:
        UsageError: if no plugin supplies the method.
        PluginError: if its files cannot be found.
    """
    import torch

    from gsbench import native

    distribution, version = method_origin(method)
    return CodeIdentity(
        distribution=distribution,
        version=version,
        digest=code_digest(distribution),
        core_digest=code_digest(CORE),
        native_build=native.build_id(),
        torch=torch.__version__,
    )


def _common(stage: str, spec: JobSpec, code: CodeIdentity) -> dict[str, Any]:
    return {
        "stage": stage,
        "method": spec.method,
        **asdict(code),
        "device": spec.device.partition(":")[0],
    }


def train_inputs(spec: JobSpec, code: CodeIdentity, base_sha256: str | None) -> dict[str, Any]:
    """What training depends on.

    Args:
        spec: the job.
        code: see `code_identity`.
        base_sha256: SHA-256 of the base's artifact, for methods that have a base.
    """
    return {
        **_common("train", spec, code),
        "config": without_fields(spec.config, spec.encode_fields),
        "iterations": spec.iterations,
        "seed": spec.seed,
        "scene": spec.scene_hash,
        "protocol": spec.protocol.hash,
        "init": spec.options.init,
        "base": base_sha256,
    }


def encode_inputs(spec: JobSpec, code: CodeIdentity, model_digest: str, base_sha256: str | None) -> dict[str, Any]:
    """What encoding depends on; `model_digest` is over the files of the trained model."""
    return {
        **_common("encode", spec, code),
        "config": spec.config,
        "iterations": spec.iterations,
        "seed": spec.seed,
        "model": model_digest,
        "base": base_sha256,
    }


def base_inputs(spec: JobSpec, code: CodeIdentity, model_sha256: str) -> dict[str, Any]:
    """What the renders of a user's own model depend on; the method plays no part.

    Args:
        spec: the job.
        code: see `code_identity`.
        model_sha256: of the model's file.
    """
    return {
        "stage": "base",
        "core_digest": code.core_digest,
        "native_build": code.native_build,
        "torch": code.torch,
        "device": spec.device.partition(":")[0],
        "model": model_sha256,
        "scene": spec.scene_hash,
        "protocol": spec.protocol.hash,
    }


def decode_inputs(spec: JobSpec, code: CodeIdentity, artifact_sha256: str) -> dict[str, Any]:
    """What decoding and rendering depend on. The scene and the protocol stand for the cameras and the background."""
    return {
        **_common("decode", spec, code),
        "artifact": artifact_sha256,
        "scene": spec.scene_hash,
        "protocol": spec.protocol.hash,
    }


def score_inputs(
    spec: JobSpec, code: CodeIdentity, frames_digest: str, base_frames_digest: str | None, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """What scores depend on.

    Args:
        spec: the job.
        code: see `code_identity`.
        frames_digest: over the rendered frames.
        base_frames_digest: over the base's, for methods that have a base.
        metrics: name -> what the metric's values depend on besides the images: the code that computes it, and whether
            it can be computed here.
    """
    return {
        **_common("score", spec, code),
        "frames": frames_digest,
        "base_frames": base_frames_digest,
        "metrics": dict(metrics),
        "scene": spec.scene_hash,
        "protocol": spec.protocol.hash,
    }
