"""Does a published number follow from its artifact? Decode, render and score again, and compare.

The artifact's size, hash and sections are compared exactly, and so are the decoded tensors and counts: what decides
them is integers in gsbench's own methods. Scores are compared within tolerances, because renders differ in the last
bits between instruction sets, and LPIPS between versions of torch.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from gsbench import __version__, _files
from gsbench.errors import GsbenchError, RecordError, UsageError
from gsbench.leaderboard.load import Loader, artifact_beside, contradiction, locate
from gsbench.leaderboard.rerun import protocol_options
from gsbench.leaderboard.sums import VerificationNote, read_sums, write_note
from gsbench.records import Environment, Record, ViewMetrics, read_record

if TYPE_CHECKING:
    from gsbench.bench.sealed import SealedResult
    from gsbench.scenes import Scene, SceneOptions

#: Largest accepted difference of the mean over the held-out views. Others: `OTHER_TOLERANCE`.
TOLERANCES: Final[Mapping[str, float]] = {
    "psnr": 0.01,
    "psnr_channelwise": 0.01,
    "psnr_to_base": 0.02,
    "ssim": 1e-4,
    "lpips_vgg": 1e-3,
    "lpips_vgg_raw": 1e-3,
    "lpips_alex": 1e-3,
}
OTHER_TOLERANCE: Final = 1e-3
#: A single view may differ by this many times as much as the mean.
VIEW_FACTOR: Final = 4.0

#: Largest accepted differences of a repeated training; another machine takes other roundings, which training amplifies.
RERUN_TOLERANCES: Final[Mapping[str, float]] = {
    "psnr": 0.3,
    "psnr_channelwise": 0.3,
    "psnr_to_base": 0.5,
    "ssim": 0.01,
    "lpips_vgg": 0.01,
    "lpips_vgg_raw": 0.01,
    "lpips_alex": 0.01,
}
OTHER_RERUN_TOLERANCE: Final = 0.01
#: Of the size, relative.
RERUN_BYTES: Final = 0.05

Outcome = Literal["ok", "mismatch", "not checked"]
#: Called with what is being done.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Check:
    """One line of a verification.

    Fields:
        what: the quantity.
        recorded, found: its values; None where there is none.
        tolerance: the largest accepted difference, None for exact equality.
        outcome: ok, mismatch, or not checked.
        note: why it was not checked, or what to know.
    """

    what: str
    recorded: str | float | int | None
    found: str | float | int | None
    tolerance: float | None
    outcome: Outcome
    note: str = ""

    @property
    def difference(self) -> float | None:
        """Found minus recorded, for numbers."""
        if isinstance(self.recorded, str) or isinstance(self.found, str) or self.recorded is None or self.found is None:
            return None
        return float(self.found) - float(self.recorded)


@dataclass
class Verified:
    """The verification of one record.

    Fields:
        path, record: which.
        record_sha256: of the record file.
        checks: in the order in which they were made.
        environment: this machine; None where nothing was decoded.
        rerun: whether a repeated training was compared.
    """

    path: Path
    record: Record
    record_sha256: str
    checks: list[Check] = field(default_factory=list)
    environment: Environment | None = None
    rerun: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything that was checked agrees, and the artifact was decoded."""
        return self.environment is not None and all(check.outcome != "mismatch" for check in self.checks)

    def note(self) -> VerificationNote:
        """What to leave beside the record.

        Raises:
            RecordError: if the record is not verified.
        """
        if not self.ok or self.environment is None or self.record.sha256 is None:
            raise RecordError(f"{self.path}: not verified, so there is nothing to note")
        scored = [c for c in self.checks if c.what in self.record.metrics and c.difference is not None]
        return VerificationNote(
            status="reproduced" if self.rerun else "decoded",
            record_sha256=self.record_sha256,
            artifact_sha256=self.record.sha256,
            gsbench=__version__,
            environment=self.environment,
            differences={check.what: check.difference or 0.0 for check in scored},
            tolerances={check.what: check.tolerance or 0.0 for check in scored},
        )


