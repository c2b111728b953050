"""`Camera`: a pinhole view, with the names of both vocabularies of the field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.errors import UsageError

CAMERAS_SCHEMA: Final = 1

#: Nothing nearer than this (scene units along the optical axis) is drawn; shared with the rasterizer.
NEAR: Final = 0.01
FAR: Final = 1e10

#: As large as an image file can be (JPEG's limit is this; PNG's is no practical one).
_MAX_SIDE: Final = 65535
_FLOAT32_MAX: Final = float(torch.finfo(torch.float32).max)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera. The camera looks along +z, x points right and y down; pixel (row i, column j) is sampled
    at (x, y) = (j + 0.5, i + 0.5).

    Shapes and units:
        name: the image's name, unique within a scene.
        viewmat: float32 [4, 4], world to camera, row-major (a point is ``viewmat @ [x, y, z, 1]``).
        K: float32 [3, 3], intrinsics in pixels.
        width, height: pixels.

    The read-only properties FoVx, FoVy, world_view_transform, full_proj_transform, camera_center, image_name,
    image_width and image_height carry the names and conventions of the original 3DGS code (matrices transposed,
    to be multiplied from the right).
    """

    name: str
    viewmat: Tensor = field(repr=False)
    K: Tensor = field(repr=False)
    width: int
    height: int

    def __post_init__(self) -> None:
        for label, matrix, shape in (("viewmat", self.viewmat, [4, 4]), ("K", self.K, [3, 3])):
            if list(matrix.shape) != shape or matrix.dtype != torch.float32:
                raise ValueError(
                    f"{label} of camera {self.name!r}: expected float32 {shape}, "
                    f"got {matrix.dtype} {list(matrix.shape)}"
                )
        if self.width < 0 or self.height < 0:
            raise ValueError(f"camera {self.name!r}: negative size {self.width}x{self.height}")

    @property
    def image_name(self) -> str:
        """The image's name."""
        return self.name

    @property
    def image_width(self) -> int:
        """Width in pixels."""
        return self.width

    @property
    def image_height(self) -> int:
        """Height in pixels."""
        return self.height

    @cached_property
    def FoVx(self) -> float:  # noqa: N802 (the original code's name)
        """Horizontal field of view in radians."""
        return 2.0 * math.atan(self.width / (2.0 * float(self.K[0, 0])))

    @cached_property
    def FoVy(self) -> float:  # noqa: N802
        """Vertical field of view in radians."""
        return 2.0 * math.atan(self.height / (2.0 * float(self.K[1, 1])))

    @cached_property
    def camera_center(self) -> Tensor:
        """Position of the camera in the world, float32 [3]."""
        rotation, translation = self.viewmat[:3, :3].double(), self.viewmat[:3, 3].double()
        return (-(rotation.T @ translation)).float()

    @cached_property
    def world_view_transform(self) -> Tensor:
        """World to camera, transposed, float32 [4, 4]."""
        return self.viewmat.T.contiguous()

    @cached_property
    def projection_matrix(self) -> Tensor:
        """Camera to clip space (near 0.01, far 100, z in [0, 1]), transposed, float32 [4, 4]."""
        near, far = 0.01, 100.0
        fx, fy, cx, cy = (float(self.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        p = torch.zeros(4, 4)
        p[0, 0] = 2.0 * fx / self.width
        p[1, 1] = 2.0 * fy / self.height
        p[0, 2] = 2.0 * cx / self.width - 1.0
        p[1, 2] = 2.0 * cy / self.height - 1.0
        p[2, 2] = far / (far - near)
        p[2, 3] = -(far * near) / (far - near)
        p[3, 2] = 1.0
        return p.T.contiguous()

    @cached_property
    def full_proj_transform(self) -> Tensor:
        """World to clip space, transposed, float32 [4, 4]."""
        return self.world_view_transform @ self.projection_matrix.to(self.viewmat.device)

    def to(self, device: torch.device | str) -> Camera:
        """The same camera with its matrices on another device."""
        return Camera(self.name, self.viewmat.to(device), self.K.to(device), self.width, self.height)

    def to_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` restores the camera exactly."""
        return {
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "viewmat": self.viewmat.tolist(),
            "K": self.K.tolist(),
        }

    @staticmethod
    def from_json(value: Any) -> Camera:
        """Inverse of `to_json`.

        Raises:
            UsageError: if a field is missing or malformed, or a number is not finite; the message names it.
        """
        if not isinstance(value, dict):
            raise UsageError(f"malformed camera: expected an object, got {value!r:.80}")
        name = value.get("name")
        where = f"malformed camera {name!r:.80}"
        if not isinstance(name, str):
            raise UsageError(f"{where}: name: expected a string")
        sizes = []
        for label in ("width", "height"):
            size = value.get(label)
            if type(size) is not int or not 0 <= size <= _MAX_SIDE:
                raise UsageError(f"{where}: {label}: expected 0 to {_MAX_SIDE} pixels, got {size!r:.80}")
            sizes.append(size)
        viewmat, K = (_matrix(value.get(key), n, f"{where}: {key}") for key, n in (("viewmat", 4), ("K", 3)))
        return Camera(name, viewmat, K, *sizes)


def _matrix(rows: object, n: int, where: str) -> Tensor:
    """A float32 [n, n] from JSON's lists of numbers. Every number must be finite, as float32 too.

    Raises:
        UsageError: if it is anything else.
    """
    expected = f"{where}: expected {n} lists of {n} finite numbers"
    if not (isinstance(rows, list) and len(rows) == n and all(isinstance(r, list) and len(r) == n for r in rows)):
        raise UsageError(f"{expected}, got {rows!r:.80}")
    for number in (number for row in rows for number in row):
        # The comparison is false for NaN, and safe for integers too long for a float.
        if type(number) not in (int, float) or not -_FLOAT32_MAX <= number <= _FLOAT32_MAX:
            raise UsageError(f"{expected}, got {number!r:.80}")
    return torch.tensor([[float(number) for number in row] for row in rows], dtype=torch.float32)


def cameras_to_json(cameras: Iterable[Camera]) -> str:
    """The text of a ``cameras.json`` file, from which `cameras_from_json` restores every bit.

    Raises:
        ValueError: if a matrix has a value that is not finite.
    """
    value = {"schema": CAMERAS_SCHEMA, "cameras": [c.to_json() for c in cameras]}
    return json.dumps(value, indent=1, allow_nan=False)


def cameras_from_json(text: str) -> Sequence[Camera]:
    """Read the text of a ``cameras.json`` file.

    Raises:
        UsageError: if the text is not JSON of this schema.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or an absurdly long integer
        raise UsageError(f"cameras.json is not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("schema") != CAMERAS_SCHEMA:
        raise UsageError(f"cameras.json: expected an object with schema {CAMERAS_SCHEMA}")
    cameras = value.get("cameras")
    if not isinstance(cameras, list):
        raise UsageError(f"cameras.json: cameras: expected a list, got {cameras!r:.80}")
    return [Camera.from_json(c) for c in cameras]
