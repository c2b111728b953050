"""Models that users bring along: finding them on disk, and reading them as the base of a method.

A model is an Inria .ply. In a folder, the model of a scene is looked for in this order, and the first that is there is
taken; N is the largest iteration that has a file:

    DIR/<dataset>/<scene>/point_cloud/iteration_<N>/point_cloud.ply    as the original code writes it
    DIR/<dataset>/<scene>/point_cloud.ply                              as gsbench train writes it
    DIR/<scene>/point_cloud/iteration_<N>/point_cloud.ply              as in the archive of pretrained 3DGS models
    DIR/<scene>/point_cloud.ply
    DIR/<dataset>/<scene>.ply
    DIR/<scene>.ply

For a single scene, DIR may also be the folder of its model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from gsbench.bench.model import OwnModel
from gsbench.bench.store import describe_file
from gsbench.errors import FormatError, JobError, UsageError
from gsbench.formats.ply import read_ply
from gsbench.scenes import SceneRef
from gsbench.splats import Splats

_ITERATION: Final = re.compile(r"iteration_([0-9]{1,9})")
_CLOUD: Final = "point_cloud.ply"


def find_ply(folder: Path) -> Path | None:
    """The .ply in the folder of one model: of its newest iteration, or lying in the folder itself."""
    found = [
        (int(match[1]), path / _CLOUD)
        for path in _entries(folder / "point_cloud")
        if (match := _ITERATION.fullmatch(path.name)) and (path / _CLOUD).is_file()
    ]
    if found:
        return max(found)[1]
    return folder / _CLOUD if (folder / _CLOUD).is_file() else None


def find_models(base: Path, scenes: Sequence[SceneRef]) -> Mapping[SceneRef, OwnModel]:
    """The model of each scene, read once so that damage is found now.

    Args:
        base: a .ply, for a single scene, or a folder; see the module.
        scenes: at least one.

    Raises:
        UsageError: if one is missing or damaged; the message lists all of them.
    """
    base = base.expanduser().absolute()
    if base.is_file() and len(scenes) > 1:
        raise UsageError(
            f"--base {base} is the model of one scene, and this run has {len(scenes)}; expected a folder with one "
            "model per scene"
        )
    if not base.exists():
        raise UsageError(f"--base {base} does not exist; expected a .ply file, or a folder with one model per scene")
    models: dict[SceneRef, OwnModel] = {}
    problems: list[str] = []
    for ref in scenes:
        path = base if base.is_file() else next(_places(base, ref, alone=len(scenes) == 1), None)
        try:
            if path is None:
                raise FormatError(f"no model; expected {_expected(base, ref)}")
            models[ref] = describe_model(base.name, path)
        except FormatError as error:
            problems.append(f"{ref}: {error}")
    if problems:
        count = f"{len(problems)} of {len(scenes)} scenes" if len(scenes) > 1 else "the scene"
        raise UsageError("\n  ".join([f"--base {base}: no usable model for {count}:", *problems]))
    return models


def describe_model(name: str, path: Path) -> OwnModel:
    """The model in the .ply at `path`, which is read to its end.

    Raises:
        FormatError: if it cannot be read, is damaged, or has no Gaussians.
    """
    if len(read_ply(path)) == 0:
        raise FormatError(f"{path}: has no Gaussians")
    described = describe_file(path)
    if described is None:
        raise FormatError(f"{path}: cannot be read")
    size, sha256 = described
    return OwnModel(name=name, path=path, bytes=size, sha256=sha256)


def read_model(model: OwnModel) -> Splats:
    """The Gaussians of a model, on the CPU.

    Raises:
        JobError: if the file is not what it was when the run was planned.
        FormatError: if it cannot be read.
    """
    if describe_file(model.path) != (model.bytes, model.sha256):
        raise JobError(f"the model {model.path} changed after the run was planned; run again")
    return read_ply(model.path)


def _places(base: Path, ref: SceneRef, *, alone: bool) -> Iterator[Path]:
    """The files that could be the scene's model, those of them that are there."""
    folders = [base / ref.dataset / ref.scene, base / ref.scene]
    for folder in folders:
        found = find_ply(folder)
        if found is not None:
            yield found
    for folder in folders:
        path = folder.with_name(f"{folder.name}.ply")
        if path.is_file():
            yield path
    if alone and (found := find_ply(base)) is not None:
        yield found


def _expected(base: Path, ref: SceneRef) -> str:
    place = base / ref.scene
    return f"{place}/point_cloud/iteration_30000/{_CLOUD}, {place}/{_CLOUD} or {place}.ply"


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