@dataclass(frozen=True)
class VerifyOptions:
    """How to verify.

    Fields:
        scene: where the scene is, for records of ``path:`` scenes; None for the record's own.
        scene_options: how to read it; None for what the record's protocol says.
        device: "cpu", "cuda" or "cuda:N".
        threads: of the decoder; None for as many as torch uses.
        tolerances: metric -> tolerance, in place of `TOLERANCES`.
        rerun: a results folder in which the same training was repeated; None for none.
        timeout: seconds after which a decoder is stopped.
        progress: called with what is being done.
    """

    scene: str | None = None
    scene_options: SceneOptions | None = None
    device: str = "cpu"
    threads: int | None = None
    tolerances: Mapping[str, float] = field(default_factory=dict)
    rerun: Path | None = None
    timeout: float | None = None
    progress: Progress = lambda text: None


def verify_record(path: Path, options: VerifyOptions | None = None) -> Verified:
    """Verify a record. What disagrees is in the result; nothing is raised for that.

    Raises:
        UsageError: if there is no such record, or its method or scene is not known here.
        RecordError: if it is not a record, is none of a result, or its artifact is missing.
        SceneError: if the scene cannot be read.
        JobError: if decoding fails.
    """
    options = options or VerifyOptions()
    record = read_record(path)
    if record.status != "ok":
        raise RecordError(f"{path}: its job {record.status}, so there is nothing to verify")
    data = path.read_bytes()
    result = Verified(path, record, hashlib.sha256(data).hexdigest())
    problem = contradiction(record)
    if problem is not None:
        result.checks.append(Check("record", None, None, None, "mismatch", problem))
    _check_published(result)
    artifact = artifact_beside(path, record)
    if not artifact.is_file():
        raise RecordError(f"{path}: its artifact is missing: {artifact}; fetch it, then verify again")
    if not _check_file(result, artifact):
        return result  # another file's scores say nothing
    _decode_and_score(result, artifact, options)
    if options.rerun is not None:
        _compare_rerun(result, options.rerun)
    return result


def write_verification(result: Verified) -> Path:
    """Leave a note beside the record that it was verified; the note's path.

    Raises:
        RecordError: if it was not.
        StoreError: if the note cannot be written.
    """
    return write_note(result.path, result.note())


def _check_published(result: Verified) -> None:
    """Compare the record's hash with the one of its board, if it is in one."""
    try:
        name, root = locate(result.path, result.record)
    except RecordError:
        return  # a record on its own
    sums = read_sums(root)
    if sums is not None:
        _exact(result, "record sha256", sums.get(name), result.record_sha256)


def _check_file(result: Verified, artifact: Path) -> bool:
    """Compare the artifact's size, hash and sections; whether it is the record's."""
    from gsbench.artifact import inspect_artifact

    record = result.record
    try:
        size, sha256 = _files.describe(artifact)
    except OSError as error:
        raise RecordError(f"{artifact}: cannot be read: {error.strerror or error}") from error
    same = _exact(result, "bytes", record.bytes, size) & _exact(result, "sha256", record.sha256, sha256)
    if same and record.sections:
        found = dict(inspect_artifact(artifact))
        _exact(result, "sections", _listed(record.sections), _listed(found))
    return same


def _listed(sections: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sections.items())


