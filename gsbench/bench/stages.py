"""What each stage does, given its inputs and an empty folder for its files."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch

from gsbench import registry
from gsbench.artifact import ArtifactWriter, inspect_artifact, open_artifact
from gsbench.bench import model_files
from gsbench.bench.model import EncodeSpec, JobSpec
from gsbench.bench.parallel import ROOM, over_views
from gsbench.bench.score import save_image, save_images, score_frames
from gsbench.bench.sealed import decode_sealed
from gsbench.bench.sealed_work import hash_decoded
from gsbench.bench.settings import build_config
from gsbench.bench.visible import Visible
from gsbench.errors import JobError, UsageError
from gsbench.hooks import method_class
from gsbench.methods import Context, Method, MethodSpec, Model, TrainProgress
from gsbench.raster import RenderOptions, render
from gsbench.scenes import Scene, View
from gsbench.splats import Splats
from gsbench.training.checkpoint import Checkpoints, NoCheckpoints


@dataclass(frozen=True)
class StageOutput:
    """What a stage found out.

    Fields:
        result: plain values, kept in key.json.
        seconds: time of the method's own work, None for all that the stage took.
        transient: names of files that need not be kept.
        peak_host_bytes, peak_gpu_bytes: of a child process, None for this one's.
        durable: whether the files are worth waiting until they are on the disk.
    """

    result: Mapping[str, Any]
    seconds: float | None = None
    transient: Sequence[str] = ()
    peak_host_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    durable: bool = False


def artifact_name(spec: JobSpec | EncodeSpec) -> str:
    """Name of the artifact among the files of the encode stage."""
    return f"artifact{spec.suffix}"


def frame_names(count: int, suffix: str) -> list[str]:
    """Names of the frames (".npy") or 8-bit images (".png") among the files of the decode stage."""
    folder = {".npy": "frames", ".png": "images"}[suffix]
    return [f"{folder}/{index:04d}{suffix}" for index in range(count)]


def train(
    spec: JobSpec,
    scene: Scene,
    base: Splats | None,
    folder: Path,
    progress: TrainProgress,
    checkpoint: Checkpoints | None = None,
) -> StageOutput:
    """Fit the method to the training views; writes the model."""
    with _Stage(spec, folder, base, progress, checkpoint) as stage:
        model = stage.timed(lambda: stage.method.fit(scene.for_training(), stage.config, stage.context))
        if not isinstance(model, Model):
            raise JobError(f"{type(stage.method).__name__}.fit returned a {type(model).__name__}, expected a Model")
        model_files.save_state(model.state(), folder)
    return StageOutput({}, stage.seconds, durable=True)


def adopt(spec: EncodeSpec, splats: Splats, folder: Path, progress: TrainProgress) -> None:
    """Make Gaussians a model of the method, without photos; writes the model.

    Raises:
        UsageError: if the method cannot do that.
    """
    known: MethodSpec = registry.methods.get(spec.method)
    with _Stage(spec, folder, splats if known.base is not None else None, progress) as stage:
        if known.base is not None:
            scene = cast("Scene", _NoScene(spec.method))
            model = stage.method.fit(scene, stage.config, stage.context)
        else:
            try:
                model = stage.method.from_splats(splats.to(spec.device), stage.config, stage.context)
            except NotImplementedError as error:
                raise UsageError(f"method {spec.method!r} cannot encode a model of other origin: {error}") from error
        if not isinstance(model, Model):
            raise JobError(f"{type(stage.method).__name__} made a {type(model).__name__}, expected a Model")
        model_files.save_state(model.state(), folder)


class _NoScene:
    """Stands where a method looks for a scene and there is none."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __getattr__(self, name: str) -> Any:
        raise UsageError(
            f"method {self._method!r} needs the photos of the scene (it asked for its {name}); give it both: "
            f"gsbench run --methods {self._method} --base MODEL --scenes path:/my/scene"
        )


def encode(spec: JobSpec | EncodeSpec, version: str, trained: Path, base: Splats | None, folder: Path) -> StageOutput:
    """Encode the model that lies in the folder `trained`; writes the artifact. `version` is the plugin's."""
    path = folder / artifact_name(spec)
    with _Stage(spec, folder, base) as stage:
        state = model_files.load_state(trained, stage.context.device)
        model = stage.method.model_class.from_state(state, stage.config)

        def write() -> None:
            with ArtifactWriter(path, spec.method, version) as out:
                stage.method.encode(model, stage.config, out, stage.context)

        stage.timed(write)
    left = sorted(p.name for p in folder.iterdir())
    if left != [path.name]:
        raise JobError(f"encoding left the files {left}, expected only {path.name}")
    reader = open_artifact(path, spec.method)
    sections = dict(inspect_artifact(path))
    found = {"bytes": reader.size, "sha256": reader.sha256, "sections": sections}
    return StageOutput(found, stage.seconds, durable=True)


