"""Scores: rendered frames against the photographs of the held-out views."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from gsbench.bench.parallel import over_views
from gsbench.errors import JobError
from gsbench.metrics import find_metric, measure, unavailable
from gsbench.records import ViewMetrics
from gsbench.scenes import View

#: PSNR against the 8-bit render of the uncompressed model: the distortion that compression alone caused.
PSNR_TO_BASE: Final = "psnr_to_base"

#: Bytes per pixel of a frame, its photograph at a few times the resolution, and copies of them.
_IMAGE_BYTES: Final = 100


class Scores(NamedTuple):
    """Fields:
    means: metric -> mean over the views; None where a view has none.
    views: the metrics of each view.
    reasons: metric -> why its mean is None.
    """

    means: dict[str, float | None]
    views: list[ViewMetrics]
    reasons: dict[str, str]


def score_frames(
    frames: Sequence[Path],
    views: Sequence[View],
    metrics: Sequence[str],
    base_images: Sequence[Path] | None = None,
) -> Scores:
    """Score frames against the views' photographs, which are opened here. Pixels that a view's mask leaves out do not
    count, as `gsbench.metrics.measure` says. Several views are scored at a time, in bounded memory; the values are
    those of one after the other.

    Args:
        frames: ``.npy`` files, float32 [H, W, 3], not clamped; one per view.
        views: the held-out views.
        metrics: names, see `gsbench.metrics`.
        base_images: 8-bit images of the base's renders, one per view; adds the metric `PSNR_TO_BASE`.

    Raises:
        UsageError: if a metric is unknown.
        JobError: if a frame is not what it should be, or the numbers of frames and views differ.
        SceneError: if a photograph cannot be read.
    """
    if len(frames) != len(views) or (base_images is not None and len(base_images) != len(views)):
        raise JobError(f"{len(frames)} frames for {len(views)} views")
    scorer = _Scorer(metrics)
    bases: Sequence[Path | None] = [None] * len(views) if base_images is None else base_images
    found = over_views(
        lambda task: scorer.score(*task),
        list(zip(frames, views, bases, strict=True)),
        scorer.bytes_per_view(max((view.width * view.height for view in views), default=0)),
    )
    names = [*metrics, *([PSNR_TO_BASE] if base_images is not None else [])]
    per_view = [
        ViewMetrics(name=view.name, metrics={name: values[name][0] for name in names})
        for view, values in zip(views, found, strict=True)
    ]
    means = {name: _mean([values[name][0] for values in found]) for name in names}
    reasons = {
        name: _reason([(view.name, values[name][1]) for view, values in zip(views, found, strict=True)])
        for name in names
        if means[name] is None
    }
    return Scores(means, per_view, reasons)


#: What `measure` gives.
_Value = tuple[float | None, str | None]


class _Scorer:
    """Scores one view at a time; several threads may call it at once.

    Raises:
        UsageError: if a metric is unknown.
    """

    def __init__(self, metrics: Sequence[str]) -> None:
        self._specs = {name: find_metric(name) for name in metrics}
        #: Held while a metric is computed that takes one call at a time.
        self._alone = threading.Lock()

    def bytes_per_view(self, pixels: int) -> int:
        """Memory that a view of this size takes, photograph and frame included."""
        computed = [spec for name, spec in self._specs.items() if unavailable(name) is None]
        return max(
            (fixed + (_IMAGE_BYTES + each) * pixels for fixed, each in (spec.memory or (0, 0) for spec in computed)),
            default=_IMAGE_BYTES * pixels,
        )

    def score(self, frame_path: Path, view: View, base: Path | None) -> dict[str, _Value]:
        """The values by metric; with `base`, an 8-bit image, `PSNR_TO_BASE` among them."""
        # The photograph is needed once, and threads do not wait for each other as they do where it is kept.
        frame, truth, mask = load_frame(frame_path), view.read_pixels(), view.mask
        values = {}
        for name, spec in self._specs.items():
            with nullcontext() if spec.memory is not None else self._alone:
                values[name] = measure(name, frame, truth, mask)
        if base is not None:
            values[PSNR_TO_BASE] = measure("psnr", frame, _load_image(base), mask)
        return values


def load_frame(path: Path) -> Tensor:
    """A rendered frame, float32 [H, W, 3].

    Raises:
        JobError: if the file is not one.
    """
    try:
        frame = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise JobError(f"{path} is not a frame: {error}") from error
    if not isinstance(frame, np.ndarray) or frame.dtype != np.float32 or frame.ndim != 3 or frame.shape[2] != 3:
        raise JobError(f"{path} is not a frame: expected float32 [H, W, 3]")
    return torch.from_numpy(frame)


def save_images(frames: Sequence[Path], paths: Sequence[Path]) -> None:
    """Write frames, ``.npy`` files, as 8-bit PNGs, several at a time."""
    size = max((path.stat().st_size for path in frames), default=0)
    over_views(lambda pair: save_image(load_frame(pair[0]), pair[1]), list(zip(frames, paths, strict=True)), 4 * size)


def save_image(frame: Tensor, path: Path) -> None:
    """Write a frame as an 8-bit PNG."""
    Image.fromarray(eight_bit(frame)).save(path, format="PNG", compress_level=3)


def eight_bit(frame: Tensor) -> npt.NDArray[np.uint8]:
    """A frame as uint8 [H, W, 3]: clamped to [0, 1] and rounded, as `psnr` sees it."""
    pixels: npt.NDArray[np.uint8] = (frame.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
    return pixels


def _load_image(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB")))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _reason(found: Sequence[tuple[str, str | None]]) -> str:
    """One reason for a mean that is not there, from those of the views, by name; None where a view has a value."""
    if not found:
        return "the scene has no held-out views"
    missing = [(name, text) for name, text in found if text is not None]
    if len({text for _, text in missing}) == 1 and len(missing) == len(found):
        return str(missing[0][1])
    return f"{len(missing)} of {len(found)} views have none, such as {missing[0][0]}: {missing[0][1]}"
