"""What a leaderboard is made of: frozen objects that records are loaded into, and from which all that is published is
written (site, CSV, JSON, Markdown, LaTeX, figures).

    Board ── Section (one protocol, one data set)
              ├── Entry (one method at one rate point with one set of settings): its row in the table
              │     └── SceneEntry (that on one scene, over its seeds)
              │           └── Result (one record, its files, its provenance)
              ├── BdRate (one method against the anchor, in one metric)
              └── tie: whether the difference of two rows lies within the spread of their seeds
          ├── MethodCard (what is known of a method)
          └── Reported (a number from a publication; never in a section)

Everything is plain data in a fixed order, so equal records give equal boards. Mappings keep their order. Byte counts
are bytes, MB are 10^6 bytes, times are seconds unless their name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from gsbench.records import Environment, Record

#: How far a number was checked. claimed: its record says so. decoded: somebody decoded the artifact again in a sealed
#: process, rendered, scored, and found the record's numbers. reproduced: somebody repeated the training as well.
Trust = Literal["claimed", "decoded", "reproduced"]


@dataclass(frozen=True)
class MetricColumn:
    """How a metric is shown.

    Fields:
        name: as in records ("psnr").
        title: for headings ("PSNR").
        unit: "dB", or "" for plain numbers.
        higher_is_better: True for PSNR and SSIM, False for LPIPS.
        digits: decimals.
        description: one sentence: what is computed.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    digits: int
    description: str


#: Metrics of gsbench, in the order of columns. Others (of plugins) come after them, see `metric_column`.
METRIC_COLUMNS: Final = (
    MetricColumn("psnr", "PSNR", "dB", True, 2, "Pooled over pixels and channels, of renders rounded to 8 bit."),
    MetricColumn("ssim", "SSIM", "", True, 4, "11x11 window, sigma 1.5, zero-padded, of float renders."),
    MetricColumn("lpips_vgg", "LPIPS", "", False, 4, "VGG16, inputs in [-1, 1], of renders rounded to 8 bit."),
    MetricColumn(
        "lpips_vgg_raw", "LPIPS [0,1]", "", False, 4, "VGG16, inputs in [0, 1] as the original 3DGS code has."
    ),
    MetricColumn("lpips_alex", "LPIPS Alex", "", False, 4, "AlexNet, inputs in [-1, 1], of renders rounded to 8 bit."),
    MetricColumn("psnr_channelwise", "PSNR (channels)", "dB", True, 2, "Mean over channels, of float renders."),
    MetricColumn("psnr_to_base", "PSNR to base", "dB", True, 2, "Against renders of the uncompressed base model."),
)


def metric_column(name: str) -> MetricColumn:
    """How the metric `name` is shown; one that gsbench does not know goes by its name, higher taken for better."""
    for column in METRIC_COLUMNS:
        if column.name == name:
            return column
    return MetricColumn(name, name, "", True, 4, "A metric of a plugin.")


@dataclass(frozen=True)
class Value:
    """A number over seeds, or why there is none.

    Fields:
        mean: over seeds; None if it is not there, then `reason` says why.
        spread: sample standard deviation over seeds (n - 1 in the denominator); None with fewer than two.
        seeds: how many seeds `mean` is over.
        reason: why `mean` is None, else None.
    """

    mean: float | None
    spread: float | None = None
    seeds: int = 1
    reason: str | None = None


def within_spread(a: Value, b: Value) -> bool | None:
    """Whether two results differ by no more than the standard deviation of the difference of one run of each,
    sqrt(s_a^2 + s_b^2), so that their order says nothing. A single run counts with s = 0.

    None where that cannot be said: a mean is missing, or neither has a spread.
    """
    if a.mean is None or b.mean is None or (a.spread is None and b.spread is None):
        return None
    return abs(a.mean - b.mean) <= math.hypot(a.spread or 0.0, b.spread or 0.0)


