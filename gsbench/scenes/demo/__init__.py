"""The demo scene: a still life on a table, ray-traced on the spot and laid out as COLMAP would.

It is traced from analytic surfaces (not splatted), has textures, mirrors, highlights, soft shadows and thin wires, and
is the same to the last bit on every machine (see `vectors`). The parts, from the bottom up:

    vectors, noise      arrays of vectors; random numbers attached to places
    shapes, wires       where rays meet spheres, boxes, vases, rods and rings
    paints, still_life  what the surfaces look like; what stands where
    lightmaps, tracer   stored light; light along rays
    lighting            computes the stored light: lamps, shadows, light scattered between surfaces
    cameras, picture    the views and their pixels
    keypoints, sparse   points with tracks; the COLMAP model
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["generate"]

#: Bytes; just under glibc's limit for its threshold, 32 MiB.
_RAISE_THRESHOLD: Final = 31 << 20


def generate(folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the scene into `folder`: ``images/frame_0000.png`` and on, and ``sparse/0/*.bin``.

    Args:
        folder: is made if needed; files in it are replaced.
        progress: called with (views done, views in all) after each view.
    """
    # Imported here so that listing data sets loads neither NumPy nor the tracer.
    import numpy as np
    from PIL import Image

    from gsbench.scenes.demo import cameras, keypoints, lighting, picture, sparse, still_life

    # glibc gives each array above a threshold pages of its own and takes them back when it is freed, which would cost a
    # fifth of the time. The threshold follows the largest block freed so far (mallopt(3)); this one is never touched.
    np.empty(_RAISE_THRESHOLD, np.uint8)

    tracer = lighting.light(still_life.THINGS)
    poses = cameras.poses()
    names = [f"frame_{number:04d}.png" for number in range(len(poses))]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    photos = []
    for name, pose in zip(names, poses, strict=True):
        photos.append(picture.render(tracer, pose))
        Image.fromarray(photos[-1]).save(folder / "images" / name)
        if progress is not None:
            progress(len(photos), len(poses))
    sparse.write(folder / "sparse" / "0", poses, names, keypoints.find_points(tracer, poses, photos))
