"""Where fetched files lie: data sets below $GSBENCH_DATA, weights below $GSBENCH_WEIGHTS, or both in the cache."""

from __future__ import annotations

import os
from pathlib import Path

from gsbench.errors import SceneError, UsageError
from gsbench.registry import NAME


def cache_root(cache: Path | None = None) -> Path:
    """`cache` if given, else $GSBENCH_CACHE, else ~/.cache/gsbench."""
    if cache is not None:
        return cache
    named = os.environ.get("GSBENCH_CACHE")
    return Path(named) if named else Path("~/.cache/gsbench").expanduser()


def data_root() -> Path:
    """The folder of the data sets: $GSBENCH_DATA, else ``data/`` in the cache folder. It need not exist."""
    named = os.environ.get("GSBENCH_DATA")
    return Path(named).expanduser() if named else cache_root() / "data"


def dataset_folder(dataset: str, scene: str) -> Path:
    """Where a scene of a data set lies once it is fetched, or placed there by hand: ``data_root()/dataset/scene``.

    Nothing is looked up: the folder need not exist, nor the catalog know the names.

    Raises:
        UsageError: if a name is not made of letters, digits and . _ + -.
    """
    for name in (dataset, scene):
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a data set or scene; expected letters, digits and . _ + -")
    return data_root() / dataset / scene


def require_scene(dataset: str, scene: str) -> Path:
    """`dataset_folder`, if it is there.

    Raises:
        SceneError: if the scene is not there; the message says how to get it.
    """
    from gsbench.fetch.catalog import load_catalog

    folder = dataset_folder(dataset, scene)
    try:
        if folder.is_dir():
            return folder
    except OSError as error:  # a folder above without permission
        raise SceneError(f"{dataset}/{scene}: {folder}: {error.strerror or error}") from error
    known = load_catalog().datasets.get(dataset)
    if known is not None and known.manual:
        how = f"it cannot be fetched automatically: {known.manual}; expected it in {folder}"
    else:
        how = f"run `gsbench fetch {dataset}/{scene}`, or put it in {folder}"
    raise SceneError(f"{dataset}/{scene} is not fetched: {how}")


def lpips_folder() -> Path:
    """The folder of the LPIPS weights: ``lpips/`` in $GSBENCH_WEIGHTS, else in ``weights/`` of the cache folder.

    It need not exist.
    """
    named = os.environ.get("GSBENCH_WEIGHTS")
    return (Path(named).expanduser() if named else cache_root() / "weights") / "lpips"