@dataclass(frozen=True)
class Verification:
    """What ``gsbench verify --write`` left beside a record (``<rate>[.seed].verified.json``).

    Fields:
        status: "decoded" or "reproduced".
        gsbench: version that verified.
        environment: the machine that verified.
        differences: metric -> value found minus value of the record.
        tolerances: metric -> the largest difference that was accepted.
    """

    status: Trust
    gsbench: str
    environment: Environment
    differences: Mapping[str, float]
    tolerances: Mapping[str, float]


@dataclass(frozen=True)
class Provenance:
    """Where a number comes from.

    Fields:
        trust: claimed, decoded or reproduced.
        record_sha256: of the record file.
        artifact_sha256, artifact_bytes: of the artifact, as the record has them; None for failed jobs.
        artifact_checked: True if the artifact is there and its size and hash were found to be these.
        decoded_sha256: over the decoded tensors.
        scene_hash: over the scene's input files.
        environment: machine and versions that decoded and rendered; None where unknown.
        commit: Git commit of gsbench, "-dirty" appended where files differed from it; None for installed releases.
        distribution, version, digest: of the method's plugin.
        isolation: what kept the decoder from everything but the artifact.
        verification: what a later check found, if there was one.
    """

    trust: Trust
    record_sha256: str
    artifact_sha256: str | None
    artifact_bytes: int | None
    artifact_checked: bool
    decoded_sha256: str | None
    scene_hash: str | None
    environment: Environment | None
    commit: str | None
    distribution: str
    version: str
    digest: str
    isolation: str | None
    verification: Verification | None = None


@dataclass(frozen=True)
class Result:
    """One record: one method at one rate point on one scene with one seed.

    Fields:
        record: all of it (`gsbench.records.Record`; frozen).
        name: ``<protocol>/<dataset>/<scene>/<method>/<rate>[.seed].json``, with forward slashes; the same on every
            machine, so what is published names this one. Several results folders never hold the same name twice in a
            board.
        path: the record file on this machine.
        artifact: the artifact on this machine, checked (size and SHA-256); None where it is not there.
        provenance: where its numbers come from.
        rerun: the exact command that repeats it (``gsbench run ...``).
        stages: folder of ``stages/`` of the results folder that the record lies in, with renders of the held-out views
            if the run was made here; None for records that were copied elsewhere.
    """

    record: Record
    name: str
    path: Path
    artifact: Path | None
    provenance: Provenance
    rerun: str
    stages: Path | None = None

    @property
    def seed(self) -> int:
        """The record's seed."""
        return self.record.seed


@dataclass(frozen=True)
class SceneEntry:
    """One method at one rate point on one scene, over its seeds.

    Fields:
        scene: its name.
        results: the good records, by seed; empty if all failed.
        failed: records of jobs that failed or were skipped, by seed.
        bytes: size of the artifact.
        metrics: metric -> value, in the section's order; every metric of the section is there (maybe with a reason).
        gaussians, anchors: counts.
        train_seconds, encode_seconds, decode_seconds: wall-clock.
        render_ms: median per view.
        fps: 1000 / render_ms.
        peak_host_bytes, peak_gpu_bytes: most memory that a stage held.
        sections: section of the artifact -> mean bytes over seeds; the values add up to `bytes`.
    """

    scene: str
    results: tuple[Result, ...]
    failed: tuple[Result, ...]
    bytes: Value
    metrics: Mapping[str, Value]
    gaussians: Value
    anchors: Value
    train_seconds: Value
    encode_seconds: Value
    decode_seconds: Value
    render_ms: Value
    fps: Value
    peak_host_bytes: Value
    peak_gpu_bytes: Value
    sections: Mapping[str, float]

    @property
    def megabytes(self) -> float | None:
        """Mean size in MB (10^6 bytes)."""
        return None if self.bytes.mean is None else self.bytes.mean / 1e6


