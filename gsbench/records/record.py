"""The pydantic model of a record; its JSON Schema is published as ``leaderboards/record.schema.json``."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

SchemaId = Literal["gsbench.record/1"]
RECORD_SCHEMA: Final[SchemaId] = get_args(SchemaId)[0]

Status = Literal["ok", "failed", "skipped"]
Isolation = Literal["namespaces", "audit-hook"]

#: A number of things, or of bytes.
Count = Annotated[int, Field(ge=0)]
#: A duration.
Duration = Annotated[float, Field(ge=0)]


def _json_values(value: Any, where: str = "config") -> Any:
    """`value` as JSON will give it back (tuples become lists).

    Raises:
        ValueError: if it cannot be JSON; the message names the place.
    """
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where}: the key {key!r} is not a string")
        return {key: _json_values(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_values(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {value} is not a JSON number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{where}: {type(value).__name__} is not a JSON value")


class _Model(BaseModel):
    # NaN and infinity have no JSON; what could not be computed is null, with a reason.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class ProtocolInfo(_Model):
    """The evaluation protocol and the hash of its definition."""

    id: str
    hash: str


class MethodInfo(_Model):
    """Where the method's code came from."""

    distribution: str
    version: str
    digest: str
    """SHA-256 over the distribution's Python files."""


class BaseInfo(_Model):
    """The uncompressed model that a method started from."""

    name: str
    """The method that trained it, or what the user's own file or folder is called; never a path."""
    sha256: str
    """SHA-256 of its file."""
    own: bool
    """True if the user brought it along, false if it was trained as part of the benchmark."""


class Seconds(_Model):
    """Wall-clock seconds of each stage, null where it did not run."""

    train: Duration | None = None
    encode: Duration | None = None
    decode: Duration | None = None


class RenderTimes(_Model):
    """Milliseconds per held-out view, everything included that turns a decoded artifact into pixels."""

    median: Duration
    p95: Duration


class ViewMetrics(_Model):
    """Metrics of one held-out view."""

    name: str
    metrics: dict[str, float | None]


class Environment(_Model):
    """The machine and the versions of what computed the result."""

    cpu: str
    isa: str
    """Instruction set that the native library used: baseline, avx2 or avx512."""
    threads: int
    gpu: str | None = None
    driver: str | None = None
    torch: str
    python: str
    gsbench: str
    native_build: str
    """Hash of the native library's sources and compiler."""
    commit: str | None = None
    """Git commit of gsbench's sources, with "-dirty" where files differed from it; null where it is not known."""


class ErrorInfo(_Model):
    """Why a job failed."""

    stage: str
    message: str
    log: str | None = None
    """Path of the stage's log, relative to the results folder."""


class Record(_Model):
    """One method at one rate point on one scene with one seed."""

    schema_: SchemaId = Field(default=RECORD_SCHEMA, alias="schema")
    """Name and version of this schema."""
    model_config = ConfigDict(populate_by_name=True)

    status: Status
    """ok: every stage ran; failed: `error` says why; skipped: not run, and `error` may say why."""
    protocol: ProtocolInfo
    method: str
    method_info: MethodInfo
    dataset: str
    scene: str
    rate: str
    """Name of the rate point."""
    seed: Count
    config: Annotated[dict[str, Any], BeforeValidator(_json_values)]
    """The resolved configuration of the method, defaults included."""
    iterations: Count | None = None
    """Training steps."""
    per_scene_settings: list[str] = Field(default_factory=list)
    """Names of settings that were chosen for this scene rather than for the data set."""
    pretrained: bool = False
    """True if weights that ship with the plugin and serve all scenes took part in decoding."""
    scene_hash: str | None = None
    """SHA-256 over the scene's input files (images, cameras, points)."""
    base: BaseInfo | None = None
    """The model that the method started from, for methods that have a base."""
    bytes: Count | None = None
    """Size of the artifact on disk: the rate."""
    sha256: str | None = None
    """SHA-256 of the artifact."""
    sections: dict[str, Count] = Field(default_factory=dict)
    """Bytes per section of the artifact; their sum is `bytes`."""
    artifact: str | None = None
    """Path of the artifact, relative to the results folder."""
    decoded_sha256: str | None = None
    """SHA-256 over the decoded tensors."""
    gaussians: Count | None = None
    """Gaussians drawn (for anchor methods: live offsets)."""
    anchors: Count | None = None
    """Anchors, for anchor methods."""
    metrics: dict[str, float | None] = Field(default_factory=dict)
    """Means over the held-out views."""
    views: list[ViewMetrics] = Field(default_factory=list)
    """Metrics of every held-out view."""
    reasons: dict[str, str] = Field(default_factory=dict)
    """Why a metric is null."""
    seconds: Seconds = Field(default_factory=Seconds)
    resumed: Count = 0
    """How many times training, interrupted, went on from a checkpoint; its seconds are those of all parts together."""
    render_ms: RenderTimes | None = None
    peak_host_bytes: Count | None = None
    """Most main memory that a stage held."""
    peak_gpu_bytes: Count | None = None
    """Most GPU memory that a stage held."""
    environment: Environment | None = None
    isolation: Isolation | None = None
    """What kept the decoder from everything but the artifact."""
    error: ErrorInfo | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if self.status == "failed" and self.error is None:
            raise ValueError("error: missing, expected the reason of status 'failed'")
        if self.status == "ok" and self.error is not None:
            raise ValueError("error: given, expected null with status 'ok'")
        total = sum(self.sections.values())
        if self.sections and total != self.bytes:
            raise ValueError(f"sections: their sum is {total}, expected bytes = {self.bytes}")
        unexplained = [name for name, value in self.metrics.items() if value is None and name not in self.reasons]
        if unexplained:
            raise ValueError(f"reasons: nothing says why {', '.join(unexplained)} is null")
        return self

    def path(self) -> PurePosixPath:
        """Where the record lives below a results or leaderboards folder.

        Raises:
            ValueError: as `record_path`.
        """
        return record_path(self.protocol.id, self.dataset, self.scene, self.method, self.rate, self.seed)


def record_path(protocol: str, dataset: str, scene: str, method: str, rate: str, seed: int) -> PurePosixPath:
    """``<protocol>/<dataset>/<scene>/<method>/<rate>[.seed].json``; seed 0 is not spelled out.

    Raises:
        ValueError: if a name cannot be one part of a path.
    """
    names = {"protocol": protocol, "dataset": dataset, "scene": scene, "method": method, "rate": rate}
    for what, name in names.items():
        if name in ("", ".", "..") or any(c in name for c in "/\\\0"):
            raise ValueError(f"{what} {name!r} cannot be part of a record's path")
    suffix = f".{seed}" if seed else ""
    return PurePosixPath(protocol, dataset, scene, method, f"{rate}{suffix}.json")


def record_json_schema() -> dict[str, Any]:
    """The JSON Schema of a record file. What a schema cannot say (sections add up to bytes, a null metric has its
    reason) `Record` checks besides.
    """
    schema = Record.model_json_schema(by_alias=True)
    schema["required"] = ["schema", *schema["required"]]  # a default in Python, but a file must name it
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
