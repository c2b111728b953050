"""One job: its stages, each taken from the results folder where it is there and computed where it is not."""

from __future__ import annotations

import errno
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from gsbench import registry
from gsbench.bench import keys, model_files, stages
from gsbench.bench.capture import captured
from gsbench.bench.elsewhere import BaseElsewhere
from gsbench.bench.environment import machine_environment
from gsbench.bench.limits import log_tail, with_tail
from gsbench.bench.memory import Peaks, peak_gpu_bytes, peak_host_bytes, reset_peak
from gsbench.bench.model import EventKind, JobEvent, JobSpec
from gsbench.bench.own_models import read_model
from gsbench.bench.results import failed_record, ok_record, trained_record
from gsbench.bench.sealed import SealedError
from gsbench.bench.stages import StageOutput, artifact_name, frame_names
from gsbench.bench.store import StageResult, Store
from gsbench.bench.visible import Visible, take_inventory
from gsbench.errors import GsbenchError, SceneError
from gsbench.hooks import load_plugins
from gsbench.metrics import unavailable
from gsbench.records import Record
from gsbench.scenes import Scene, load_scene
from gsbench.splats import Splats
from gsbench.training.checkpoint_folder import CheckpointFolder

#: What the system says where nothing more can be written: a full disk, a quota, a file system that became read-only.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
#: What fails where a job fails before its first stage.
SETUP: Final = "setup"

Emit = Callable[[JobEvent], None]
#: Files that must be undamaged, or how to tell them from the result.
Needed = Sequence[str] | Callable[[StageResult], Sequence[str]]


class StageFailedError(Exception):
    """A stage did not work: its name, the message for the user, and its log."""

    def __init__(self, stage: str, message: str, log: Path | None) -> None:
        super().__init__(message)
        self.stage = stage
        self.log = log


class StageMissingError(Exception):
    """A stage would have to be computed, and nothing shall be."""


def run_job(spec: JobSpec, emit: Emit) -> Record:
    """Do what is missing of a job, and write its record.

    A stage that fails makes it a record with status "failed"; nothing is raised for that.

    Args:
        spec: the job; its results folder exists or can be made.
        emit: called with what happens, except for the start and the end of the job itself.

    Raises:
        StoreError: if the results folder cannot be used.
    """
    store = Store(spec.out)
    artifact: Path | None = None
    try:
        job = Job(spec, store, emit)
        record = job.record()
        if spec.until == "score":
            artifact = job.artifact()
    except StageFailedError as error:
        log = None if error.log is None else store.relative(error.log)
        record = failed_record(spec, error.stage, str(error), log)
    except GsbenchError as error:
        record = failed_record(spec, SETUP, str(error), None)
    if spec.until == "score":
        store.write_record(record, artifact)
    return record


def finished_record(spec: JobSpec) -> Record | None:
    """The record of a job of which nothing is missing (written again if it was lost); None if something is."""
    store = Store(spec.out)
    try:
        job = Job(spec, store, lambda event: None, execute=False)
        record = job.record()
        if spec.until == "score":
            store.write_record(record, job.artifact())
    except StageMissingError:
        return None
    return record


