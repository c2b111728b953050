"""Scores: rendered frames against the photographs of the held-out views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from gsbench.errors import JobError
from gsbench.metrics import measure
from gsbench.records import ViewMetrics
from gsbench.scenes import View

#: PSNR against the 8-bit render of the uncompressed model: the distortion that compression alone caused.
PSNR_TO_BASE: Final = "psnr_to_base"


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
    count, as `gsbench.metrics.measure` says.

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
    names = [*metrics, *([PSNR_TO_BASE] if base_images is not None else [])]
    per_view: list[ViewMetrics] = []
    why: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    for index, (path, view) in enumerate(zip(frames, views, strict=True)):
        frame, truth, mask = load_frame(path), view.pixels, view.mask
        values: dict[str, float | None] = {}
        for name in names:
            if name == PSNR_TO_BASE and base_images is not None:
                value, reason = measure("psnr", frame, _load_image(base_images[index]), mask)
            else:
                value, reason = measure(name, frame, truth, mask)
            values[name] = value
            if reason is not None:
                why[name].append((view.name, reason))
        per_view.append(ViewMetrics(name=view.name, metrics=values))
    means = {name: _mean([view.metrics[name] for view in per_view]) for name in names}
    reasons = {name: _reason(found, len(views)) for name, found in why.items() if means[name] is None}
    return Scores(means, per_view, reasons)


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


def _reason(found: Sequence[tuple[str, str]], views: int) -> str:
    """One reason for a mean that is not there."""
    if not found:
        return "the scene has no held-out views"
    texts = {text for _, text in found}
    if len(texts) == 1 and len(found) == views:
        return found[0][1]
    return f"{len(found)} of {views} views have none, such as {found[0][0]}: {found[0][1]}"
