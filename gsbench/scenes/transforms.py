"""``transforms.json`` as NeRF-Synthetic and instant-ngp have it: reading what others wrote with suspicion.

A file lists frames: a photo's ``file_path`` (with or without its ending) and its ``transform_matrix``, camera to world,
4x4 row-major, with the camera looking along -z and y up (OpenGL). Intrinsics are in the file or in the frame, which
counts more: ``fl_x``, ``fl_y``, ``cx``, ``cy`` in pixels of an image of ``w`` x ``h``, or ``camera_angle_x`` (and
``camera_angle_y``), the field of view in radians. Distortion is ``k1``, ``k2``, ``p1``, ``p2``, as in COLMAP's OPENCV.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gsbench.errors import SceneError
from gsbench.scenes.colmap.model import MAX_COORDINATE, ColmapCamera, check_name, make_camera

#: Bytes of a file: 100,000 frames stay below.
MAX_BYTES: Final = 1 << 26
#: How far a rotation matrix may be from one (largest entry of R R^T - I): files are written with few digits.
_MAX_SKEW: Final = 1e-2
#: A matrix as near as this is taken as it is.
_ROUNDING: Final = 1e-6
#: Names of camera models whose photos `camera_of` describes.
_MODELS: Final = frozenset(
    {"PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "OPENCV", "SIMPLE_RADIAL", "RADIAL"}  # of nerfstudio and COLMAP
)
#: Parameters of lenses that are not read, where they are not zero.
_OTHER_LENSES: Final = ("k3", "k4", "k5", "k6", "is_fisheye", "ftheta_p0", "latlong", "equirectangular")
_DISTORTION: Final = ("k1", "k2", "p1", "p2")


@dataclass(frozen=True, eq=False)
class TransformsPose:
    """A posed camera: x_camera = rotation x_world + tvec, with +z forward and y down."""

    rotation: npt.NDArray[np.float64]
    tvec: tuple[float, float, float]
    center: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TransformsFrame:
    """One entry of ``frames``.

    Fields:
        where: begins every message about it.
        file_path: as written but for a leading "./"; stays inside the scene.
        pose: of the camera.
        intrinsics: the frame's and the file's values, the frame's where both have one.
        mask_path: of the mask, None without one.
    """

    where: str
    file_path: str
    pose: TransformsPose
    intrinsics: Mapping[str, Any]
    mask_path: str | None


def read_transforms(path: Path) -> tuple[list[TransformsFrame], Mapping[str, Any]]:
    """The frames of a transforms file, and its other values.

    Raises:
        SceneError: if the file is damaged or says what cannot be; the message names it and the frame.
    """
    value = _load(path)
    frames = value.get("frames")
    if not isinstance(frames, list) or not frames:
        raise SceneError(f"{path}: frames: expected a list with at least one entry, got {_short(frames)}")
    shared = {name: item for name, item in value.items() if name != "frames"}
    read: list[TransformsFrame] = []
    seen: dict[str, int] = {}
    for index, frame in enumerate(frames):
        where = f"{path}, frame {index}"
        if not isinstance(frame, dict):
            raise SceneError(f"{where}: expected an object, got {_short(frame)}")
        name = _path(where, "file_path", frame.get("file_path"))
        if seen.setdefault(name, index) != index:
            raise SceneError(f"{where}: {name!r} is the photo of frame {seen[name]} too; expected one frame per photo")
        mask = frame.get("mask_path")
        read.append(
            TransformsFrame(
                where=where,
                file_path=name,
                pose=_pose(where, frame.get("transform_matrix")),
                intrinsics={**shared, **frame},
                mask_path=None if mask is None else _path(where, "mask_path", mask),
            )
        )
        _refuse_other_lenses(read[-1])
    return read, shared


def _load(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SceneError(f"{path}: {size} bytes; expected a list of cameras of up to {MAX_BYTES}")
        with path.open("rb") as file:
            data = file.read(size)
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:  # not JSON, not Unicode, an absurdly long or deep value
        raise SceneError(f"{path}: not JSON: {ascii(str(error))[1:-1]:.200}") from error
    if not isinstance(value, dict):
        raise SceneError(f"{path}: expected an object with frames, got {_short(value)}")
    return value


def _path(where: str, label: str, value: object) -> str:
    if not isinstance(value, str):
        raise SceneError(f"{where}: {label}: expected a path, got {_short(value)}")
    return check_name(f"{where}: {label}", value.removeprefix("./"))


def _pose(where: str, value: object) -> TransformsPose:
    """From camera to world, OpenGL's axes, to world to camera, COLMAP's axes."""
    expected = f"{where}: transform_matrix: expected 4 rows of 4 finite numbers"
    if not (
        isinstance(value, list) and len(value) in (3, 4) and all(isinstance(r, list) and len(r) == 4 for r in value)
    ):
        raise SceneError(f"{expected}, got {_short(value)}")
    rows = [[_number(expected, entry, MAX_COORDINATE) for entry in row] for row in value]
    if len(rows) == 4 and max(abs(a - b) for a, b in zip(rows[3], (0.0, 0.0, 0.0, 1.0), strict=True)) > _ROUNDING:
        raise SceneError(f"{where}: transform_matrix: last row {rows[3]}; expected 0 0 0 1")
    matrix = np.array(rows[:3])
    axes, center = matrix[:, :3] * np.array([1.0, -1.0, -1.0]), matrix[:, 3]  # columns: right, down, forward
    with np.errstate(over="ignore", invalid="ignore"):
        skew = float(np.abs(axes.T @ axes - np.eye(3)).max())
        if not (skew <= _MAX_SKEW and np.linalg.det(axes) > 0):
            raise SceneError(
                f"{where}: transform_matrix: its 3x3 part is no rotation (R^T R is {skew:.3g} from the identity, "
                "or it mirrors); expected a camera's axes as columns, without scale"
            )
    if skew > _ROUNDING:  # the nearest rotation
        left, _, right = np.linalg.svd(axes)
        axes = left @ right
    rotation = np.ascontiguousarray(axes.T)
    x, y, z = (float(v) for v in -(rotation @ center))
    return TransformsPose(rotation, (x, y, z), center)


def _refuse_other_lenses(frame: TransformsFrame) -> None:
    values = frame.intrinsics
    model = values.get("camera_model", "PINHOLE")
    if not isinstance(model, str) or model not in _MODELS:
        known = ", ".join(sorted(_MODELS))
        raise SceneError(f"{frame.where}: camera model {_short(model)} is not supported; expected one of {known}")
    for name in _OTHER_LENSES:
        if values.get(name):
            raise SceneError(
                f"{frame.where}: {name} is {_short(values[name])}: a lens that is not supported; expected distortion "
                "by k1, k2, p1, p2 only"
            )


def camera_of(frame: TransformsFrame, width: int, height: int) -> ColmapCamera:
    """The intrinsics of a frame whose photo has width x height pixels as stored: a camera of ``w`` x ``h`` where the
    file states that, else of the photo's size.

    Raises:
        SceneError: if they are incomplete or out of range.
    """
    where, values = frame.where, frame.intrinsics
    w, h = (int(_optional(frame, name, whole=True) or size) for name, size in (("w", width), ("h", height)))
    fx, fy = _optional(frame, "fl_x"), _optional(frame, "fl_y")
    if fx is None:
        fx = _from_angle(frame, "camera_angle_x", w)
    if fy is None:
        fy = _from_angle(frame, "camera_angle_y", h) if "fl_x" not in values else None
    fx = fy if fx is None else fx
    fy = fx if fy is None else fy
    if fx is None or fy is None:
        raise SceneError(f"{where}: no focal length; expected fl_x or camera_angle_x, in the frame or in the file")
    cx, cy = _optional(frame, "cx"), _optional(frame, "cy")
    pinhole = (fx, fy, w / 2 if cx is None else cx, h / 2 if cy is None else cy)
    distortion = [_optional(frame, name) or 0.0 for name in _DISTORTION]
    if any(distortion):
        return make_camera(where, 0, "OPENCV", w, h, [*pinhole, *distortion])
    return make_camera(where, 0, "PINHOLE", w, h, pinhole)


def states_size(frame: TransformsFrame) -> bool:
    """Whether the file says how large the photo is."""
    return frame.intrinsics.get("w") is not None and frame.intrinsics.get("h") is not None


def _from_angle(frame: TransformsFrame, name: str, side: int) -> float | None:
    angle = _optional(frame, name)
    if angle is None:
        return None
    if not 0.0 < angle < math.pi:
        raise SceneError(f"{frame.where}: {name} is {angle!r}; expected an angle in radians, between 0 and pi")
    return 0.5 * side / math.tan(0.5 * angle)


def _optional(frame: TransformsFrame, name: str, *, whole: bool = False) -> float | None:
    value = frame.intrinsics.get(name)
    if value is None:
        return None
    expected = f"{frame.where}: {name}: expected a {'whole ' if whole else ''}number"
    number = _number(expected, value, MAX_COORDINATE)
    if whole and (number != int(number) or number < 1):
        raise SceneError(f"{expected} of 1 or more, got {_short(value)}")
    return number


def _number(expected: str, value: object, limit: float) -> float:
    # The comparison is false for NaN, and safe for integers too long for a float.
    if type(value) not in (int, float) or not -limit <= value <= limit:  # type: ignore[operator]
        raise SceneError(f"{expected}, got {_short(value)}")
    return float(value)  # type: ignore[arg-type]


def _short(value: object) -> str:
    """A value for a message. Only a part of it is looked at: a file may hold anything, at any size."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)} entries"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return "a huge number"
    return ascii(value)[:60]