class Job:
    """The stages of one job.

    Args:
        spec: the job.
        store: its results folder.
        emit: receives events.
        execute: whether to compute what is missing; otherwise `StageMissingError` is raised.
        prefix: put before the names of stages in events.
    """

    def __init__(self, spec: JobSpec, store: Store, emit: Emit, *, execute: bool = True, prefix: str = "") -> None:
        self.spec: Final = spec
        self.store: Final = store
        self._emit = emit
        self._execute = execute
        self._prefix = prefix
        load_plugins()
        self.code: Final = keys.code_identity(spec.method)
        self._inventory: Visible | None = None
        self._encoded: StageResult | None = None
        self._announced: set[str] = set()
        self._base: Job | BaseElsewhere | None = None
        if spec.base is not None:
            if spec.base.here:
                self._base = Job(spec.base, store, self._emit_for_base, execute=execute, prefix="base ")
            else:
                self._base = BaseElsewhere(spec.base, store, execute=execute)

    def record(self) -> Record:
        """The record, after whatever is missing has been computed."""
        if self.spec.until == "train":
            return trained_record(self.spec, self._base_sha256(), self.trained(intact=True))
        trained = self.trained()
        encoded = self.encoded()
        decoded, scored = self.scored()
        return ok_record(self.spec, self._base_sha256(), trained, encoded, decoded, scored)

    def artifact(self) -> Path:
        """The artifact in the results folder."""
        return self.encoded().folder / artifact_name(self.spec)

    def trained(self, *, intact: bool = False) -> StageResult:
        """The train stage; with `intact`, the model's files are there and undamaged."""
        inputs = keys.train_inputs(self.spec, self.code, self._base_sha256())
        needed = model_files.FILES if intact else ()

        def work(folder: Path, log: Path) -> StageOutput:
            base, progress = self.base_splats(folder), self._progress("train")
            peaks = Peaks(torch.device(self.spec.device))
            kept = self._checkpoints("train", keys.digest(inputs), peaks)
            output = stages.train(self.spec, self.scene, base, folder, progress, kept)
            most = peaks.take()
            # What earlier parts of this training took counts, and reading and writing checkpoints does not.
            seconds = kept.earlier_seconds + (output.seconds or 0.0) - kept.overhead_seconds
            return replace(
                output,
                result={**output.result, "resumed": kept.resumed},
                seconds=max(0.0, seconds),
                peak_host_bytes=most["peak_host_bytes"],
                peak_gpu_bytes=most["peak_gpu_bytes"],
            )

        return self._obtain("train", inputs, needed, work)

    def encoded(self) -> StageResult:
        """The encode stage, its artifact undamaged."""
        if self._encoded is None:
            self._encoded = self._encode()
        return self._encoded

    def _encode(self) -> StageResult:
        base = self._base_sha256()
        name = artifact_name(self.spec)

        def inputs(trained: StageResult) -> dict[str, Any]:
            return keys.encode_inputs(self.spec, self.code, trained.content_digest(model_files.FILES), base)

        found = self._find("encode", inputs(self.trained()), [name])
        if found is not None:
            return found
        trained = self.trained(intact=True)

        def work(folder: Path, log: Path) -> StageOutput:
            return stages.encode(self.spec, self.code.version, trained.folder, self.base_splats(folder), folder)

        return self._obtain("encode", inputs(trained), [name], work)

    def decoded(self, *, images: bool = False, frames: bool = False) -> StageResult:
        """The decode stage (which renders as well); with `images` or `frames`, those are there and undamaged."""
        encoded = self.encoded()
        inputs = keys.decode_inputs(self.spec, self.code, encoded.result["sha256"])

        def work(folder: Path, log: Path) -> StageOutput:
            artifact = encoded.folder / artifact_name(self.spec)
            progress = self._progress("render")
            inventory = self._inventory or take_inventory()
            return stages.decode(self.spec, self.scene, artifact, inventory, folder, log, progress)

        def needed(found: StageResult) -> list[str]:
            count = found.result["views"]
            return [
                *(frame_names(count, ".png") if images else []),
                *(frame_names(count, ".npy") if frames else []),
            ]

        return self._obtain("decode", inputs, needed, work)

    def scored(self) -> tuple[StageResult, StageResult]:
        """The decode stage and the score stage."""
        metrics = _metric_inputs(self.spec.metrics)

        def inputs(decoded: StageResult, base: StageResult | None) -> dict[str, Any]:
            return keys.score_inputs(
                self.spec,
                self.code,
                decoded.content_digest(frame_names(decoded.result["views"], ".npy")),
                None if base is None else base.content_digest(frame_names(base.result["views"], ".png")),
                metrics,
            )

        decoded = self.decoded()
        base_decoded = self._base_rendered()
        found = self._find("score", inputs(decoded, base_decoded), [])
        if found is None:
            decoded = self.decoded(frames=True)
            base_decoded = self._base_rendered(images=True)
            base_folder = None if base_decoded is None else base_decoded.folder

            def work(folder: Path, log: Path) -> StageOutput:
                return stages.score(self.spec, self.scene, decoded.folder, base_folder)

            found = self._obtain("score", inputs(decoded, base_decoded), [], work)
        if not self.spec.keep_frames:
            self.store.drop_transient(decoded)
        return decoded, found

    @cached_property
    def scene(self) -> Scene:
        """The scene, which must still be what it was when the job was planned."""
        scene = load_scene(self.spec.scene_ref, self.spec.options)
        if scene.hash != self.spec.scene_hash or scene.protocol.hash != self.spec.protocol.hash:
            raise SceneError(f"scene {self.spec.scene_ref} changed after the run was planned; run again")
        return scene

    def _base_rendered(self, *, images: bool = False) -> StageResult | None:
        """The stage that rendered the base's held-out views; with `images`, these are there and undamaged."""
        if self._base is not None:
            return self._base.decoded(images=images)
        model = self.spec.own_base
        if model is None:
            return None

        def work(folder: Path, log: Path) -> StageOutput:
            splats = read_model(model)
            return stages.render_base(self.spec, self.scene, splats, folder, self._progress("base"))

        def needed(found: StageResult) -> list[str]:
            return frame_names(found.result["views"], ".png") if images else []

        return self._obtain("base", keys.base_inputs(self.spec, self.code, model.sha256), needed, work)

    def _base_sha256(self) -> str | None:
        if self.spec.own_base is not None:
            return self.spec.own_base.sha256
        return None if self._base is None else str(self._base.encoded().result["sha256"])

    def base_splats(self, folder: Path) -> Splats | None:
        """What the method starts from, None where it has no base; `folder` is beside files that go away afterwards."""
        if self.spec.own_base is not None:
            return read_model(self.spec.own_base)
        if self._base is None:
            return None
        if isinstance(self._base, BaseElsewhere):
            return self._base.splats(folder.with_name(f"{folder.name}.base"))
        encoded, decoded = self._base.encoded(), self._base.decoded()
        artifact = encoded.folder / artifact_name(self._base.spec)
        aside = folder.with_name(f"{folder.name}.base")
        return stages.decode_base(self._base.spec, artifact, decoded.result["decoded_sha256"], aside)

    def _checkpoints(self, stage: str, key: str, peaks: Peaks) -> CheckpointFolder:
        """Where a stage keeps its state. Another machine's state would not lead to the bytes that this one's does."""
        device = torch.device(self.spec.device)
        machine = machine_environment(device)

        def resumed(step: int, total: int) -> None:
            peaks.add(place.earlier)
            self._say("note", stage, text=f"resuming at step {step:,} of {total:,}")

        place = CheckpointFolder(
            self.store.checkpoint_folder(stage, key),
            {"key": key, "isa": machine.isa, "gpu": machine.gpu},
            every=self.spec.checkpoint_every,
            device=device,
            measure=peaks.take,
            after=peaks.restart,
            on_resume=resumed,
            on_note=lambda text: self._say("note", stage, text=text),
        )
        return place

    def _find(self, stage: str, inputs: Mapping[str, Any], needed: Needed) -> StageResult | None:
        """A stage from the results folder, if it is there and what is needed of it is undamaged."""
        found = self.store.find(stage, keys.digest(inputs))
        if found is None or not found.is_intact(needed(found) if callable(needed) else needed):
            return None
        if stage not in self._announced:
            self._announced.add(stage)
            self._say_finished(found, cached=True)
        return found

    def _obtain(
        self, stage: str, inputs: Mapping[str, Any], needed: Needed, work: Callable[[Path, Path], StageOutput]
    ) -> StageResult:
        """A stage from the results folder, or computed."""
        found = self._find(stage, inputs, needed)
        if found is not None:
            return found
        if not self._execute:
            raise StageMissingError(f"{stage} of {self.spec.id}")
        if self._base is not None:
            self._base.decoded()  # now, so that it is told of and logged by itself
        key = keys.digest(inputs)
        with self.store.stage_lock(stage, key):
            # Another job may have computed it while this one waited for the lock.
            return self._find(stage, inputs, needed) or self._compute(stage, key, inputs, work)

    def _compute(
        self, stage: str, key: str, inputs: Mapping[str, Any], work: Callable[[Path, Path], StageOutput]
    ) -> StageResult:
        """Compute a stage.

        Raises:
            StageFailedError: whatever goes wrong.
        """
        log = self.store.stage_log(stage, key)
        device = torch.device(self.spec.device)
        folder = self.store.temporary(stage, key)
        self._announced.add(stage)
        self._say("stage-started", stage, log=self.store.relative(log))
        begin = time.perf_counter()
        try:
            # Before the method's code has run: what it changes afterwards must not reach its decoder.
            self._inventory = self._inventory or take_inventory()
            reset_peak(device)
            with captured(log):
                output = work(folder, log)
            seconds = output.seconds if output.seconds is not None else time.perf_counter() - begin
            own, gpu = peak_host_bytes(), peak_gpu_bytes(device)
            result = self.store.publish(
                folder,
                stage,
                inputs,
                result=output.result,
                seconds=seconds,
                peak_host_bytes=output.peak_host_bytes or own,
                peak_gpu_bytes=output.peak_gpu_bytes or gpu,
                environment=machine_environment(device, stages.threads(self.spec)),
                transient=output.transient,
                durable=output.durable,
            )
            self.store.drop_checkpoints(stage, key)
        except SealedError as error:
            where = "render" if error.stage == "render" else stage
            raise StageFailedError(self._prefix + where, str(error), log) from error
        except GsbenchError as error:
            raise StageFailedError(self._prefix + stage, str(error), log) from error
        except (Exception, SystemExit) as error:
            message = f"{type(error).__name__}: {error}"
            if isinstance(error, OSError) and error.errno in _FULL:
                message = f"{error.filename or self.store.root} cannot be written: {error.strerror}"
            raise StageFailedError(self._prefix + stage, with_tail(message, log_tail(log)), log) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._say_finished(result)
        return result

    def _say_finished(self, result: StageResult, *, cached: bool = False) -> None:
        """One event per stage; what is stored as "decode" is decoding and rendering."""
        seconds = {result.stage: result.seconds}
        if result.stage == "decode":
            decoding = float(result.result["decode_seconds"])
            seconds = {"decode": decoding, "render": max(0.0, result.seconds - decoding)}
        for stage, value in seconds.items():
            self._say("stage-finished", stage, cached=cached, seconds=None if cached else value)

    def _say(self, kind: EventKind, stage: str, **values: Any) -> None:
        if not (self._prefix and values.get("cached")):  # that a base is there is nothing to tell
            self._emit(JobEvent(job=self.spec.id, kind=kind, stage=self._prefix + stage, **values))

    def _progress(self, stage: str) -> Callable[[int, int, Mapping[str, float]], None]:
        started = stage != "render"  # which begins within the stage "decode"

        def progress(step: int, total: int, values: Mapping[str, float]) -> None:
            nonlocal started
            if not started:
                started = True
                self._say("stage-started", stage)
            finite = {name: value for name, value in values.items() if math.isfinite(value)}
            self._say("progress", stage, step=step, total=total, values=finite)

        return progress

    def _emit_for_base(self, event: JobEvent) -> None:
        """What happens to a base happens to the job that waits for it."""
        self._emit(event.model_copy(update={"job": self.spec.id}))


def _metric_inputs(names: Sequence[str]) -> dict[str, Any]:
    """What the metrics' values depend on besides images: who computes them, and whether that can be done here."""
    inputs: dict[str, Any] = {}
    for name in names:
        origin = registry.metrics.entry(name).origin
        inputs[name] = {"code": keys.code_digest(origin), "available": unavailable(name) is None}
    return inputs
