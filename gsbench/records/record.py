"""The pydantic model of a record; its JSON Schema is published as ``leaderboards/record.schema.json``."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

RECORD_SCHEMA: Final = "gsbench.record/1"

Status = Literal["ok", "failed", "skipped"]
Isolation = Literal["namespaces", "audit-hook"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProtocolInfo(_Model):
    """The evaluation protocol and the hash of its definition."""

    id: str
    hash: str


class MethodInfo(_Model):
    """Where the method's code came from."""

    distribution: str
    version: str
    #: SHA-256 over the distribution's Python files.
    digest: str


class Seconds(_Model):
    """Wall-clock seconds of each stage, null where it did not run."""

    train: float | None = None
    encode: float | None = None
    decode: float | None = None


class RenderTimes(_Model):
    """Milliseconds per held-out view, everything included that turns a decoded artifact into pixels."""

    median: float
    p95: float


class ViewMetrics(_Model):
    """Metrics of one held-out view."""

    name: str
    metrics: dict[str, float | None]


class Environment(_Model):
    """The machine and the versions of what computed the result."""

    cpu: str
    isa: str
    threads: int
    gpu: str | None = None
    driver: str | None = None
    torch: str
    python: str
    gsbench: str
    native_build: str


class ErrorInfo(_Model):
    """Why a job failed."""

    stage: str
    message: str
    #: Path of the stage's log, relative to the results folder.
    log: str | None = None


class Record(_Model):
    """One method at one rate point on one scene with one seed."""

    schema_: str = Field(default=RECORD_SCHEMA, alias="schema")
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    status: Status
    protocol: ProtocolInfo
    method: str
    method_info: MethodInfo
    dataset: str
    scene: str
    rate: str
    seed: int
    #: The resolved configuration of the method, defaults included.
    config: dict[str, Any]
    iterations: int | None = None
    #: Names of settings that were chosen for this scene rather than for the data set.
    per_scene_settings: list[str] = Field(default_factory=list)
    #: True if weights that ship with the plugin and serve all scenes took part in decoding.
    pretrained: bool = False
    #: SHA-256 over the scene's input files (images, cameras, points).
    scene_hash: str | None = None
    #: Size of the artifact on disk: the rate.
    bytes: int | None = None
    sha256: str | None = None
    #: Bytes per section of the artifact; their sum is `bytes`.
    sections: dict[str, int] = Field(default_factory=dict)
    #: Path of the artifact, relative to the results folder.
    artifact: str | None = None
    #: SHA-256 over the decoded tensors.
    decoded_sha256: str | None = None
    #: Gaussians drawn (for anchor methods: live offsets).
    gaussians: int | None = None
    anchors: int | None = None
    #: Means over the held-out views.
    metrics: dict[str, float | None] = Field(default_factory=dict)
    views: list[ViewMetrics] = Field(default_factory=list)
    #: Why a metric is null.
    reasons: dict[str, str] = Field(default_factory=dict)
    seconds: Seconds = Field(default_factory=Seconds)
    render_ms: RenderTimes | None = None
    peak_host_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    environment: Environment | None = None
    isolation: Isolation | None = None
    error: ErrorInfo | None = None

    def path(self) -> PurePosixPath:
        """Where the record lives below a results or leaderboards folder."""
        return record_path(self.protocol.id, self.dataset, self.scene, self.method, self.rate, self.seed)


def record_path(protocol: str, dataset: str, scene: str, method: str, rate: str, seed: int) -> PurePosixPath:
    """``<protocol>/<dataset>/<scene>/<method>/<rate>[.seed].json``; seed 0 is not spelled out."""
    suffix = f".{seed}" if seed else ""
    return PurePosixPath(protocol, dataset, scene, method, f"{rate}{suffix}.json")


def record_json_schema() -> dict[str, Any]:
    """The JSON Schema of a record file."""
    return Record.model_json_schema(by_alias=True)
