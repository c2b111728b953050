"""A folder with photos and a COLMAP model becomes a `Scene`: ``images/`` beside ``sparse/0/`` (or ``sparse/``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from gsbench.errors import SceneError, UsageError
from gsbench.protocols import Protocol
from gsbench.scenes import photos
from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, model_files, read_model
from gsbench.scenes.initial import random_points
from gsbench.scenes.manifest import file_digests, scene_hash
from gsbench.scenes.resolve import check_folder
from gsbench.scenes.scene import PointCloud, Scene, View
from gsbench.scenes.spec import SceneOptions

#: One in eight views is held out, the first of them included.
HOLD_EVERY: Final = 8
#: Names shown in a message about many files.
_SHOWN: Final = 3


@dataclass(frozen=True)
class _Ground:
    """What a protocol means in this folder."""

    images: str
    downscale: float
    max_width: int | None


def load_folder(
    folder: Path,
    protocol: Protocol,
    options: SceneOptions,
    *,
    dataset: str,
    name: str,
    images: str | None = None,
    factor: float | None = None,
) -> Scene:
    """Load the scene in `folder`.

    Photos are opened to check that they are what they should be; their pixels are read when a view is asked for them.

    Args:
        folder: has the photos' folder and ``sparse/0`` or ``sparse`` with a COLMAP model of PINHOLE cameras.
        protocol: images, reduction and split; already changed by the options.
        options: of these, `init` and `held_out` are used here.
        dataset: the scene's data set in records.
        name: its name there.
        images: the data set's own folder of photos, for protocols that leave it to the data set.
        factor: the data set's own factor of reduction, likewise.

    Raises:
        SceneError: if anything is missing, damaged or contradictory; the message says where.
        UsageError: if the protocol needs to know of the data set what a folder does not tell.
    """
    check_folder(folder)
    ground = _ground(protocol, images, factor)
    paths = model_files(folder)
    model = read_model(paths[0].parent, points=options.init is None)
    photo_folder = _photo_folder(folder, ground.images)
    posed = sorted(model.images.values(), key=lambda image: image.name)
    train, test = _split(paths[1], posed)
    if not options.held_out:
        test = []
    used = sorted([*train, *test], key=lambda image: image.name)
    files = {image.name: photo_folder / image.name for image in used}
    _check_photos(photo_folder, ground.images, files, {image.name for image in posed})

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        headers = dict(zip(files, pool.map(photos.read_header, files.values()), strict=True))
    views = {
        image.name: _view(files[image.name], image, model.cameras[image.camera_id], headers[image.name], ground)
        for image in used
    }
    points = _points(paths[2], model, train, options)

    inputs = {path.relative_to(folder).as_posix(): path for path in (paths if options.init is None else paths[:2])}
    inputs |= {f"{ground.images}/{photo}": path for photo, path in files.items()}
    return Scene(
        dataset=dataset,
        name=name,
        protocol=protocol,
        train=[views[image.name] for image in train],
        test=[views[image.name] for image in test],
        points=points,
        hash=scene_hash(file_digests(inputs), [] if options.init is None else [f"init {options.init}"]),
        notes=_notes(paths[0].parent, options),
    )


def _ground(protocol: Protocol, images: str | None, factor: float | None) -> _Ground:
    if protocol.split != "every8":
        raise UsageError(f"protocol {protocol.id!r} needs a data set with given splits; a COLMAP folder has none")
    folder = protocol.images or images
    if folder is None:
        raise UsageError(
            f"protocol {protocol.id!r} takes the data set's own reduced photos, and here none are known; "
            "say which: --images images_4"
        )
    downscale = factor if protocol.downscale == "dataset" else protocol.downscale
    if downscale is None:
        raise UsageError(
            f"protocol {protocol.id!r} reduces by the data set's own factor, and here none is known; "
            "say it: --downscale 4"
        )
    return _Ground(folder, downscale, protocol.max_width)


def _photo_folder(folder: Path, images: str) -> Path:
    photo_folder = folder / images
    if photo_folder.is_dir():
        return photo_folder
    there = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name != "sparse" and not p.name.startswith("."))
    hint = f" (folders there: {', '.join(there[:6])}; choose one with --images)" if there else ""
    raise SceneError(f"{photo_folder}: no such folder; expected the scene's photos in it{hint}")


def _split(images_path: Path, posed: Sequence[ColmapImage]) -> tuple[list[ColmapImage], list[ColmapImage]]:
    """Training and held-out views of images sorted by name."""
    if len(posed) < 2:
        raise SceneError(
            f"{images_path}: {len(posed)} posed images; expected at least 2, one to train on and one to hold out"
        )
    train = [image for index, image in enumerate(posed) if index % HOLD_EVERY != 0]
    test = [image for index, image in enumerate(posed) if index % HOLD_EVERY == 0]
    return train, test


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_SHOWN]) + (f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else "")


def _check_photos(folder: Path, label: str, files: dict[str, Path], posed: set[str]) -> None:
    """Every posed image is on disk, and every photo on disk is posed."""
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing:
        raise SceneError(
            f"{folder}: {len(missing)} of {len(posed)} images of the COLMAP model are not there: {_some(missing)}"
        )
    on_disk: set[str] = set()
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(root).relative_to(folder)
        on_disk.update(
            (relative / name).as_posix()
            for name in names
            if Path(name).suffix.lower() in photos.SUFFIXES and not name.startswith(".")
        )
    unposed = on_disk - posed
    if unposed:
        raise SceneError(
            f"{folder}: {len(unposed)} of {len(on_disk)} photos have no camera in the COLMAP model: {_some(unposed)}; "
            f"expected a pose for each (move photos that COLMAP did not register out of {label}/)"
        )


def _view(path: Path, image: ColmapImage, camera: ColmapCamera, header: photos.PhotoHeader, ground: _Ground) -> View:
    photos.check_against_camera(path, header, (camera.width, camera.height))
    width, height = photos.target_size(header.width, header.height, ground.downscale, ground.max_width)
    # Pixel centers are at .5 in both, so that intrinsics scale without offset; each axis by its true ratio.
    x, y = width / camera.width, height / camera.height
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = image.rotation, image.tvec
    intrinsics = [[camera.fx * x, 0.0, camera.cx * x], [0.0, camera.fy * y, camera.cy * y], [0.0, 0.0, 1.0]]
    return View(
        name=image.name,
        viewmat=torch.tensor(viewmat, dtype=torch.float32),
        K=torch.tensor(intrinsics, dtype=torch.float32),
        width=width,
        height=height,
        load_image=photos.Photo(path, (header.width, header.height), (width, height)),
    )


def _points(path: Path, model: ColmapModel, train: Sequence[ColmapImage], options: SceneOptions) -> PointCloud:
    count = options.random_points
    if count is not None:
        # Of training cameras only: held-out views have no part in anything that is trained.
        xyz, rgb = random_points(count, train)
    else:
        xyz, rgb = model.xyz, model.rgb
        if not len(xyz):
            what = "has no points" if path.is_file() else "is missing"
            raise SceneError(
                f"{path}: {what}; expected the points to start from. To start from random ones, give "
                "--init random:N, such as --init random:100000"
            )
    return PointCloud(torch.tensor(xyz, dtype=torch.float32), torch.tensor(rgb, dtype=torch.uint8))


def _notes(model_folder: Path, options: SceneOptions) -> tuple[str, ...]:
    notes: list[str] = []
    siblings = model_folder.parent.iterdir() if model_folder.name == "0" else ()
    others = sorted(p.name for p in siblings if p.name.isdigit() and p.name != "0" and p.is_dir())
    if others:
        notes.append(f"only the model in sparse/0 is used; sparse/{', sparse/'.join(others)} left out")
    if options.init is not None:
        notes.append(f"starts from random points ({options.init}) in a box around what the cameras look at")
    return tuple(notes)
