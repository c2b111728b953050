"""What a COLMAP model says, checked: cameras, posed images, points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.errors import SceneError

#: Number of each camera model in binary files, and its name (COLMAP, src/colmap/sensor/models.h).
CAMERA_MODELS: Final[Mapping[int, str]] = {
    0: "SIMPLE_PINHOLE",
    1: "PINHOLE",
    2: "SIMPLE_RADIAL",
    3: "RADIAL",
    4: "OPENCV",
    5: "OPENCV_FISHEYE",
    6: "FULL_OPENCV",
    7: "FOV",
    8: "SIMPLE_RADIAL_FISHEYE",
    9: "RADIAL_FISHEYE",
    10: "THIN_PRISM_FISHEYE",
    11: "RAD_TAN_THIN_PRISM_FISHEYE",
    12: "SIMPLE_DIVISION",
    13: "DIVISION",
    14: "SIMPLE_FISHEYE",
    15: "FISHEYE",
    16: "EUCM",
    17: "EQUIRECTANGULAR",
}
#: The models that are read: how many focal lengths and how many coefficients of distortion they have.
_LENSES: Final[Mapping[str, tuple[int, int]]] = {
    "PINHOLE": (2, 0),
    "SIMPLE_PINHOLE": (1, 0),
    "SIMPLE_RADIAL": (1, 1),
    "RADIAL": (1, 2),
    "OPENCV": (2, 4),
}
#: The models that are read, and how many parameters they have: focal lengths, principal point, distortion.
SUPPORTED_MODELS: Final[Mapping[str, int]] = {name: n_f + 2 + n_d for name, (n_f, n_d) in _LENSES.items()}

#: Coordinates beyond this overflow when float32 code squares them.
MAX_COORDINATE: Final = 1e18
#: Bounds of focal lengths and principal points, in pixels: far outside of what any camera has.
MIN_FOCAL: Final = 1e-3
MAX_PIXELS: Final = 1e9
#: Bound of coefficients of distortion, likewise; lenses have below 1.
MAX_DISTORTION: Final = 100.0
#: Image sides: the limit of JPEG.
MAX_SIDE: Final = 65535
#: Bytes in an image's name.
MAX_NAME: Final = 1024
#: Ids are unsigned 32-bit in the files, and the largest value means "none".
MAX_ID: Final = 2**32 - 2


@dataclass(frozen=True)
class ColmapCamera:
    """Intrinsics shared by one or more images, in pixels of a width x height image (pixel centers at .5).

    `model` is one of `SUPPORTED_MODELS`; in SIMPLE_PINHOLE, SIMPLE_RADIAL and RADIAL, fx == fy. `distortion` holds
    COLMAP's coefficients: k (SIMPLE_RADIAL), k1 k2 (RADIAL), k1 k2 p1 p2 (OPENCV), none for pinhole models.
    """

    id: int
    model: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    @property
    def params(self) -> tuple[float, ...]:
        """The parameters in the order of COLMAP's files."""
        focal = (self.fx,) if _LENSES.get(self.model, (2, 0))[0] == 1 else (self.fx, self.fy)
        return (*focal, self.cx, self.cy, *self.distortion)

    @property
    def distorted(self) -> bool:
        """Whether photos of this camera differ from those of a pinhole camera."""
        return any(self.distortion)


@dataclass(frozen=True)
class ColmapImage:
    """A posed photograph: x_camera = R(qvec) x_world + tvec, with the camera looking along +z, y down.

    qvec is wxyz of norm 1, tvec in scene units; `name` is the file's path inside the image folder, with "/".
    """

    id: int
    qvec: tuple[float, float, float, float]
    tvec: tuple[float, float, float]
    camera_id: int
    name: str

    @property
    def rotation(self) -> npt.NDArray[np.float64]:
        """World to camera, float64 [3, 3]."""
        w, x, y, z = self.qvec
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )

    @property
    def center(self) -> npt.NDArray[np.float64]:
        """Position of the camera in the world, float64 [3]."""
        center: npt.NDArray[np.float64] = -(self.rotation.T @ np.array(self.tvec))
        return center


def _no_points() -> npt.NDArray[np.float64]:
    return np.zeros((0, 3))


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """A sparse reconstruction.

    Shapes and units:
        cameras, images: by id.
        xyz: float64 [P, 3] in scene units, in the order of the file.
        rgb: uint8 [P, 3].
        error: float64 [P], mean reprojection error in pixels (-1 where unknown); made of -1 if None is given.
    """

    cameras: Mapping[int, ColmapCamera]
    images: Mapping[int, ColmapImage]
    xyz: npt.NDArray[np.float64] = field(default_factory=_no_points)
    rgb: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    error: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.error is None:
            object.__setattr__(self, "error", np.full(len(self.xyz), -1.0))

    @property
    def errors(self) -> npt.NDArray[np.float64]:
        """`error`, which is never None once the model is made."""
        assert self.error is not None
        return self.error


