"""What of a leaderboard's files goes into its site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


def _silent(message: str) -> None:
    """Progress that nobody wants to see."""


@dataclass(frozen=True)
class SiteOptions:
    """How to write a site.

    Fields:
        images: show renders beside ground truth, where both can be had: renders from the results folder or from the
            artifact, ground truth from the scene.
        views: held-out views shown per scene, spread evenly over all of them.
        lossless_pixels: images up to this many pixels are stored without loss, larger ones as WebP of `quality`.
        quality: of lossy WebP, 1 to 100.
        viewer: make what the viewer in the page shows, where the artifact is there.
        viewer_gaussians: at most this many Gaussians per viewer file; those that contribute least are left out.
        artifacts: copy artifacts into the site for download, those of at most `artifact_bytes`.
        artifact_bytes: size of the largest artifact that is copied.
        records: copy record files into the site for download.
        scene_folders: folders of scenes that were given as ``path:/my/scene``, by the scene's name in records.
        device: for rendering, "cpu" or "cuda:N".
        threads: CPU threads for rendering; None for all that may be used.
        progress: called with a line about what is being done.

    Raises:
        ValueError: if a number has no meaning.
    """

    images: bool = True
    views: int = 3
    lossless_pixels: int = 2**19
    quality: int = 92
    viewer: bool = True
    viewer_gaussians: int = 200_000
    artifacts: bool = True
    artifact_bytes: int = 100_000_000
    records: bool = True
    scene_folders: Mapping[str, Path] = field(default_factory=dict)
    device: str = "cpu"
    threads: int | None = None
    progress: Callable[[str], None] = _silent

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"views: expected 1 or more, got {self.views}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality: expected 1 to 100, got {self.quality}")
        if self.viewer_gaussians < 1:
            raise ValueError(f"viewer_gaussians: expected 1 or more, got {self.viewer_gaussians}")