def decode(
    spec: JobSpec, scene: Scene, artifact: Path, inventory: Visible, folder: Path, log: Path, progress: TrainProgress
) -> StageOutput:
    """Decode the artifact in a sealed process and render the held-out views; writes frames and images."""
    views = len(scene.test)
    result = decode_sealed(
        spec.method,
        artifact,
        scene.test,
        scene.background,
        spec.device,
        threads(spec),
        folder,
        timeout=spec.decode_timeout,
        log=log,
        inventory=inventory,
        progress=lambda done: progress(done, views, {}),
    )
    (folder / "images").mkdir()
    save_images(result.frames, [folder / name for name in frame_names(views, ".png")])
    found = {
        "views": views,
        "isolation": result.isolation,
        "gaussians": result.gaussians,
        "anchors": result.anchors,
        "decoded_sha256": result.decoded_sha256,
        "decode_seconds": result.timing.decode_seconds,
        "render_ms": {"median": result.timing.median_ms, "p95": result.timing.p95_ms} if views else None,
    }
    return StageOutput(
        found,
        transient=() if spec.keep_frames else frame_names(views, ".npy"),
        peak_host_bytes=result.peak_host_bytes,
        peak_gpu_bytes=result.peak_gpu_bytes,
    )


def score(spec: JobSpec, scene: Scene, decoded: Path, base_decoded: Path | None) -> StageOutput:
    """Score the frames in the folder `decoded`; the only stage that opens held-out photographs."""
    count = len(scene.test)
    scores = score_frames(
        [decoded / name for name in frame_names(count, ".npy")],
        scene.test,
        spec.metrics,
        None if base_decoded is None else [base_decoded / name for name in frame_names(count, ".png")],
    )
    views = [view.model_dump(mode="json") for view in scores.views]
    return StageOutput({"metrics": scores.means, "views": views, "reasons": scores.reasons})


def decode_base(spec: JobSpec, artifact: Path, decoded_sha256: str | None, folder: Path) -> Splats:
    """The Gaussians of a base's artifact, as `Context.base` takes them.

    Raises:
        JobError: if they differ from those that the base's own sealed decode gave.
    """
    with _Stage(spec, folder, None) as stage:
        decoded = type(stage.method).decode(open_artifact(artifact, spec.method), stage.context)
        found = hash_decoded(decoded)
        if decoded_sha256 is not None and found != decoded_sha256:
            raise JobError(
                f"the artifact of the base {spec.method!r} decodes to other Gaussians than in its sealed decode "
                f"({found} instead of {decoded_sha256})"
            )
        return decoded.splats()


def render_base(spec: JobSpec, scene: Scene, splats: Splats, folder: Path, progress: TrainProgress) -> StageOutput:
    """Render the held-out views of a user's own model; writes 8-bit images."""
    (folder / "images").mkdir()
    splats, background = splats.to(spec.device), scene.background.to(spec.device)
    names = frame_names(len(scene.test), ".png")

    def make(task: tuple[View, str]) -> None:
        view, name = task
        with torch.no_grad():
            image = render(splats, view, RenderOptions(background=background)).image
        save_image(image.cpu(), folder / name)

    pixels = max((view.width * view.height for view in scene.test), default=0)
    over_views(
        make,
        list(zip(scene.test, names, strict=True)),
        # One view at a time on a GPU, which is not shared by threads.
        _GAUSSIAN_BYTES * len(splats) + _PIXEL_BYTES * pixels if spec.device == "cpu" else ROOM,
        lambda done: progress(done, len(names), {}),
    )
    return StageOutput({"views": len(names)})


def threads(spec: JobSpec | EncodeSpec) -> int:
    """CPU threads of the job."""
    return spec.threads or torch.get_num_threads()


#: About what rendering one view takes, per Gaussian and per pixel, its results included.
_GAUSSIAN_BYTES: Final = 300
_PIXEL_BYTES: Final = 100

#: How often progress is passed on, in seconds.
_PROGRESS_SECONDS: Final = 0.1


class _Stage:
    """The method, its config and its context, with randomness fixed and a working directory that goes away."""

    def __init__(
        self,
        spec: JobSpec | EncodeSpec,
        folder: Path,
        base: Splats | None,
        progress: TrainProgress | None = None,
        checkpoint: Checkpoints | None = None,
    ) -> None:
        cls = method_class(spec.method)
        self.method: Method = cls()
        self.config = build_config(cls.Config, spec.config)
        self.seconds = 0.0
        # Beside the stage's files, not among them.
        self._workdir = folder.parent / f"{folder.name}.work"
        self.context = Context(
            device=torch.device(spec.device),
            threads=threads(spec),
            seed=spec.seed,
            workdir=self._workdir,
            iterations=spec.iterations,
            base=None if base is None else base.to(spec.device),
            progress=_Sparing(progress) if progress is not None else lambda step, total, values: None,
            checkpoint=checkpoint if checkpoint is not None else NoCheckpoints(),
        )
        self._seed = spec.seed

    def __enter__(self) -> _Stage:
        self._workdir.mkdir()
        random.seed(self._seed)
        np.random.seed(self._seed % 2**32)
        torch.manual_seed(self._seed)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._workdir, ignore_errors=True)

    def timed(self, work: Callable[[], Any]) -> Any:
        """Do the method's work and measure it."""
        self._synchronize()
        begin = time.perf_counter()
        result = work()
        self._synchronize()
        self.seconds = time.perf_counter() - begin
        return result

    def _synchronize(self) -> None:
        if self.context.device.type == "cuda":
            torch.cuda.synchronize(self.context.device)


class _Sparing:
    """Passes progress on a few times a second; the first and the last step always."""

    def __init__(self, progress: TrainProgress) -> None:
        self._progress = progress
        self._next = 0.0

    def __call__(self, step: int, total: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now >= self._next or step >= total:
            self._next = now + _PROGRESS_SECONDS
            self._progress(step, total, {name: float(value) for name, value in values.items()})
