"""From a request to jobs: the matrix method x scene x rate point x seed, with the bases that methods start from.

Everything that can be wrong with a request is found here, before anything runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gsbench import registry
from gsbench.bench.keys import digest
from gsbench.bench.known_methods import KnownMethods
from gsbench.bench.limits import require_memory_watch
from gsbench.bench.model import JobSpec, OwnModel, Plan, RunRequest
from gsbench.bench.own_models import find_models
from gsbench.bench.settings import split_setting, without_fields
from gsbench.errors import UsageError
from gsbench.hooks import load_plugins
from gsbench.methods import MethodSpec, RatePoint
from gsbench.records import ProtocolInfo
from gsbench.registry import did_you_mean
from gsbench.scenes import DatasetSpec, Scene, SceneOptions, SceneRef, check_fetched, load_scene, resolve_scenes

#: Bases are trained once per scene, whatever seeds are asked for.
BASE_SEED: Final = 0

#: What a job takes before it has loaded anything (Python, torch, the kernels), in bytes.
_MEMORY_FLOOR: Final = 1 << 30
#: Bytes per byte of training photos: the photos, and what is derived from them at any time.
_MEMORY_PER_PHOTO_BYTE: Final = 4
#: Bytes per byte of a user's own model: as it is read, as the method has it, and what that is encoded from.
_MEMORY_PER_MODEL_BYTE: Final = 4


def build_plan(request: RunRequest) -> Plan:
    """The jobs of a request, each after those that it depends on.

    The scenes are loaded (their photos are checked and hashed), the methods are imported, and every setting is
    checked.

    Raises:
        UsageError: if a method, rate point, metric, engine, protocol or setting is unknown or a value has no meaning.
        SceneError: if a scene cannot be read.
        PluginError: if a method cannot be imported or contradicts itself.
    """
    load_plugins()
    known = KnownMethods(request.envs, request.settings)
    methods = _methods(request.methods, known)
    metrics = _metrics(request.metrics)
    registry.engines.entry(request.engine)
    if any(seed < 0 for seed in request.seeds) or not request.seeds:
        raise UsageError(f"seeds {request.seeds}: expected numbers of 0 or more, at least one")
    if request.memory_limit is not None:
        require_memory_watch()
    rates = {spec.name: _rates(spec, request.rates) for spec in methods}
    _check_rates(methods, request.rates)
    options = SceneOptions(
        protocol=None if request.protocol is None else registry.protocols.get(request.protocol),
        images=request.images,
        downscale=request.downscale,
        max_width=request.max_width,
        background=request.background,
        init=request.init,
    )
    if request.base is not None:
        _require_base(methods)
    bases = [] if request.base is not None else known.bases(methods)
    known.require_used(spec.name for spec in [*methods, *bases])
    factory = _Factory(request, known, metrics, options, _settings(request.settings, [*methods, *bases]))
    for spec in methods:  # before any scene is read: these are quick to check
        for rate in rates[spec.name]:
            factory.config(spec, rate)
    refs = resolve_scenes(request.scenes)
    check_fetched(refs)
    for path in (request.out.expanduser().absolute(), *(ref.path for ref in refs if ref.path is not None)):
        _check_name(path)
    if request.base is not None:
        factory.own_bases = find_models(request.base, refs)
    notes: list[str] = []
    for ref in refs:
        scene = load_scene(ref, options)
        notes += [f"{ref}: {note}" for note in scene.notes]
        steps = _dataset_iterations(ref)
        if steps is not None and request.iterations is None:
            notes.append(f"{ref}: {steps:,} training steps, the data set's own number; --iterations N for another")
        for spec in methods:
            for rate in rates[spec.name]:
                for seed in dict.fromkeys(request.seeds):
                    factory.add(spec, rate, seed, ref, scene)
    return Plan(
        jobs=_share_trainings(list(factory.jobs.values())),
        out=request.out.expanduser().absolute(),
        engine=request.engine,
        parallel=request.jobs,
        threads=request.threads,
        notes=notes,
    )


@dataclass
class _Factory:
    """Makes jobs, each once."""

    request: RunRequest
    known: KnownMethods
    metrics: list[str]
    options: SceneOptions
    settings: dict[str, list[tuple[str, str]]]

    def __post_init__(self) -> None:
        self.jobs: dict[str, JobSpec] = {}
        self.own_bases: Mapping[SceneRef, OwnModel] = {}
        self.device = resolve_device(self.request.device)

    def config(self, spec: MethodSpec, rate: RatePoint) -> tuple[dict[str, object], list[str]]:
        """The resolved Config of a method at a rate point, and its encode-only fields."""
        return self.known.config(spec, rate, self.settings.get(spec.name, []))

    def _iterations(self, spec: MethodSpec, ref: SceneRef) -> int | None:
        """Steps to scale the schedule to: the user's, else the data set's, unless a setting gives the number itself."""
        if self.request.iterations is not None:
            return self.request.iterations
        if any(field == "iterations" for field, _ in self.settings.get(spec.name, [])):
            return None
        return _dataset_iterations(ref)

    def add(
        self, spec: MethodSpec, rate: RatePoint, seed: int, ref: SceneRef, scene: Scene, *, dependency: bool = False
    ) -> JobSpec:
        """A job, after the job of its base."""
        base: JobSpec | None = None
        own_base = self.own_bases.get(ref)
        if spec.base is not None and own_base is None:
            below = self.known.spec(spec.base)
            base = self.add(below, below.rate("default"), BASE_SEED, ref, scene, dependency=True)
            within = self.known.base_interpreter(spec.base, spec.name)
            base = base.model_copy(update={"interpreter": within})
        config, encode_fields = self.config(spec, rate)
        job = JobSpec(
            method=spec.name,
            distribution=self.known.distribution(spec.name),
            rate=rate.name,
            seed=seed,
            suffix=spec.suffix,
            pretrained=bool(spec.pretrained),
            dataset=ref.dataset,
            scene=ref.scene,
            scene_path=ref.path,
            options=self.options,
            protocol=ProtocolInfo(id=scene.protocol.id, hash=scene.protocol.hash),
            scene_hash=scene.hash,
            config=config,
            encode_fields=encode_fields,
            iterations=self._iterations(spec, ref),
            device=self.device,
            threads=self.request.threads,
            metrics=self.metrics,
            keep_frames=self.request.keep_frames,
            decode_timeout=self.request.decode_timeout,
            checkpoint_every=self.request.checkpoint_every,
            timeout=self.request.timeout,
            memory_limit=self.request.memory_limit,
            out=self.request.out.expanduser().absolute(),
            base=base,
            own_base=own_base,
            after=[] if base is None else [base.id],
            requires=[] if base is None else [base.id],
            dependency=dependency,
            interpreter=self.known.interpreter(spec.name),
            memory_bytes=_memory(scene) + _MEMORY_PER_MODEL_BYTE * (0 if own_base is None else own_base.bytes),
        )
        known = self.jobs.get(job.id)
        if known is None or (known.dependency and not dependency):
            self.jobs[job.id] = job
        return job


def _dataset_iterations(ref: SceneRef) -> int | None:
    if ref.dataset not in registry.scenes:
        return None
    spec: DatasetSpec = registry.scenes.get(ref.dataset)
    return spec.iterations


def resolve_device(device: str) -> str:
    """The device that ``--device`` means on this machine.

    Raises:
        UsageError: if it asks for a GPU that is not there.
    """
    if device == "cpu" or (device == "auto" and "cuda" not in registry.rasterizers):
        return "cpu"
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if there else "cpu"
    if int(device.partition(":")[2] or 0) >= there:
        raise UsageError(f"--device {device}: torch {torch.__version__} finds {there} CUDA devices here")
    return device


def _methods(names: Sequence[str], known: KnownMethods) -> list[MethodSpec]:
    if not names:
        raise UsageError("no method is given; see: gsbench plugins")
    return [known.spec(name) for name in dict.fromkeys(names)]


def _metrics(names: Sequence[str] | None) -> list[str]:
    if names is None:
        from gsbench.metrics import DEFAULT_METRICS

        names = DEFAULT_METRICS
    return [registry.metrics.entry(name).name for name in dict.fromkeys(names)]


def _rates(spec: MethodSpec, names: Sequence[str]) -> list[RatePoint]:
    """The rate points of a method that `names` mean. A method with a single one runs at that whatever they are."""
    if len(spec.rates) == 1:
        return list(spec.rates)
    found: dict[str, RatePoint] = {}
    for name in names:
        for rate in spec.rates if name == "all" else [spec.rate(name)]:
            found[rate.name] = rate
    return list(found.values())


def _check_rates(methods: Sequence[MethodSpec], names: Sequence[str]) -> None:
    """Refuse names of rate points that no method has.

    Raises:
        UsageError: for the first one, with similar names.
    """
    known = {rate.name for spec in methods for rate in spec.rates}
    for name in names:
        if name not in known and name not in ("all", "default"):
            raise UsageError(f"no method of this run has a rate point {name!r}{did_you_mean(name, sorted(known))}")
    if not names:
        raise UsageError("no rate point is given; expected default, all, or names")


def _check_name(path: Path) -> None:
    """Refuse a path that JSON cannot hold.

    Raises:
        UsageError: if it is not text.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:  # Python stands in surrogates for bytes that are no characters
        raise UsageError(f"{os.fsencode(path)!r}: the name is not UTF-8; rename the folder") from None


