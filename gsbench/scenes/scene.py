"""What a scene is once it is loaded: cameras, images on demand, points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gsbench.errors import SceneError
from gsbench.protocols import Protocol
from gsbench.splats import Camera


@dataclass(frozen=True, eq=False)
class View(Camera):
    """A camera with its photograph, which is read when it is first asked for.

    `load_image` returns uint8 [H, W, 3]; it is None where the ground truth is sealed off (held-out views during
    training and encoding). `load_mask` returns bool [H, W]; it is None where every pixel counts.
    """

    load_image: Callable[[], npt.NDArray[np.uint8]] | None = field(default=None, repr=False)
    load_mask: Callable[[], npt.NDArray[np.bool_]] | None = field(default=None, repr=False)

    @cached_property
    def pixels(self) -> Tensor:
        """Ground truth, uint8 [H, W, 3]; kept after the first access. Raises as `read_pixels`."""
        return self.read_pixels()

    def read_pixels(self) -> Tensor:
        """Ground truth, uint8 [H, W, 3], read anew and not kept; threads can read several views at once.

        Raises:
            SceneError: if the image is sealed off, unreadable or of another size than the camera.
        """
        if self.load_image is None:
            raise SceneError(f"the image of held-out view {self.name!r} is not available here")
        pixels = self.load_image()
        if pixels.shape != (self.height, self.width, 3):
            raise SceneError(
                f"image {self.name!r}: expected {self.width}x{self.height} RGB, got shape {list(pixels.shape)}"
            )
        return torch.from_numpy(pixels)

    @cached_property
    def mask(self) -> Tensor | None:
        """Which pixels count in training and in scores, bool [H, W]; None where all do. Kept after the first access.

        `Trainer` and the scores of records leave the others out; a training loop of one's own has to do the same.

        Raises:
            SceneError: if the mask is unreadable or of another size than the camera.
        """
        if self.load_mask is None:
            return None
        mask = self.load_mask()
        if mask.shape != (self.height, self.width) or mask.dtype != np.bool_:
            raise SceneError(
                f"mask of {self.name!r}: expected {self.width}x{self.height} booleans, "
                f"got {mask.dtype} of shape {list(mask.shape)}"
            )
        return torch.from_numpy(mask)

    @property
    def original_image(self) -> Tensor:
        """Ground truth as the original code has it: float32 [3, H, W] in [0, 1]."""
        return self.pixels.permute(2, 0, 1).float() / 255.0

    def sealed(self) -> View:
        """The same view without its photograph and its mask."""
        return replace(self, load_image=None, load_mask=None)


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Colored points to start from: xyz float32 [P, 3] in scene units, rgb uint8 [P, 3]."""

    xyz: Tensor
    rgb: Tensor

    def __len__(self) -> int:
        return int(self.xyz.shape[0])


@dataclass(frozen=True, eq=False)
class Scene:
    """A loaded scene under a protocol.

    Fields:
        dataset, name: as in records; a folder given with ``path:`` has dataset "path".
        protocol: the protocol that made the images and the split.
        train, test: views sorted by name; disjoint.
        points: the starting points (SfM, or random where the data set has none).
        hash: SHA-256 over the contents of every input file, with their relative names.
        notes: what a reader should know (photos without pose that were left out, ...).
        files: the scene's manifest: the input files by relative name, and the SHA-256 of each; empty where a loader
            does not say.
    """

    dataset: str
    name: str
    protocol: Protocol
    train: Sequence[View]
    test: Sequence[View]
    points: PointCloud
    hash: str
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def background(self) -> Tensor:
        """RGB in [0, 1], float32 [3]."""
        return torch.tensor(self.protocol.background, dtype=torch.float32)

    @cached_property
    def extent(self) -> float:
        """Radius of the training cameras around their mean, times 1.1 (3DGS's `spatial_lr_scale`), scene units.

        1 where all cameras are at one place: nothing is learned at a scale of 0.
        """
        centers = torch.stack([v.camera_center.double() for v in self.train])
        radius = float((centers - centers.mean(dim=0)).norm(dim=1).max())
        return 1.1 * radius if radius > 1e-6 * (1.0 + float(centers.abs().max())) else 1.0

    def for_training(self) -> Scene:
        """The scene as methods see it: the held-out views are gone, images and cameras alike."""
        return replace(self, test=())
