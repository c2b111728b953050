"""A small capture in a folder, as a user would have one."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene of `gsbench.testing.tiny_scene` as photos and a COLMAP model. Not to be changed: copy it."""
    from PIL import Image
    from scipy.spatial.transform import Rotation

    from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, write_model
    from gsbench.testing import tiny_scene

    scene = tiny_scene()
    folder = tmp_path_factory.mktemp("captures") / "tiny"
    (folder / "images").mkdir(parents=True)
    cameras, images = {}, {}
    for index, view in enumerate(sorted([*scene.train, *scene.test], key=lambda v: v.name), start=1):
        name = f"{view.name}.png"
        Image.fromarray(view.pixels.numpy()).save(folder / "images" / name)
        fx, fy, cx, cy = (float(view.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        cameras[index] = ColmapCamera(index, "PINHOLE", view.width, view.height, fx, fy, cx, cy)
        x, y, z, w = Rotation.from_matrix(view.viewmat[:3, :3].double().numpy()).as_quat()
        t = view.viewmat[:3, 3].tolist()
        images[index] = ColmapImage(index, (float(w), float(x), float(y), float(z)), (t[0], t[1], t[2]), index, name)
    write_model(
        folder / "sparse" / "0",
        ColmapModel(cameras, images, scene.points.xyz.double().numpy(), scene.points.rgb.numpy()),
    )
    return folder
