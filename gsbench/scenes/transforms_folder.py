"""Folders whose cameras are in ``transforms_train.json`` and ``transforms_test.json``, or in ``transforms.json``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.errors import SceneError, UsageError
from gsbench.protocols import Protocol
from gsbench.scenes.colmap import ColmapCamera
from gsbench.scenes.initial import random_points
from gsbench.scenes.listing import Frame, Listing, some, split_views
from gsbench.scenes.photos import SUFFIXES, PhotoHeader, is_file
from gsbench.scenes.spec import SceneOptions
from gsbench.scenes.transforms import TransformsFrame, camera_of, read_transforms, states_size

#: Files of given splits; transforms_val.json, the third of NeRF-Synthetic, has no part in this benchmark.
TRAIN: Final = "transforms_train.json"
TEST: Final = "transforms_test.json"
#: The file of a capture without a split.
SINGLE: Final = "transforms.json"

#: Points to start from where the data set has none, and half the side of their cube (Kerbl et al. 2023).
POINTS: Final = 100_000
HALF_SIDE: Final = 1.3
_SEED: Final = 20230808

#: What is tried for a file_path that names no file, in this order.
_ENDINGS: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".PNG", ".JPG", ".JPEG")


def list_transforms(folder: Path, protocol: Protocol, options: SceneOptions, *, whole: bool) -> Listing:
    """What the transforms files in `folder` and their photos say. Arguments and errors as `list_colmap`.

    The points to start from are random: with given splits, uniform in [-1.3, 1.3]^3, where the objects of
    NeRF-Synthetic are; otherwise uniform in a box around what the training cameras look at.
    """
    given = is_file(folder / TRAIN)
    if protocol.images not in (None, "images"):
        raise UsageError(f"--images {protocol.images}: no meaning for {folder}, whose transforms file names its photos")
    if given != (protocol.split == "given"):
        name, other = (TRAIN, "blender") if given else (SINGLE, "gs1600")
        raise UsageError(
            f"protocol {protocol.id!r} does not fit {folder}: {name} {'gives' if given else 'gives no'} lists of "
            f"training and held-out views; expected protocol {other}"
        )
    if protocol.downscale == "dataset":
        raise UsageError(
            f"protocol {protocol.id!r} reduces by the data set's own factor, and here none is known; "
            "say it: --downscale 4"
        )
    files = {name: folder / name for name in ([TRAIN, TEST] if given else [SINGLE])}
    if not options.held_out:
        files.pop(TEST, None)
    elif given and not is_file(folder / TEST):
        raise SceneError(f"{folder / TEST}: no such file; expected the held-out views beside {TRAIN}")
    read = {name: read_transforms(path) for name, path in files.items()}
    named = {name: [(_find(folder, frame), frame) for frame in frames] for name, (frames, _) in read.items()}
    if given:
        train, test = named[TRAIN], named.get(TEST, [])
        _refuse_shared(files, train, test)
    else:
        ordered = sorted(named[SINGLE], key=lambda pair: pair[0][0])
        train, test = split_views(str(files[SINGLE]), ordered, protocol)
        test = test if options.held_out else []

    notes: list[str] = []
    missing = [name for (name, there), _ in [*train, *test] if not there]
    listed, held_out = ([_frame(folder, name, frame) for (name, there), frame in s if there] for s in (train, test))
    if missing:
        what = f"{len(missing)} of {len(train) + len(test)} photos of the transforms files are not there"
        if whole or not listed or (options.held_out and not held_out):
            raise SceneError(f"{folder}: {what}: {some(missing)}; expected a photo for every frame")
        notes.append(f"{what} and are left out: {some(missing)}")
    everything = [name for pairs in named.values() for (name, _), _ in pairs]
    unposed = _unposed(folder, everything) if options.held_out else set()
    if unposed:
        what = "1 photo is" if len(unposed) == 1 else f"{len(unposed)} photos are"
        notes.append(f"{what} in no transforms file and left out: {some(unposed)}")
    if any(shared.get("ply_file_path") for _, shared in read.values()):
        notes.append("ply_file_path is not read: training starts from random points")
    xyz, rgb = _points(given, [frame for (_, there), frame in train if there], options.random_points or POINTS)
    if not given or options.init is not None:
        where = f"[-{HALF_SIDE}, {HALF_SIDE}]^3" if given else "a box around what the cameras look at"
        notes.append(f"starts from {len(xyz):,} random points in {where}")
    return Listing(
        train=sorted(listed, key=attrgetter("name")),
        test=sorted(held_out, key=attrgetter("name")),
        files=files,
        xyz=xyz,
        rgb=rgb,
        notes=notes,
        extra=[] if options.init is None else [f"init {options.init}"],
    )


def _find(folder: Path, frame: TransformsFrame) -> tuple[str, bool]:
    """A frame's photo, relative to the folder, and whether it is there."""
    if is_file(folder / frame.file_path):
        return frame.file_path, True
    for ending in _ENDINGS:
        if is_file(folder / f"{frame.file_path}{ending}"):
            return f"{frame.file_path}{ending}", True
    return frame.file_path, False


