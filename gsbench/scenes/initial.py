"""Random points to start from, where a scene has none (``--init random:N``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.scenes.listing import Pose

_SEED: Final = 20230808
#: Optical axes as good as parallel meet nowhere that can be relied on: smallest eigenvalue of the mean of I - d d^T.
_MIN_CROSSING: Final = 1e-3
#: The share of cameras that must have the crossing point before them.
_MIN_IN_FRONT: Final = 0.75
#: Half the side of the box, in radii of the cameras, where the axes do not cross (gsplat's `init_extent`).
_OPEN_EXTENT: Final = 3.0


def camera_box(images: Sequence[Pose]) -> tuple[npt.NDArray[np.float64], float]:
    """A cube that should hold what the cameras look at: its center [3] and half its side, in scene units.

    Where the optical axes cross (an object photographed from around), the center is the point nearest to all axes in
    the least-squares sense, and the cube reaches the farthest camera. Otherwise (cameras side by side, or looking
    outwards) the center is the mean of the cameras and half the side is three times the radius of the cameras around
    it. Half the side is 1 where all cameras are at one place.
    """
    centers = np.array([image.center for image in images])
    axes = np.array([image.rotation[2] for image in images])  # +z of the camera, in the world
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # removes what lies along the axis
    tiny = 1e-9 * (1.0 + float(np.abs(centers).max()))  # what rounding makes of nothing
    mean_across = across.mean(axis=0)
    if np.linalg.eigvalsh(mean_across)[0] >= _MIN_CROSSING:
        focus = np.linalg.solve(mean_across, np.einsum("nij,nj->i", across, centers) / len(centers))
        in_front = ((focus - centers) * axes).sum(axis=1) > 0
        reach = float(np.linalg.norm(centers - focus, axis=1).max())
        if in_front.mean() >= _MIN_IN_FRONT and reach > tiny:
            return focus, reach
    middle = centers.mean(axis=0)
    radius = float(np.linalg.norm(centers - middle, axis=1).max())
    return middle, _OPEN_EXTENT * radius if radius > tiny else 1.0


def random_points(count: int, images: Sequence[Pose]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """`count` points, uniform in `camera_box`: xyz float64 [count, 3] and rgb uint8 [count, 3], all mid gray.

    The same every time: the generator is PCG64 with a fixed seed, whose raw output NumPy guarantees.
    """
    center, half = camera_box(images)
    raw = np.random.PCG64(_SEED).random_raw(count * 3).reshape(count, 3)
    unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return center + half * (2.0 * unit - 1.0), np.full((count, 3), 128, dtype=np.uint8)