def check_name(where: str, name: str) -> str:
    """Return `name` if it is a relative path that stays inside the image folder.

    Raises:
        SceneError: if it is absolute, climbs out, or cannot be a file's name.
    """
    parts = name.split("/")
    if not name or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        raise SceneError(f"{where}: image name of {len(name)} characters; expected 1 to {MAX_NAME} bytes")
    if not name.isprintable():
        raise SceneError(f"{where}: image name {name!r} has control characters; expected printable text")
    drive = len(name) > 1 and name[1] == ":"
    if name.startswith(("/", "\\")) or drive or any(p in ("", ".", "..") for p in parts) or "..\\" in name:
        raise SceneError(f"{where}: image name {name!r}; expected a path that stays inside the image folder")
    return name


def _finite(where: str, label: str, values: Iterable[float], limit: float = MAX_COORDINATE) -> None:
    for value in values:
        if not abs(value) <= limit:
            raise SceneError(f"{where}: {label} is {value!r}; expected a finite number of magnitude up to {limit:g}")


def _id(where: str, label: str, value: int) -> int:
    if not 0 <= value <= MAX_ID:
        raise SceneError(f"{where}: {label} is {value}; expected 0 to {MAX_ID}")
    return value


def check_model_name(where: str, model: str) -> None:
    """Refuse camera models that are not read, by name.

    Raises:
        SceneError: for every model that is not in `SUPPORTED_MODELS`.
    """
    if model in SUPPORTED_MODELS:
        return
    expected = f"expected one of {', '.join(SUPPORTED_MODELS)}"
    if model in CAMERA_MODELS.values():
        raise SceneError(
            f"{where}: camera model {model} is not supported; {expected}. "
            "Undistort the photos first (colmap image_undistorter)"
        )
    raise SceneError(f"{where}: unknown camera model {model[:40]!r}; {expected}")


def make_camera(
    where: str, camera_id: int, model: str, width: int, height: int, params: Sequence[float]
) -> ColmapCamera:
    """A `ColmapCamera` from a file's fields; `where` begins every message.

    Raises:
        SceneError: if the model is not supported or a field is out of range.
    """
    check_model_name(where, model)
    _id(where, "camera id", camera_id)
    expected = SUPPORTED_MODELS[model]
    if len(params) != expected:
        raise SceneError(f"{where}: {len(params)} parameters; expected {expected} for {model}")
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise SceneError(f"{where}: image size {width}x{height}; expected sides of 1 to {MAX_SIDE} pixels")
    fx, fy, cx, cy, *distortion = (params[0], *params) if _LENSES[model][0] == 1 else params
    _finite(where, "principal point", (cx, cy), MAX_PIXELS)
    _finite(where, "distortion", distortion, MAX_DISTORTION)
    for focal in (fx, fy):
        if not MIN_FOCAL <= focal <= MAX_PIXELS:
            raise SceneError(f"{where}: focal length is {focal!r}; expected {MIN_FOCAL:g} to {MAX_PIXELS:g} pixels")
    return ColmapCamera(camera_id, model, width, height, fx, fy, cx, cy, tuple(distortion))


def make_image(
    where: str, image_id: int, qvec: Sequence[float], tvec: Sequence[float], camera_id: int, name: str
) -> ColmapImage:
    """A `ColmapImage` from a file's fields, its quaternion normalized; `where` begins every message.

    Raises:
        SceneError: if a field is out of range, the quaternion is zero or the name leaves the folder.
    """
    _id(where, "image id", image_id)
    _id(where, "camera id", camera_id)
    _finite(where, "rotation", qvec)
    _finite(where, "translation", tvec)
    check_name(where, name)
    norm = math.hypot(*qvec)
    if norm < 1e-8:
        raise SceneError(f"{where}: the rotation quaternion has norm {norm:g}; expected about 1")
    # Left alone where it is normalized but for rounding, so that reading and writing are inverse to each other.
    w, x, y, z = qvec if abs(norm - 1.0) < 1e-12 else [q / norm for q in qvec]
    return ColmapImage(image_id, (w, x, y, z), (tvec[0], tvec[1], tvec[2]), camera_id, name)


def check_points(where: str, ids: npt.NDArray[np.uint64], model: ColmapModel) -> None:
    """Check the points of `model`: coordinates within range, ids that differ.

    Raises:
        SceneError: naming the first offending point.
    """
    for label, values in (("position", model.xyz), ("error", model.errors[:, None])):
        bad = ~(np.abs(values) <= MAX_COORDINATE).all(axis=1)  # also true for NaN
        if bad.any():
            index = int(bad.argmax())
            raise SceneError(
                f"{where}: {label} of point {index} (id {ids[index]}) is {values[index].tolist()}; "
                f"expected finite numbers of magnitude up to {MAX_COORDINATE:g}"
            )
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        raise SceneError(f"{where}: point id {unique[counts.argmax()]} occurs {counts.max()} times; expected once")


def check_references(where: str, model: ColmapModel) -> None:
    """Check that images name cameras that exist and differ in name.

    Raises:
        SceneError: naming the image.
    """
    by_name: dict[str, int] = {}
    for image in model.images.values():
        if image.camera_id not in model.cameras:
            known = ", ".join(map(str, sorted(model.cameras)[:5])) or "none"
            raise SceneError(
                f"{where}: image {image.id} ({image.name!r}) names camera {image.camera_id}, which the model does not "
                f"have (it has {known}{', ...' if len(model.cameras) > 5 else ''})"
            )
        other = by_name.setdefault(image.name, image.id)
        if other != image.id:
            raise SceneError(f"{where}: images {other} and {image.id} are both called {image.name!r}")