def _refuse_shared(
    files: dict[str, Path],
    train: Sequence[tuple[tuple[str, bool], TransformsFrame]],
    test: Sequence[tuple[tuple[str, bool], TransformsFrame]],
) -> None:
    shared = {name for (name, _), _ in train} & {name for (name, _), _ in test}
    if shared:
        raise SceneError(
            f"{files[TEST]}: {len(shared)} photos are in {TRAIN}, too: {some(shared)}; expected held-out views that "
            "are not trained on"
        )


def _frame(folder: Path, name: str, frame: TransformsFrame) -> Frame:
    mask = None
    if frame.mask_path is not None:
        path = folder / frame.mask_path
        if not is_file(path):
            raise SceneError(f"{frame.where}: mask_path: {path} is not there; expected the photo's mask")
        mask = (path, frame.mask_path)

    def camera(header: PhotoHeader) -> ColmapCamera:
        if header.orientation != 1 and not states_size(frame):
            raise SceneError(
                f"{folder / name}: has the EXIF orientation {header.orientation}, and {frame.where} does not say "
                "(w, h) whether its camera is of the stored or of the turned image; expected an upright photo"
            )
        return camera_of(frame, header.width, header.height)

    return Frame(name=name, path=folder / name, label=name, pose=frame.pose, camera=camera, mask=mask)


def _unposed(folder: Path, posed: Sequence[str]) -> set[str]:
    """Photos in the folders of posed ones that no frame names. What belongs to a posed photo (``r_0_depth_0000.png``
    beside ``r_0.png``) is none.
    """
    stems: dict[str, set[str]] = {}
    for name in posed:
        parent, _, base = name.rpartition("/")
        stems.setdefault(parent, set()).add(Path(base).stem)
    found: set[str] = set()
    for parent, known in stems.items():
        try:
            entries = [e.name for e in os.scandir(folder / parent) if e.is_file()]
        except OSError:
            continue
        for name in entries:
            stem, suffix = Path(name).stem, Path(name).suffix
            belongs = any(stem[:end] in known for end, letter in enumerate(stem) if letter == "_")
            if suffix.lower() in SUFFIXES and stem not in known and not belongs and not name.startswith("."):
                found.add(f"{parent}/{name}" if parent else name)
    return found


def _points(
    given: bool, train: Sequence[TransformsFrame], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    if not given:
        return random_points(count, [frame.pose for frame in train])
    return cube_points(count)


def cube_points(count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """`count` points, uniform in [-1.3, 1.3]^3, with uniform colors: float64 [count, 3] and uint8 [count, 3].

    The same every time: the generator is PCG64 with a fixed seed, whose raw output NumPy guarantees. A larger count
    begins with the points of a smaller one.
    """
    raw = np.random.PCG64(_SEED).random_raw(count * 4).reshape(count, 4)
    unit = (raw[:, :3] >> np.uint64(11)).astype(np.float64) * 2.0**-53
    bytes_ = np.ascontiguousarray(raw[:, 3:]).astype("<u8").view(np.uint8)
    return HALF_SIDE * (2.0 * unit - 1.0), np.ascontiguousarray(bytes_[:, :3])