@dataclass(frozen=True)
class Entry:
    """One method at one rate point with one set of settings on a data set: a row of the table.

    A mean over the data set needs all its scenes: with fewer, the values here are None with a reason ("3/9 scenes"),
    and the scenes' own values are in `scenes`. The mean is over scenes of the means over seeds; the spread is of the
    means over scenes that each seed gives, for the seeds that all scenes have.

    Fields:
        key: unique in the section and stable: ``method/rate`` or ``method/rate/variant``.
        method, rate: as in records.
        variant: "" unless records of this method and rate differ in their settings; then what tells them apart
            ("7,000 steps", "own base", "settings 3f9a"). Different settings are never averaged.
        label: for people: "hac++ low", with the variant in parentheses.
        iterations: training steps (the same for all scenes), None where the method has none.
        per_scene_settings: names of settings that were chosen per scene.
        pretrained: True if weights that ship with the plugin took part in decoding.
        config: the settings, without those chosen per scene.
        scenes: per scene, in the section's order; only those with a record.
        scenes_present, scenes_needed: how many have a good record, and how many the data set has.
        seeds: those that every present scene has, ascending.
        bytes, metrics, gaussians, anchors, train_seconds, encode_seconds, decode_seconds, fps, peak_host_bytes,
            peak_gpu_bytes: means over the data set, as in `SceneEntry`. fps is 1000 / mean render_ms.
        trust: the weakest of its results.
        pareto: metric -> whether no other entry of the section is both smaller (or equal) and better (or equal).
        ties: metric -> keys of the neighbors in the order by that metric from which it differs by no more than the
            spread (`within_spread`); "bytes" is among the metrics.
        notes: what a reader should know ("2 versions of the plugin", "the artifact of 1 scene is not here").
    """

    key: str
    method: str
    rate: str
    variant: str
    label: str
    iterations: int | None
    per_scene_settings: tuple[str, ...]
    pretrained: bool
    config: Mapping[str, object]
    scenes: tuple[SceneEntry, ...]
    scenes_present: int
    scenes_needed: int
    seeds: tuple[int, ...]
    bytes: Value
    metrics: Mapping[str, Value]
    gaussians: Value
    anchors: Value
    train_seconds: Value
    encode_seconds: Value
    decode_seconds: Value
    fps: Value
    peak_host_bytes: Value
    peak_gpu_bytes: Value
    trust: Trust
    pareto: Mapping[str, bool]
    ties: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all scenes of the data set are there."""
        return self.scenes_present == self.scenes_needed

    @property
    def megabytes(self) -> float | None:
        """Mean size in MB (10^6 bytes)."""
        return None if self.bytes.mean is None else self.bytes.mean / 1e6

    @property
    def curve(self) -> str:
        """What its rate points make a curve with: ``method`` or ``method (variant)``."""
        return f"{self.method} ({self.variant})" if self.variant else self.method


@dataclass(frozen=True)
class BdScene:
    """A BD-rate on one scene.

    Fields:
        scene: its name.
        percent: mean difference in bytes at equal quality, negative for fewer bytes; None where it cannot be computed.
        reason: why `percent` is None, else None.
        overlap: the interval of the metric that both curves cover, (low, high); None if there is none.
        overlap_share: its length divided by that of the union of both curves' intervals, in [0, 1].
        points, anchor_points: rate points of either curve that are on its Pareto front.
        dropped, anchor_dropped: rate points that are not, and do not count.
        cautions: why to read the number with care ("3 rate points").
    """

    scene: str
    percent: float | None
    reason: str | None
    overlap: tuple[float, float] | None
    overlap_share: float
    points: int
    anchor_points: int
    dropped: int = 0
    anchor_dropped: int = 0
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class BdRate:
    """BD-rate of one curve against another on a data set.

    Fields:
        curve, anchor: see `Entry.curve`.
        metric: in which quality is measured.
        percent: mean over the scenes; None unless every scene of the data set has one.
        reason: why `percent` is None, else None.
        scenes: per scene, in the section's order.
        scenes_present, scenes_needed: scenes that have one, and scenes of the data set.
        cautions: those of the scenes, each once.
    """

    curve: str
    anchor: str
    metric: str
    percent: float | None
    reason: str | None
    scenes: tuple[BdScene, ...]
    scenes_present: int
    scenes_needed: int
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """All that was measured with one protocol on one data set.

    Fields:
        slug: unique in the board, for names of files and addresses: ``gs1600-demo`` ([a-z0-9-]+).
        protocol, protocol_hash: results of two protocols, or of two definitions of one id, are never in one section.
        dataset: as in records.
        dataset_title: for people.
        scenes: all scenes of the data set, in its own order; for data sets that gsbench does not know (folders of
            one's own), those that have a record, by name.
        known_dataset: False for those: then "all scenes" are those that any method has.
        metrics: the columns that at least one record has a value or a reason for.
        entries: the rows, by method and variant; within those from the smallest to the largest.
        curves: `Entry.curve` of the entries, each once, in their order.
        anchor: the curve that BD-rates are against by default; None if no curve has two rate points.
        bd_rates: of every curve against every other curve with two or more rate points, in every metric of `metrics`
            (so that readers may choose the anchor); see `bd_rate`.
        failed: records of jobs that failed or were skipped, by name.
        base_entries: keys of entries that others take as `base` (their line is drawn through plots), in order.
        notes: for readers of the whole section.
    """

    slug: str
    protocol: str
    protocol_hash: str
    dataset: str
    dataset_title: str
    scenes: tuple[str, ...]
    known_dataset: bool
    metrics: tuple[MetricColumn, ...]
    entries: tuple[Entry, ...]
    curves: tuple[str, ...]
    anchor: str | None
    bd_rates: tuple[BdRate, ...]
    failed: tuple[Result, ...] = ()
    base_entries: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def entry(self, key: str) -> Entry:
        """The entry with this key.

        Raises:
            KeyError: if there is none.
        """
        for entry in self.entries:
            if entry.key == key:
                return entry
        raise KeyError(key)

    def bd_rate(self, curve: str, anchor: str, metric: str) -> BdRate | None:
        """The BD-rate of a curve against another, None where there is none (the curve itself, an anchor of one
        point).
        """
        for found in self.bd_rates:
            if (found.curve, found.anchor, found.metric) == (curve, anchor, metric):
                return found
        return None


@dataclass(frozen=True)
class MethodCard:
    """What is known of a method. What a plugin says is there only where the plugin is installed.

    Fields:
        name: as in records.
        summary: one line; "" where the plugin is not installed.
        paper: title or address; "" if there is none.
        kind: "trained", "post" or "format"; "" where not installed.
        base: the method it starts from, or None.
        distribution: the plugin's distribution, as records have it.
        versions: of the distribution, in the records of the board.
        license: SPDX expression or text of the distribution's metadata; "" if unknown.
        homepage: address from the metadata; "" if unknown.
        rates: rate points in the board, from the smallest to the largest.
        iterations: training steps that occur in the board, ascending.
        install: command that installs the plugin.
        rerun: section slug -> command that repeats all of this method's results in the section.
    """

    name: str
    summary: str
    paper: str
    kind: str
    base: str | None
    distribution: str
    versions: tuple[str, ...]
    license: str
    homepage: str
    rates: tuple[str, ...]
    iterations: tuple[int, ...]
    install: str
    rerun: Mapping[str, str]


@dataclass(frozen=True)
class Reported:
    """A row that a publication states. It was not measured here, and is never in a table with numbers that were.

    Fields:
        method, variant: as published; variant may be "".
        dataset: gsbench's name of the data set ("mipnerf360").
        psnr, ssim, lpips: as published, None where not stated.
        megabytes: size in MB of 10^6 bytes, None where not stated.
        gaussians: count, None where not stated.
        source: where the numbers were read.
        source_url: its address; "" if it has none.
    """

    method: str
    variant: str
    dataset: str
    psnr: float | None
    ssim: float | None
    lpips: float | None
    megabytes: float | None
    gaussians: int | None
    source: str
    source_url: str = ""


@dataclass(frozen=True)
class Board:
    """A leaderboard.

    Fields:
        title: for people.
        sections: by protocol (gs1600 first), then data set.
        methods: name -> card, by name.
        reported: rows from publications, by data set, then as published.
        gsbench: version that built the board.
        records: number of records in the board, failed ones included.
    """

    title: str
    sections: tuple[Section, ...]
    methods: Mapping[str, MethodCard]
    reported: tuple[Reported, ...] = ()
    gsbench: str = ""
    records: int = field(default=0)
