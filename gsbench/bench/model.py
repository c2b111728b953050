"""What passes between the command line, the planner, the engines and the jobs. All of it is plain JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from gsbench.records import ProtocolInfo, Record
from gsbench.records.record import record_path
from gsbench.scenes import SceneOptions, SceneRef

#: Number of the protocol between whoever starts a job and the process that runs it, and between a job and its sealed
#: child, which may live in another environment. It changes whenever either side would misread the other.
JOB_PROTOCOL: Final = 2

#: The stages of a job, in order.
StageName = Literal["train", "encode", "decode", "render", "score"]

#: ``--device``: "cuda:1" picks one device, "auto" takes a GPU where a rasterizer for it exists.
DEVICE_PATTERN: Final = r"^(auto|cpu|cuda(:[0-9]{1,3})?)$"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False)


class RunRequest(_Model):
    """What a user asks for: the options of ``gsbench run``.

    Fields:
        methods, scenes, rates, seeds: the matrix. `scenes` as `gsbench.scenes.resolve_scenes` reads them; `rates` are
            names of rate points, "default" or "all".
        out: the results folder.
        settings: ``METHOD.field=value``.
        iterations: training steps, None for the data set's own number or else each method's.
        device: "auto", "cpu", "cuda" or "cuda:N".
        jobs: how many jobs at once, None for what cores and memory allow.
        threads: CPU threads of a job, None to divide the cores among the jobs.
        engine: name of the engine that places the jobs.
        protocol: id of an evaluation protocol, None for each data set's own.
        images, downscale, max_width, background, init: as in `gsbench.scenes.SceneOptions`.
        metrics: names of metrics, None for the default ones.
        keep_frames: keep the rendered float32 frames after scoring (the 8-bit images are always kept).
        decode_timeout: seconds after which a sealed decode is stopped, None for no limit.
        base: a model of the user's own, or a folder of them, for methods that have a base (`gsbench.bench.own_models`).
        checkpoint_every: training steps between checkpoints, 0 for none, None for one now and then.
        timeout: seconds after which a job is stopped, None for no limit.
        memory_limit: bytes of memory that a job may hold before it is stopped, None for no limit; what counts is told
            by `gsbench.bench.limits.memory_of_job`.
        envs: method -> the virtual environment (or interpreter) that its jobs run in (`gsbench.bench.elsewhere`).
    """

    methods: list[str]
    scenes: list[str]
    rates: list[str] = ["default"]
    seeds: list[int] = [0]
    out: Path = Path("runs")
    settings: list[str] = []
    iterations: int | None = Field(default=None, ge=1)
    device: str = Field(default="auto", pattern=DEVICE_PATTERN)
    jobs: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    engine: str = "local"
    protocol: str | None = None
    images: str | None = None
    downscale: float | None = None
    max_width: int | None = None
    background: tuple[float, float, float] | None = None
    init: str | None = None
    metrics: list[str] | None = None
    keep_frames: bool = False
    decode_timeout: float | None = Field(default=None, gt=0)
    base: Path | None = None
    checkpoint_every: int | None = Field(default=None, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    memory_limit: int | None = Field(default=None, ge=1)
    envs: dict[str, Path] = {}


class OwnModel(_Model):
    """A model that a user brought along: an Inria .ply.

    Fields:
        name: what records call it: the last part of what the user typed.
        path: the file, absolute.
        bytes, sha256: of the file when the run was planned.
    """

    name: str
    path: Path
    bytes: int
    sha256: str


class Interpreter(_Model):
    """A Python that jobs run under.

    Fields:
        python: the executable, absolute; links are not followed, because they decide what it imports.
        prefix: its ``sys.prefix``, by which processes recognize their own.
        import_path: its ``sys.path``, None for the one that it starts with.
    """

    python: Path
    prefix: str
    import_path: list[str] | None = None

    @property
    def here(self) -> bool:
        """Whether this process runs under it."""
        return self.prefix == sys.prefix


class JobSpec(_Model):
    """One job: a method at a rate point on a scene with a seed. Complete for running in another process, or on
    another machine that sees the same results folder and scenes.

    Fields:
        job_protocol: see `JOB_PROTOCOL`.
        method, distribution: the method and the distribution that supplies it.
        rate, seed, suffix, pretrained: of the rate point and the method's artifact.
        dataset, scene, scene_path, options: what `gsbench.scenes.load_scene` needs.
        protocol, scene_hash: what loading the scene must give; a job refuses a scene that changed after planning.
        config: the method's resolved Config as JSON; `encode_fields` are the names (dotted where nested) of the
            fields that do not take part in training.
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads; filled in by the engine.
        metrics: names, in order.
        keep_frames, decode_timeout, checkpoint_every, timeout, memory_limit: see `RunRequest`. The last two are for the
            engine to enforce.
        out: the results folder, absolute.
        base: the job whose decoded artifact the method starts from.
        own_base: the user's own model that it starts from instead.
        after: ids of jobs that must end first (they share a training with this one); `requires` are those among
            them that must have succeeded.
        dependency: True if nobody asked for this job itself: it is the base of another.
        until: the last stage that is wanted. Only a job up to "score" has a record in the results folder.
        interpreter: what the job runs under (``--env``); None for the one of whoever starts it.
        memory_bytes: rough estimate of what the job needs, by which an engine decides how many fit.
    """

    job_protocol: int = JOB_PROTOCOL
    method: str
    distribution: str
    rate: str
    seed: int
    suffix: str
    pretrained: bool = False
    dataset: str
    scene: str
    scene_path: Path | None
    options: SceneOptions
    protocol: ProtocolInfo
    scene_hash: str
    config: dict[str, Any]
    encode_fields: list[str]
    iterations: int | None
    device: str
    threads: int | None = None
    metrics: list[str]
    keep_frames: bool = False
    decode_timeout: float | None = None
    checkpoint_every: int | None = None
    timeout: float | None = None
    memory_limit: int | None = None
    out: Path
    base: JobSpec | None = None
    own_base: OwnModel | None = None
    after: list[str] = []
    requires: list[str] = []
    dependency: bool = False
    until: Literal["train", "score"] = "score"
    interpreter: Interpreter | None = None
    memory_bytes: int = 0

    @property
    def here(self) -> bool:
        """Whether the job belongs to the interpreter of this process."""
        return self.interpreter is None or self.interpreter.here

    @property
    def id(self) -> str:
        """Names the job within its results folder: the path of its record, without ``.json``."""
        path = record_path(self.protocol.id, self.dataset, self.scene, self.method, self.rate, self.seed)
        return str(path).removesuffix(".json")

    @property
    def scene_ref(self) -> SceneRef:
        """The scene as `gsbench.scenes.load_scene` takes it."""
        return SceneRef(self.dataset, self.scene, self.scene_path)


class EncodeSpec(_Model):
    """Encoding a model without a scene: what ``gsbench encode`` asks of a process of its own.

    Fields:
        method, version, suffix: the method, its distribution's version, and how its artifacts end.
        config: the method's resolved Config as JSON.
        iterations: None; there is nothing to train.
        device, threads, seed: as in `JobSpec`.
        model: Gaussians to start from; None with `state`.
        state: folder with the state of a model that this method trained; None with `model`.
        base: what that training started from, for methods that have a base.
        folder: existing and empty; receives the artifact.
    """

    method: str
    version: str
    suffix: str
    config: dict[str, Any]
    iterations: None = None
    device: str
    threads: int | None = None
    seed: int = 0
    model: OwnModel | None = None
    state: Path | None = None
    base: OwnModel | None = None
    folder: Path


class Plan(_Model):
    """The jobs of a run, each after those that it depends on, and how to place them."""

    jobs: list[JobSpec]
    out: Path
    engine: str = "local"
    #: How many jobs at once, and CPU threads of each; None leaves it to the engine.
    parallel: int | None = None
    threads: int | None = None
    #: What a reader should know about the scenes (photos without a pose that were left out, ...).
    notes: list[str] = []


#: What an event says. A job is "started" once and ends with "finished", which carries its record (of any status).
EventKind = Literal["job-started", "stage-started", "progress", "note", "stage-finished", "job-finished"]


class JobEvent(_Model):
    """Something that happened in a job, for progress bars and logs.

    Fields:
        job: id of the job.
        kind: see `EventKind`. "stage-finished" comes only for stages that succeeded.
        stage: the stage, for the kinds that have one; "base train", "base encode", ... while a job makes up for a
            base that is missing.
        log: of "stage-started": path of the stage's log, relative to the results folder.
        step, total, values: of "progress".
        text: of "note": something about the stage that people should know.
        cached: the stage's (or job's) result was there already.
        seconds: how long the stage took when it was computed.
        record: of "job-finished".
    """

    job: str
    kind: EventKind
    stage: str | None = None
    step: int | None = None
    total: int | None = None
    values: dict[str, float] = {}
    text: str | None = None
    log: str | None = None
    cached: bool = False
    seconds: float | None = None
    record: Record | None = None
