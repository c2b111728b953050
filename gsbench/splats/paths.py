"""Camera paths: turntables, smooth ways through given cameras, and what they need to know of a scene.

Everything is computed in float64 and rounded once, when a `Camera` is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from gsbench.errors import UsageError
from gsbench.splats.camera import Camera
from gsbench.splats.splats import Splats

#: Elevations beyond this many degrees leave no direction that is up in the image.
MAX_ELEVATION: Final = 89.0
#: Poses nearer to each other than this, as `_distances` measures them, are one.
_SAME_POSE: Final = 1e-9
#: Share of a model's opacity that a turntable keeps in view; the rest are stray Gaussians far out.
_IN_VIEW: Final = 0.9
_BOX: Final = (0.05, 0.95)


@dataclass(frozen=True)
class Orbit:
    """How a turntable moves.

    Fields:
        center: float64 [3], what is looked at, scene units.
        up: float64 [3], of length 1.
        radius: distance of the camera, scene units.
        elevation: of the camera above the plane through `center`, degrees.
        front: float64 [3], a direction from `center` in which the first camera lies.
    """

    center: Tensor
    up: Tensor
    radius: float
    elevation: float
    front: Tensor


def orbit_of_cameras(cameras: Sequence[Camera]) -> Orbit:
    """Where the cameras of a capture look: at the point that is nearest to their optical axes (least squares).

    Up is what all their horizontal axes are across, since people hold cameras level, or the mean of what is up in the
    images where the cameras do not turn enough to tell. Distance and elevation are the medians; the first one is in
    front.

    Raises:
        UsageError: if there is none, or they have no common up.
    """
    if not cameras:
        raise UsageError("no cameras to tell where the scene is")
    centers = torch.stack([_center(camera) for camera in cameras])
    rotations = torch.stack([camera.viewmat[:3, :3].double() for camera in cameras])
    center = _nearest_to_axes(centers, rotations[:, 2])
    up = _common_up(rotations)
    arms = centers - center
    distances = arms.norm(dim=1)
    radius = float(distances.median())
    if radius < 1e-9 * (1.0 + float(centers.abs().max())):
        raise UsageError("the cameras are where they look at; say how far a camera is to be: --radius R")
    heights = (arms @ up / distances.clamp_min(1e-12)).clamp(-1.0, 1.0)
    elevation = math.degrees(math.asin(float(heights.median())))
    return Orbit(center, up, radius, _clamp(elevation), arms[0])


def orbit_of_splats(splats: Splats, field_of_view: float, up: Tensor | None = None) -> Orbit:
    """Where a model is: in the middle of the box that nine tenths of its Gaussians, by opacity, have in common along
    each axis. The camera is so far away that it sees nine tenths.

    Args:
        splats: the model.
        field_of_view: the smaller one of the camera, radians.
        up: direction, [3]; None for -y, which is up in most captures (COLMAP's cameras have y down).

    Raises:
        UsageError: if the model has no visible Gaussian.
    """
    weights = splats.opacities.detach().cpu().double()
    means = splats.means.detach().cpu().double()
    if len(splats) == 0 or float(weights.sum()) <= 0:
        raise UsageError("the model has no visible Gaussian")
    low, high = (torch.stack([_quantile(means[:, axis], weights, q) for axis in range(3)]) for q in _BOX)
    center = 0.5 * (low + high)
    extent = float(_quantile((means - center).norm(dim=1), weights, _IN_VIEW))
    upward = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64) if up is None else _unit(up)
    radius = 1.1 * max(extent, 1e-6) / math.sin(0.5 * field_of_view)
    return Orbit(center, upward, radius, 15.0, _any_front(upward))


def turntable(orbit: Orbit, camera: Camera, frames: int) -> list[Camera]:
    """A full turn around an orbit's center in equal steps, counterclockwise seen from above; the last frame comes just
    before the first, so that it can be shown in a loop.

    Args:
        orbit: center, up, distance, elevation.
        camera: gives the intrinsics and the size.
        frames: how many cameras, at least 1.

    Raises:
        UsageError: if the elevation is beyond 89 degrees or the radius is not positive.
    """
    if not abs(orbit.elevation) <= MAX_ELEVATION:
        raise UsageError(f"elevation {orbit.elevation:g}: expected -{MAX_ELEVATION:g} to {MAX_ELEVATION:g} degrees")
    if not 0.0 < orbit.radius < math.inf:
        raise UsageError(f"radius {orbit.radius:g}: expected a positive number of scene units")
    up = _unit(orbit.up)
    front = orbit.front.double() - up * float(orbit.front.double() @ up)
    if float(front.norm()) < 1e-6 * (1e-12 + float(orbit.front.norm())):
        front = _any_front(up)
    front = front / front.norm()
    side = torch.linalg.cross(up, front)
    height = math.radians(orbit.elevation)
    made = []
    for index in range(frames):
        angle = 2.0 * math.pi * index / frames
        arm = math.cos(height) * (math.cos(angle) * front + math.sin(angle) * side) + math.sin(height) * up
        made.append(_camera(f"{index:04d}", *_look(orbit.center + orbit.radius * arm, -arm, up), camera))
    return made


def camera_path(cameras: Sequence[Camera], frames: int, *, closed: bool = False) -> list[Camera]:
    """A smooth way through cameras, in their order.

    Positions, quaternions (their signs aligned, normalized afterwards), the logarithms of focal lengths and the
    principal points are one cubic Catmull-Rom spline with centripetal knots (Yuksel, Schaefer, Keyser:
    Parameterization and applications of Catmull-Rom curves, 2011), which neither cusps nor loops between two cameras.
    The spacing of knots is the square root of the distance moved, in mean distances between neighbors, plus the angle
    turned, in right angles. Frames are equally spaced in the spline's parameter. The path goes through every camera;
    where a frame falls onto one it is exactly that one, as the first frame is always and the last of an open path.

    Args:
        cameras: at least two different ones, of one size. Equal neighbors count once.
        frames: how many cameras to make, at least 1.
        closed: go back to the first camera; the last frame comes just before it.

    Raises:
        UsageError: if fewer than two cameras differ.
    """
    keys = [(torch.cat([_center(camera), _quaternion(camera), _intrinsics(camera)]), camera) for camera in cameras]
    steps = _distances([values for values, _ in keys])
    keys = [key for index, key in enumerate(keys) if index == 0 or steps[index - 1] > _SAME_POSE]
    values = _aligned([value for value, _ in keys])
    if closed and len(values) > 1:
        steps = _distances([*values, values[0]])
        if steps[-1] <= _SAME_POSE:
            keys, values = keys[:-1], values[:-1]
    if len(keys) < 2:
        raise UsageError(f"a path needs at least 2 different cameras, got {len(keys)}")
    knots = [0.0]
    for step in _distances([*values, values[0]] if closed else values):
        knots.append(knots[-1] + math.sqrt(step))
    spline = _Spline(values, knots, closed)
    made = []
    for index in range(frames):
        parameter = knots[-1] * index / (frames if closed else max(1, frames - 1))
        nearest = min(range(len(keys)), key=lambda i: abs(knots[i] - parameter))
        if abs(knots[nearest] - parameter) <= 1e-9 * knots[-1]:
            key = keys[nearest][1]
            made.append(Camera(f"{index:04d}", key.viewmat, key.K, key.width, key.height))
            continue
        value = spline(parameter)
        rotation = _rotation(value[3:7])
        fx, fy, cx, cy = (float(number) for number in value[7:11])
        intrinsics = torch.tensor([[math.exp(fx), 0.0, cx], [0.0, math.exp(fy), cy], [0.0, 0.0, 1.0]])
        first = keys[0][1]
        template = Camera("", first.viewmat, intrinsics, first.width, first.height)
        made.append(_camera(f"{index:04d}", rotation, value[:3], template))
    return made


def resized(camera: Camera, width: int, height: int) -> Camera:
    """The camera with another number of pixels. Where the shape of the image stays, it shows the same; otherwise the
    vertical field of view stays, and left and right are cut off or added.
    """
    if camera.height == 0 or camera.width == 0:
        raise UsageError(f"camera {camera.name!r} has no pixels: {camera.width}x{camera.height}")
    y = height / camera.height
    x = width / camera.width
    if abs(width - camera.width * y) > 2.0 * max(1.0, camera.width / camera.height):
        x = y  # the shape differs by more than what rounding sizes to whole (or even) pixels does
    K = camera.K.double().clone()
    K[0, 0], K[1, 1], K[0, 1] = K[0, 0] * x, K[1, 1] * y, K[0, 1] * x
    K[0, 2] = 0.5 * width + (K[0, 2] - 0.5 * camera.width) * x
    K[1, 2] = K[1, 2] * y
    return Camera(camera.name, camera.viewmat, K.float(), width, height)


def pinhole(width: int, height: int, field_of_view: float) -> Camera:
    """A camera at the origin with square pixels whose smaller field of view is `field_of_view`, in radians."""
    focal = 0.5 * min(width, height) / math.tan(0.5 * field_of_view)
    K = torch.tensor([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])
    return Camera("pinhole", torch.eye(4), K, width, height)


class _Spline:
    """A cubic Hermite spline through values, with the tangents of a non-uniform Catmull-Rom spline."""

    def __init__(self, values: list[Tensor], knots: list[float], closed: bool) -> None:
        self._knots = knots
        loop = [*values, values[0]] if closed else values
        if closed:  # once around, the quaternion may come back as its negative
            loop[-1] = _aligned([loop[-2], loop[-1]])[1]
        widths = [b - a for a, b in pairwise(knots)]
        slopes = [(b - a) / w for (a, b), w in zip(pairwise(loop), widths, strict=True)]
        # What comes before the first segment and after the last one: itself, mirrored, or around the loop.
        before = (slopes[-1], widths[-1]) if closed else (slopes[0], widths[0])
        after = (slopes[0], widths[0]) if closed else (slopes[-1], widths[-1])
        if closed and float(loop[-1][3:7] @ values[0][3:7]) < 0:
            before, after = (_negated(before[0]), before[1]), (_negated(after[0]), after[1])
        left = [before, *zip(slopes, widths, strict=True)]
        right = [*zip(slopes, widths, strict=True), after]
        tangents = [(s * v + t * w) / (v + w) for (s, w), (t, v) in zip(left, right, strict=True)]
        self._points, self._tangents, self._widths = loop, tangents, widths

    def __call__(self, parameter: float) -> Tensor:
        """The value at a parameter between the first and the last knot."""
        segment = 0
        while segment < len(self._widths) - 1 and parameter >= self._knots[segment + 1]:
            segment += 1
        width = self._widths[segment]
        u = (parameter - self._knots[segment]) / width
        a, b = self._points[segment], self._points[segment + 1]
        m, n = self._tangents[segment], self._tangents[segment + 1]
        return (
            (2 * u**3 - 3 * u**2 + 1) * a
            + (u**3 - 2 * u**2 + u) * width * m
            + (3 * u**2 - 2 * u**3) * b
            + (u**3 - u**2) * width * n
        )


def _negated(slope: Tensor) -> Tensor:
    """A slope whose quaternion goes the other way."""
    return torch.cat([slope[:3], -slope[3:7], slope[7:]])


def _distances(values: list[Tensor]) -> list[float]:
    """How far each value is from the next: in mean distances between neighbors, plus right angles turned."""
    moved = [float((b[:3] - a[:3]).norm()) for a, b in pairwise(values)]
    unit = sum(moved) / len(moved) if sum(moved) > 0 else 1.0
    turned = [2.0 * math.acos(min(1.0, abs(float(a[3:7] @ b[3:7])))) for a, b in pairwise(values)]
    # The angle of two equal quaternions is the square root of a rounding error.
    return [m / unit + (t if t > 1e-6 else 0.0) / (0.5 * math.pi) for m, t in zip(moved, turned, strict=True)]


def _aligned(values: list[Tensor]) -> list[Tensor]:
    """The values, each quaternion with the sign that is nearer to the one before."""
    made = values[:1]
    for value in values[1:]:
        same = float(made[-1][3:7] @ value[3:7]) >= 0
        made.append(value if same else torch.cat([value[:3], -value[3:7], value[7:]]))
    return made


def _center(camera: Camera) -> Tensor:
    viewmat = camera.viewmat.double().cpu()
    return -(viewmat[:3, :3].T @ viewmat[:3, 3])


def _intrinsics(camera: Camera) -> Tensor:
    K = camera.K.double().cpu()
    return torch.stack([K[0, 0].log(), K[1, 1].log(), K[0, 2], K[1, 2]])


def _quaternion(camera: Camera) -> Tensor:
    """The camera's rotation as a unit quaternion wxyz: the eigenvector of Bar-Itzhack's matrix (New method for
    extracting the quaternion from a rotation matrix, 2000), which is stable for every rotation.
    """
    r = camera.viewmat[:3, :3].double().cpu()
    k = torch.zeros(4, 4, dtype=torch.float64)
    k[0, 0] = r.trace()
    k[1:, 1:] = r + r.T - r.trace() * torch.eye(3, dtype=torch.float64)
    k[0, 1:] = k[1:, 0] = torch.stack([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    vector: Tensor = torch.linalg.eigh(k).eigenvectors[:, -1]
    return vector


def _rotation(quaternion: Tensor) -> Tensor:
    w, x, y, z = (float(number) for number in quaternion / quaternion.norm())
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )


def _look(eye: Tensor, forward: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """World-to-camera rotation and position of a camera that looks along `forward`: x right, y down, z forward."""
    z = forward / forward.norm()
    x = torch.linalg.cross(z, up)
    x = x / x.norm()
    return torch.stack([x, torch.linalg.cross(z, x), z]), eye


def _camera(name: str, rotation: Tensor, eye: Tensor, like: Camera) -> Camera:
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = -(rotation @ eye)
    return Camera(name, viewmat.float(), like.K.float(), like.width, like.height)


def _common_up(rotations: Tensor) -> Tensor:
    mean = -rotations[:, 1].mean(dim=0)
    if float(mean.norm()) < 0.1:
        raise UsageError("the cameras have no common direction that is up; say which it is: --up X,Y,Z")
    mean = mean / mean.norm()
    right = rotations[:, 0]
    values, vectors = torch.linalg.eigh(right.T @ right / len(right))
    across: Tensor = vectors[:, 0] * (1.0 if float(vectors[:, 0] @ mean) >= 0 else -1.0)
    # The axes must span a plane, and it must be the horizontal one: cameras held upright agree on neither.
    level = float(values[1]) > 0.01 and float(values[0]) < 0.1 * float(values[1])
    return across if level and float(across @ mean) > 0.5 else mean


def _nearest_to_axes(centers: Tensor, axes: Tensor) -> Tensor:
    """The point with the least sum of squared distances to lines; of many such, the one nearest to the mean center."""
    axes = axes / axes.norm(dim=1, keepdim=True)
    projections = torch.eye(3, dtype=torch.float64) - axes[:, :, None] * axes[:, None, :]
    middle = centers.mean(dim=0)
    right = (projections @ (centers - middle)[:, :, None]).sum(dim=0)
    # Parallel axes have no such point; what they leave open is not moved.
    offset: Tensor = torch.linalg.pinv(projections.sum(dim=0), rtol=1e-4, hermitian=True) @ right
    return middle + offset[:, 0]


def _quantile(values: Tensor, weights: Tensor, share: float) -> Tensor:
    """The smallest value up to which at least `share` of the weights lies."""
    ordered, order = values.sort()
    sums = weights[order].cumsum(0)
    index = int(torch.searchsorted(sums, share * sums[-1]))
    return ordered[min(index, len(ordered) - 1)]


def _unit(direction: Tensor) -> Tensor:
    direction = direction.double()
    length = float(direction.norm())
    if not 0.0 < length < math.inf:
        raise UsageError(f"direction {direction.tolist()}: expected three finite numbers, not all of them 0")
    return direction / length


def _any_front(up: Tensor) -> Tensor:
    """A direction across `up`: backward along z where that is possible, so that cameras look along +z."""
    for direction in ([0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]):
        front = torch.tensor(direction, dtype=torch.float64)
        front = front - up * float(front @ up)
        if float(front.norm()) > 0.5:
            return _unit(front)
    raise AssertionError("one of three axes is across")


def _clamp(elevation: float) -> float:
    return max(-MAX_ELEVATION, min(MAX_ELEVATION, elevation))
