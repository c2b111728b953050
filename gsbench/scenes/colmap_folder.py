"""A folder with photos and a COLMAP model: ``images/`` beside ``sparse/0/`` (or ``sparse/``), masks in ``masks/``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gsbench.errors import SceneError, UsageError
from gsbench.protocols import Protocol
from gsbench.scenes import masks, photos
from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, model_files, read_model
from gsbench.scenes.initial import random_points
from gsbench.scenes.listing import Frame, Listing, shown_name, some, split_views
from gsbench.scenes.spec import SceneOptions


def list_colmap(folder: Path, protocol: Protocol, images: str | None, options: SceneOptions, *, whole: bool) -> Listing:
    """What the COLMAP model in `folder` and the photos beside it say.

    Args:
        folder: the scene.
        protocol: decides the split and, unless it leaves that to `images`, the folder of photos.
        images: the data set's own folder of photos.
        options: of these, `init` and `held_out` are used.
        whole: refuse a model of which photos are missing, where they would be left out.

    Raises:
        SceneError: if anything is missing, damaged or contradictory.
        UsageError: if the protocol needs to know of the data set what a folder does not tell.
    """
    if protocol.split == "given":
        raise UsageError(f"protocol {protocol.id!r} needs a data set with given splits; a COLMAP folder has none")
    label = protocol.images or images
    if label is None:
        raise UsageError(
            f"protocol {protocol.id!r} takes the data set's own reduced photos, and here none are known; "
            "say which: --images images_4"
        )
    paths = model_files(folder)
    model = read_model(paths[0].parent, points=options.init is None)
    photo_folder = _photo_folder(folder, label)
    posed = sorted(model.images.values(), key=lambda image: image.name)
    # Before photos are looked for: which views are held out does not depend on which photos are there.
    train, test = split_views(str(paths[1]), posed, protocol)
    if not options.held_out:
        test = []
    there, notes = _present(photo_folder, label, [*train, *test], {image.name for image in posed}, whole)

    def frames(side: Sequence[ColmapImage]) -> list[Frame]:
        return [
            Frame(
                name=image.name,
                path=photo_folder / image.name,
                label=f"{label}/{image.name}",
                pose=image,
                camera=_camera_of(model.cameras[image.camera_id]),
                mask=masks.find_mask(folder, image.name),
            )
            for image in side
            if image.name in there
        ]

    listed, held_out = frames(train), frames(test)
    for side, purpose in ((listed, "train on"), (held_out, "hold out")):
        if not side and (side is listed or options.held_out):
            raise SceneError(f"{photo_folder}: no photo is left to {purpose}; {'; '.join(notes)}")
    if (folder / masks.FOLDER).is_dir() and not any(frame.mask for frame in [*listed, *held_out]):
        notes.append(f"{masks.FOLDER}/ has no mask of a photo; expected names such as {listed[0].name}.png")
    xyz, rgb = _points(paths[2], model, [image for image in train if image.name in there], options)
    used = paths if options.init is None else paths[:2]
    return Listing(
        train=listed,
        test=held_out,
        files={path.relative_to(folder).as_posix(): path for path in used},
        xyz=xyz,
        rgb=rgb,
        notes=[*notes, *_model_notes(folder, paths[0].parent, options)],
        extra=[] if options.init is None else [f"init {options.init}"],
    )


def _camera_of(camera: ColmapCamera) -> Callable[[photos.PhotoHeader], ColmapCamera]:
    return lambda header: camera


def _photo_folder(folder: Path, label: str) -> Path:
    photo_folder = folder / label
    if photo_folder.is_dir():
        return photo_folder
    there = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name != "sparse" and not p.name.startswith("."))
    hint = f" (folders there: {', '.join(map(shown_name, there[:6]))}; choose one with --images)" if there else ""
    raise SceneError(f"{photo_folder}: no such folder; expected the scene's photos in it{hint}")


def _present(
    folder: Path, label: str, used: Sequence[ColmapImage], posed: set[str], whole: bool
) -> tuple[set[str], list[str]]:
    """The names of the used images whose photos are there, and notes on poses and photos that lack the other."""
    there = {image.name for image in used if photos.is_file(folder / image.name)}
    missing = {image.name for image in used} - there
    notes: list[str] = []
    if missing:
        what = f"{len(missing)} of {len(posed)} images of the COLMAP model are not in {label}/"
        if whole or not there:
            raise SceneError(f"{folder}: {what}: {some(missing)}; expected every photo that the model poses")
        notes.append(f"{what} and are left out: {some(missing)}")
    on_disk = photos_below(folder)
    unposed = on_disk - posed
    if unposed:
        notes.append(
            f"{len(unposed)} of {len(on_disk)} photos in {label}/ have no pose in the COLMAP model and are left out: "
            f"{some(unposed)}"
        )
    return there, notes


def photos_below(folder: Path) -> set[str]:
    """Names, relative to `folder`, of the photographs in it and in folders below; hidden ones and links are not
    followed.
    """
    found: set[str] = set()
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(root).relative_to(folder)
        found.update(
            (relative / name).as_posix()
            for name in names
            if Path(name).suffix.lower() in photos.SUFFIXES and not name.startswith(".")
        )
    return found


def _points(
    path: Path, model: ColmapModel, train: Sequence[ColmapImage], options: SceneOptions
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    count = options.random_points
    if count is not None:
        # Of training cameras only: held-out views have no part in anything that is trained.
        return random_points(count, train)
    if not len(model.xyz):
        what = "has no points" if path.is_file() else "is missing"
        raise SceneError(
            f"{path}: {what}; expected the points to start from. To start from random ones, give "
            "--init random:N, such as --init random:100000"
        )
    return model.xyz, model.rgb


def _model_notes(folder: Path, model_folder: Path, options: SceneOptions) -> list[str]:
    notes: list[str] = []
    siblings = model_folder.parent.iterdir() if model_folder.name == "0" else ()
    others = sorted(p.name for p in siblings if p.name.isdigit() and p.name != "0" and p.is_dir())
    if others:
        notes.append(f"only the model in sparse/0 is used; sparse/{', sparse/'.join(others)} left out")
    unread = [name for name in ("transforms_train.json", "transforms.json") if (folder / name).is_file()]
    if unread:
        notes.append(f"the COLMAP model is used; {unread[0]} is not read")
    if options.init is not None:
        notes.append(f"starts from random points ({options.init}) in a box around what the cameras look at")
    return notes
