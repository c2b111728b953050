"""The ``cameras.json`` that the original 3DGS code writes beside a model: a list with one object per photo.

id, img_name        number and name of the photo, the name without a suffix
width, height       pixels
position            center of the camera in the world, three numbers
rotation            camera to world, three rows of three numbers; the camera looks along +z, y down
fx, fy              focal lengths in pixels; the principal point is the image's center
"""

from __future__ import annotations

import json
from typing import Any

import torch

from gsbench.errors import UsageError
from gsbench.splats import Camera

#: How far a rotation may be from one: they are written with all digits.
_TOLERANCE = 1e-3


def is_inria(text: str) -> bool:
    """Whether the text can only be such a file: ours is an object, this is a list."""
    return text.lstrip()[:1] == "["


def cameras_from_inria(text: str) -> list[Camera]:
    """The cameras, sorted by name.

    Raises:
        UsageError: if the text is something else; the message names the camera and the field.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not JSON: {error}") from None
    if not isinstance(value, list):
        raise UsageError("expected a list of cameras")
    return sorted((_camera(index, entry) for index, entry in enumerate(value)), key=lambda camera: camera.name)


def _camera(index: int, entry: Any) -> Camera:
    where = f"camera {index}"
    if not isinstance(entry, dict):
        raise UsageError(f"{where}: expected an object, got {entry!r:.80}")
    missing = [k for k in ("img_name", "width", "height", "position", "rotation", "fx", "fy") if k not in entry]
    if missing:
        raise UsageError(f"{where}: lacks {', '.join(missing)}")
    size = (entry["width"], entry["height"])
    focal = _numbers(f"{where}: fx, fy", [entry["fx"], entry["fy"]], 2)
    if min(focal) <= 0 or not all(type(side) is int and side > 0 for side in size):
        raise UsageError(f"{where}: width, height, fx and fy: expected positive numbers, whole ones of pixels")
    rows = entry["rotation"]
    if not isinstance(rows, list) or len(rows) != 3:
        raise UsageError(f"{where}: rotation: expected 3 rows of 3 numbers, got {rows!r:.80}")
    matrix = [_numbers(f"{where}: rotation", row, 3) for row in rows]
    rotation = torch.tensor(matrix, dtype=torch.float64).T
    off = float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max())
    if not off <= _TOLERANCE or float(torch.linalg.det(rotation)) < 0:
        raise UsageError(f"{where}: rotation: not a rotation")
    position = torch.tensor(_numbers(f"{where}: position", entry["position"], 3), dtype=torch.float64)
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -(rotation @ position)
    # Camera.from_json checks the rest: sizes that no image has, numbers that float32 has not.
    return Camera.from_json(
        {
            "name": str(entry["img_name"]),
            "width": size[0],
            "height": size[1],
            "viewmat": viewmat.tolist(),
            "K": [[focal[0], 0.0, 0.5 * size[0]], [0.0, focal[1], 0.5 * size[1]], [0.0, 0.0, 1.0]],
        }
    )


def _numbers(where: str, value: Any, count: int) -> list[float]:
    ok = isinstance(value, list) and len(value) == count and all(type(item) in (int, float) for item in value)
    if not ok:
        raise UsageError(f"{where}: expected {count} numbers, got {value!r:.80}")
    try:
        return [float(item) for item in value]
    except OverflowError:
        raise UsageError(f"{where}: expected {count} numbers, got one that is too large") from None