def _require_base(methods: Sequence[MethodSpec]) -> None:
    """Refuse a base for methods that have none.

    Raises:
        UsageError: naming them, and the methods that have one.
    """
    without = [spec.name for spec in methods if spec.base is None]
    if without:
        specs: list[MethodSpec] = [entry.load() for entry in registry.methods.entries()]
        able = [spec.name for spec in specs if spec.base is not None]
        others = f"methods that do: {', '.join(able)}" if able else "no installed method does"
        raise UsageError(
            f"--base: {', '.join(without)} {'trains its' if len(without) == 1 else 'train their'} own model and "
            f"{'does' if len(without) == 1 else 'do'} not start from another; {others}"
        )


def _settings(texts: Sequence[str], methods: Sequence[MethodSpec]) -> dict[str, list[tuple[str, str]]]:
    """Settings by method, as (field, text)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for text in texts:
        method, field, value = split_setting(text, [spec.name for spec in methods])
        found.setdefault(method, []).append((field, value))
    return found


def _share_trainings(jobs: list[JobSpec]) -> list[JobSpec]:
    """The jobs, where several that need the same training let the first one do it."""
    leaders: dict[str, str] = {}
    ordered: list[JobSpec] = []
    for job in jobs:
        training = digest(
            {
                "method": job.method,
                "config": without_fields(job.config, job.encode_fields),
                "scene": [job.dataset, job.scene, job.protocol.hash],
                "seed": job.seed,
            }
        )
        leader = leaders.setdefault(training, job.id)
        ordered.append(job if leader == job.id else job.model_copy(update={"after": [*job.after, leader]}))
    return ordered


def _memory(scene: Scene) -> int:
    photos = sum(3 * view.width * view.height for view in scene.train)
    return _MEMORY_FLOOR + _MEMORY_PER_PHOTO_BYTE * photos