def _decode_and_score(result: Verified, artifact: Path, options: VerifyOptions) -> None:
    from gsbench.bench import decode_sealed, machine_environment, score_frames
    from gsbench.hooks import load_plugins

    load_plugins()
    record = result.record
    options.progress(f"{record.scene}: reading the scene")
    scene = _scene(result, options)
    threads = options.threads or _threads()
    with tempfile.TemporaryDirectory(prefix="gsbench-verify-") as scratch:
        out = Path(scratch) / "decoded"
        out.mkdir()
        options.progress(f"{record.method} {record.rate} on {record.scene}: decoding and rendering")
        decoded = decode_sealed(
            record.method,
            artifact,
            scene.test,
            scene.background,
            options.device,
            threads,
            out,
            timeout=options.timeout,
        )
        result.environment = machine_environment(options.device, threads)
        _check_decoded(result, decoded)
        options.progress(f"{record.method} {record.rate} on {record.scene}: scoring")
        metrics, base = _metrics(result, options, scene, Path(scratch), threads)
        if metrics or base is not None:
            scores = score_frames(decoded.frames, scene.test, metrics, base)
            _check_scores(result, scores.means, scores.views, scores.reasons, options.tolerances)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _scene(result: Verified, options: VerifyOptions) -> Scene:
    from gsbench import registry
    from gsbench.scenes import SceneOptions, load_scene, resolve_scenes

    record = result.record
    if options.scene is None and record.dataset == "path":
        raise UsageError(
            f"{result.path}: its scene {record.scene!r} was a folder of somebody's own; say where it is: "
            "--scene path:/my/scene"
        )
    refs = resolve_scenes([options.scene or f"{record.dataset}/{record.scene}"])
    if len(refs) != 1:
        raise UsageError(f"--scene {options.scene}: expected one scene")
    chosen = options.scene_options
    if chosen is None:
        found = protocol_options(record.protocol)
        if found is None:
            raise UsageError(
                f"{result.path}: protocol {record.protocol.id!r} ({record.protocol.hash}) cannot be made from its id; "
                "give the options that the run had: --protocol, --images, --downscale, --max-width, --background"
            )
        chosen = SceneOptions(
            protocol=registry.protocols.get(found.protocol),
            images=found.images,
            downscale=found.downscale,
            max_width=found.max_width,
            background=found.background,
        )
    scene = load_scene(refs[0], chosen)
    recorded, found_here = (f"{protocol.id} {protocol.hash}" for protocol in (record.protocol, scene.protocol))
    _exact(result, "protocol", recorded, found_here)
    if record.scene_hash is not None:
        _exact(result, "scene hash", record.scene_hash, scene.hash)
    return scene


def _check_decoded(result: Verified, decoded: SealedResult) -> None:
    record = result.record
    for what, recorded, found in (
        ("decoded sha256", record.decoded_sha256, decoded.decoded_sha256),
        ("gaussians", record.gaussians, decoded.gaussians),
        ("anchors", record.anchors, decoded.anchors),
    ):
        if recorded is not None:
            _exact(result, what, recorded, found)


def _metrics(
    result: Verified, options: VerifyOptions, scene: Scene, scratch: Path, threads: int
) -> tuple[list[str], list[Path] | None]:
    """The metrics to compute, and the images of the base's renders if they can be had."""
    from gsbench import registry
    from gsbench.bench.score import PSNR_TO_BASE
    from gsbench.metrics import unavailable

    chosen: list[str] = []
    base: list[Path] | None = None
    for name, value in result.record.metrics.items():
        if value is None:
            continue
        reason = None
        if name == PSNR_TO_BASE:
            base, reason = _base_images(result, options, scene, scratch, threads)
        elif name not in registry.metrics:
            reason = "no installed plugin supplies this metric"
        else:
            reason = unavailable(name)
            if reason is None:
                chosen.append(name)
        if reason is not None:
            result.checks.append(Check(name, value, None, None, "not checked", reason))
    return chosen, base


