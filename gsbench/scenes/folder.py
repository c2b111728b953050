"""A folder becomes a `Scene`: its layout is recognized, its photos are checked, its ground truth is described."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from gsbench.errors import SceneError, UsageError
from gsbench.fetch import cache_root
from gsbench.protocols import BLENDER, GS1600, Protocol
from gsbench.scenes import masks, photos
from gsbench.scenes.colmap import ColmapCamera, find_model
from gsbench.scenes.colmap_folder import list_colmap
from gsbench.scenes.kept import Kept
from gsbench.scenes.listing import Frame, Listing, some
from gsbench.scenes.manifest import file_digests, scene_hash
from gsbench.scenes.pixels import Photo
from gsbench.scenes.resolve import check_folder
from gsbench.scenes.scene import PointCloud, Scene, View
from gsbench.scenes.spec import SceneOptions
from gsbench.scenes.transforms_folder import SINGLE, TRAIN, list_transforms
from gsbench.scenes.undistort import Undistortion, library_version, scale_camera, undistortion

#: Photos whose headers are read at once.
_WORKERS: Final = min(4, os.cpu_count() or 1)


def find_layout(folder: Path) -> Literal["colmap", "given", "single"]:
    """What `folder` holds: a COLMAP model, transforms files with given splits, or one without.

    Where there are several, COLMAP's model counts, as in the original code.

    Raises:
        SceneError: if it is none of them.
    """
    try:
        find_model(folder)
    except SceneError as error:
        if photos.is_file(folder / TRAIN):
            return "given"
        if photos.is_file(folder / SINGLE):
            return "single"
        raise SceneError(f"{error}, or {TRAIN}, or {SINGLE}") from None
    return "colmap"


def default_protocol(folder: Path) -> Protocol:
    """The protocol of a folder where the user names none: ``blender`` where it has its own split, else ``gs1600``.

    Raises:
        SceneError: as `find_layout`, or if the folder does not exist.
    """
    check_folder(folder)
    return BLENDER if find_layout(folder) == "given" else GS1600


def load_folder(
    folder: Path,
    protocol: Protocol,
    options: SceneOptions,
    *,
    dataset: str,
    name: str,
    images: str | None = None,
    factor: float | None = None,
    whole: bool = False,
) -> Scene:
    """Load the scene in `folder`: photos with a COLMAP model, or with transforms files.

    Photos are opened to check that they are what they should be; their pixels are read when a view is asked for them.

    Args:
        folder: ``images/`` and ``sparse/0`` or ``sparse`` with a COLMAP model; or ``transforms_train.json`` and
            ``transforms_test.json``; or ``transforms.json``.
        protocol: images, reduction and split; already changed by the options.
        options: of these, `init`, `held_out` and `cache` are used here.
        dataset: the scene's data set in records.
        name: its name there.
        images: the data set's own folder of photos, for protocols that leave it to the data set.
        factor: the data set's own factor of reduction, likewise.
        whole: refuse a scene of which photos are missing; otherwise they are left out, with a note.

    Returns:
        The scene. Its protocol is `protocol`, or that `with_undistortion` if cameras have lens distortion.

    Raises:
        SceneError: if anything is missing, damaged or contradictory; the message says where.
        UsageError: if the protocol needs to know of the data set what a folder does not tell, or does not fit it.
    """
    check_folder(folder)
    try:
        if find_layout(folder) == "colmap":
            listing = list_colmap(folder, protocol, images, options, whole=whole)
            downscale = factor if protocol.downscale == "dataset" else protocol.downscale
        else:
            listing = list_transforms(folder, protocol, options, whole=whole)
            downscale = None if protocol.downscale == "dataset" else protocol.downscale
    except OSError as error:  # a folder without permission
        raise SceneError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from error
    if downscale is None:
        raise UsageError(
            f"protocol {protocol.id!r} reduces by the data set's own factor, and here none is known; "
            "say it: --downscale 4"
        )
    return _Maker(listing, protocol, downscale, options.cache).scene(dataset, name)


@dataclass(frozen=True)
class _Checked:
    """A frame whose photo was opened: its camera, the EXIF orientation to apply, its size then."""

    frame: Frame
    header: photos.PhotoHeader
    camera: ColmapCamera
    turn: int

    @property
    def upright(self) -> tuple[int, int]:
        return photos.upright_size(self.header, self.turn)


class _Maker:
    """Makes the scene of a listing."""

    def __init__(self, listing: Listing, protocol: Protocol, downscale: float, cache: Path | None) -> None:
        self.listing, self.downscale = listing, downscale
        self.cache = cache_root(cache)
        frames = sorted([*listing.train, *listing.test], key=lambda frame: frame.name)
        with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
            self.checked = dict(zip((f.name for f in frames), pool.map(_check, frames), strict=True))
        self.lenses = {c.camera.model for c in self.checked.values() if c.camera.distorted}
        self.protocol = protocol.with_undistortion() if self.lenses else protocol
        self._undistortions: dict[tuple[ColmapCamera, tuple[int, int]], Undistortion] = {}
        inputs = {**listing.files, **{f.label: f.path for f in frames}}
        inputs |= {f.mask[1]: f.mask[0] for f in frames if f.mask is not None}
        self.digests = file_digests(inputs)

    def scene(self, dataset: str, name: str) -> Scene:
        views = {name: self._view(checked) for name, checked in self.checked.items()}
        extra = [*self.listing.extra]
        if self.lenses:
            extra.append(f"undistorted by pycolmap {library_version()}")
        return Scene(
            dataset=dataset,
            name=name,
            protocol=self.protocol,
            train=[views[frame.name] for frame in self.listing.train],
            test=[views[frame.name] for frame in self.listing.test],
            points=PointCloud(
                torch.tensor(self.listing.xyz, dtype=torch.float32), torch.tensor(self.listing.rgb, dtype=torch.uint8)
            ),
            hash=scene_hash(self.digests, extra),
            notes=(*self.listing.notes, *self._notes()),
            files=self.digests,
        )

    def _view(self, checked: _Checked) -> View:
        frame, upright = checked.frame, checked.upright
        if checked.camera.distorted:
            undistort = self._undistortion(checked)
            camera = undistort.target
        else:
            undistort, camera = None, scale_camera(checked.camera, upright)
        size = photos.target_size(camera.width, camera.height, self.downscale, self.protocol.max_width)
        final = scale_camera(camera, size)
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = frame.pose.rotation, frame.pose.tvec
        intrinsics = [[final.fx, 0.0, final.cx], [0.0, final.fy, final.cy], [0.0, 0.0, 1.0]]
        return View(
            name=frame.name,
            viewmat=torch.tensor(viewmat, dtype=torch.float32),
            K=torch.tensor(intrinsics, dtype=torch.float32),
            width=size[0],
            height=size[1],
            load_image=Photo(
                path=frame.path,
                stored=(checked.header.width, checked.header.height),
                size=size,
                background=self.protocol.background,
                turn=checked.turn,
                undistortion=undistort,
                kept=self._kept(checked, size, undistort),
            ),
            load_mask=None if frame.mask is None else masks.make_mask(frame.mask[0], upright, size, undistort),
        )

    def _undistortion(self, checked: _Checked) -> Undistortion:
        key = checked.camera, checked.upright
        found = self._undistortions.get(key)
        if found is None:
            where = str(checked.frame.path)
            found = self._undistortions[key] = undistortion(where, checked.camera, checked.upright)
        return found

    def _kept(self, checked: _Checked, size: tuple[int, int], undistort: Undistortion | None) -> Kept | None:
        """Where the ground truth is kept, if making it is work that the protocol asks for."""
        if undistort is None and self.protocol.downscale != "dataset":
            return None
        recipe: dict[str, Any] = {"size": size, "turn": checked.turn}
        if checked.header.alpha:
            recipe["background"] = self.protocol.background
        if undistort is not None:
            recipe["undistorted"] = [library_version(), undistort.camera.model, *undistort.camera.params]
        return Kept.of(self.cache, self.digests[checked.frame.label], recipe)

    def _notes(self) -> list[str]:
        notes: list[str] = []
        checked = list(self.checked.values())
        if self.lenses:
            notes.append(
                f"cameras are {', '.join(sorted(self.lenses))}: photos are undistorted (pycolmap {library_version()}), "
                f"protocol {self.protocol.id}"
            )
        turned = [c.frame.name for c in checked if c.turn != 1]
        if turned:
            notes.append(
                f"{_photos(turned)} turned by their EXIF orientation, which fits their cameras: {some(turned)}"
            )
        stored = [c.frame.name for c in checked if c.turn == 1 and c.header.orientation != 1]
        if stored:
            notes.append(
                f"{_photos(stored)} read as stored, without regard to their EXIF orientation, as COLMAP does: "
                f"{some(stored)}"
            )
        clear = [c.frame.name for c in checked if c.header.alpha]
        if clear and self.protocol.split != "given":
            color = ", ".join(f"{c:g}" for c in self.protocol.background)
            notes.append(f"{_photos(clear)} laid over the background ({color}) where transparent: {some(clear)}")
        masked = [c for c in checked if c.frame.mask is not None]
        if masked:
            notes.append(
                f"{len(masked)} of {len(checked)} photos have a mask; its black pixels count neither in training nor "
                "in scores"
            )
        return notes


def _photos(names: Sequence[str]) -> str:
    return "1 photo is" if len(names) == 1 else f"{len(names)} photos are"


def _check(frame: Frame) -> _Checked:
    header = photos.read_header(frame.path)
    camera = frame.camera(header)
    turn = photos.turn_to_camera(frame.path, header, (camera.width, camera.height))
    return _Checked(frame, header, camera, turn)
