"""Make the picture of the README: ground truth beside what the artifact decodes to, for held-out views of the demo.

    gsbench run --methods 3dgs --scenes demo
    python docs/make_images.py runs/gs1600/demo/demo/3dgs/default.ply

The artifact is decoded as in a run: by a sealed process that sees the file and the cameras and nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsbench.bench import decode_sealed
from gsbench.bench.memory import usable_cores
from gsbench.hooks import load_plugins
from gsbench.scenes import SceneOptions, View, load_scene, resolve_scenes

#: What the README shows.
VIEWS = ("frame_0008.png", "frame_0024.png")
#: White pixels between images.
GAP = 6


def held_out(names: Sequence[str]) -> tuple[list[View], tuple[float, float, float]]:
    """The held-out views of the demo with these names (all if none are given), and the background."""
    load_plugins()
    (ref,) = resolve_scenes(["demo"])
    scene = load_scene(ref, SceneOptions())
    views = [view for view in scene.test if not names or view.name in names]
    if len(views) < max(len(names), 1):
        raise SystemExit(f"held-out views are {', '.join(view.name for view in scene.test)}")
    return views, scene.protocol.background


def side_by_side(rows: Sequence[Sequence[npt.NDArray[np.uint8]]]) -> npt.NDArray[np.uint8]:
    """Rows of equally large uint8 [H, W, 3] images as one, with white between them."""
    lines = []
    for row in rows:
        gap = np.full((row[0].shape[0], GAP, 3), 255, np.uint8)
        parts = [part for image in row for part in (gap, image)][1:]
        lines.append(np.concatenate(parts, axis=1))
    gap = np.full((GAP, lines[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for line in lines for part in (gap, line)][1:], axis=0)


def main() -> None:
    """Read the command line and write the image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--method", default="3dgs")
    parser.add_argument("--views", nargs="*", default=VIEWS, help="names of held-out views, two to a row; none: all")
    parser.add_argument("--output", "-o", type=Path, default=Path(__file__).parent / "images" / "demo.png")
    arguments = parser.parse_args()

    views, background = held_out(arguments.views)
    with tempfile.TemporaryDirectory() as folder:
        result = decode_sealed(
            arguments.method, arguments.artifact, views, background, "cpu", usable_cores(), Path(folder)
        )
        frames = [np.load(path) for path in result.frames]
    pairs = []
    for view, frame in zip(views, frames, strict=True):
        pairs += [view.pixels.numpy(), np.rint(frame.clip(0.0, 1.0) * 255.0).astype(np.uint8)]
    if len(views) % 2 and len(views) > 1:
        pairs += [np.full_like(pairs[0], 255)] * 2
    rows = [pairs[index : index + 4] for index in range(0, len(pairs), 4)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(side_by_side(rows)).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