def _base_images(
    result: Verified, options: VerifyOptions, scene: Scene, scratch: Path, threads: int
) -> tuple[list[Path] | None, str | None]:
    """8-bit renders of the base, from its artifact beside the record's folder; or why there are none."""
    from gsbench.bench import decode_sealed
    from gsbench.bench.score import save_images

    base = result.record.base
    if base is None or base.own:
        return None, "the base is a model of somebody's own"
    for path in sorted((result.path.absolute().parents[1] / base.name).glob("*.json")):
        try:
            found = read_record(path)
            artifact = artifact_beside(path, found)
            if found.sha256 != base.sha256 or not artifact.is_file() or _files.describe(artifact)[1] != base.sha256:
                continue
        except (GsbenchError, OSError):
            continue
        out = scratch / "base"
        (out / "images").mkdir(parents=True)
        options.progress(f"{base.name} on {scene.name}: decoding and rendering, as the base")
        decoded = decode_sealed(
            found.method, artifact, scene.test, scene.background, options.device, threads, out, timeout=options.timeout
        )
        images = [out / "images" / f"{index:04d}.png" for index in range(len(scene.test))]
        save_images(decoded.frames, images)
        return images, None
    return None, f"the artifact of the base {base.name} is not here"


def _check_scores(
    result: Verified,
    means: Mapping[str, float | None],
    views: Sequence[ViewMetrics],
    reasons: Mapping[str, str],
    tolerances: Mapping[str, float],
) -> None:
    recorded_views = {view.name: view.metrics for view in result.record.views}
    if set(recorded_views) != {view.name for view in views}:
        text = f"{len(recorded_views)} views in the record, {len(views)} in the scene"
        result.checks.append(Check("views", len(recorded_views), len(views), None, "mismatch", text))
        return
    for name, found in means.items():
        recorded = result.record.metrics.get(name)
        tolerance = tolerances.get(name, TOLERANCES.get(name, OTHER_TOLERANCE))
        if found is None:
            result.checks.append(Check(name, recorded, None, tolerance, "not checked", reasons.get(name, "")))
            continue
        _close(result, name, recorded, found, tolerance)
        distances = [_distance(view.metrics.get(name), recorded_views[view.name].get(name)) for view in views]
        worst = views[distances.index(max(distances))]
        before, after = recorded_views[worst.name].get(name), worst.metrics.get(name)
        if _distance(before, after) > VIEW_FACTOR * tolerance:
            _close(result, f"{name} of {worst.name}", before, after, VIEW_FACTOR * tolerance)


def _distance(a: float | None, b: float | None) -> float:
    return math.inf if a is None or b is None else abs(a - b)


def _compare_rerun(result: Verified, folder: Path) -> None:
    """Compare with the record of the same job in another results folder."""
    record = result.record
    path = folder / record.path()
    if not path.is_file():
        raise UsageError(
            f"--rerun {folder}: no record {record.path()} in it; expected a results folder of the same run"
        )
    other = Loader().load(path)
    if other.sha256 == result.record_sha256:
        raise UsageError(f"--rerun {folder}: {path} is the same record, not another run")
    result.rerun = True
    again = other.record
    for what in ("config", "iterations", "scene_hash", "pretrained"):
        before, after = getattr(record, what), getattr(again, what)
        if before != after:
            result.checks.append(Check(f"rerun {what}", str(before), str(after), None, "mismatch"))
    if record.sha256 == again.sha256:
        result.checks.append(Check("rerun sha256", record.sha256, again.sha256, None, "ok", "the same bytes"))
        return
    size = record.bytes or 0
    _close(result, "rerun bytes", size, again.bytes, RERUN_BYTES * size)
    for name, value in record.metrics.items():
        if value is not None:
            tolerance = RERUN_TOLERANCES.get(name, OTHER_RERUN_TOLERANCE)
            _close(result, f"rerun {name}", value, again.metrics.get(name), tolerance)


def _exact(result: Verified, what: str, recorded: Any, found: Any) -> bool:
    same = bool(recorded == found)
    result.checks.append(Check(what, recorded, found, None, "ok" if same else "mismatch"))
    return same


def _close(result: Verified, what: str, recorded: float | None, found: float | None, tolerance: float) -> None:
    close = _distance(recorded, found) <= tolerance
    result.checks.append(Check(what, recorded, found, tolerance, "ok" if close else "mismatch"))
