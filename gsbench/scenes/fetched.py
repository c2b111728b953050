"""The data sets of the field, from the folders that ``gsbench fetch`` fills: their loaders, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gsbench import registry
from gsbench.errors import SceneError
from gsbench.fetch import data_root, dataset_folder, load_catalog, require_scene
from gsbench.scenes.datasets import BUNGEE_NERF, DB, FETCHED, MIPNERF360, NERF_SYNTHETIC, TANDT
from gsbench.scenes.folder import load_folder
from gsbench.scenes.scene import Scene
from gsbench.scenes.spec import DatasetSpec, SceneOptions, SceneRef

#: Scenes of Mip-NeRF 360 whose reduced photos are a quarter of the width and height; of the others it is a half.
OUTDOOR: Final = frozenset({"bicycle", "flowers", "garden", "stump", "treehill"})


def load_mipnerf360(scene: str, options: SceneOptions) -> Scene:
    """Mip-NeRF 360: the data set's own photos are ``images_4`` outdoors and ``images_2`` indoors, its factors 4 and 2.

    Raises:
        SceneError: if the scene is not there, or damaged.
        UsageError: if the protocol does not fit it.
    """
    factor = 4 if scene in OUTDOOR else 2
    return _load(MIPNERF360, scene, options, images=f"images_{factor}", factor=float(factor))


def load_tandt(scene: str, options: SceneOptions) -> Scene:
    """Tanks and Temples: there is one size of photos, ``images``. Raises as `load_mipnerf360`."""
    return _load(TANDT, scene, options)


def load_db(scene: str, options: SceneOptions) -> Scene:
    """Deep Blending: there is one size of photos, ``images``. Raises as `load_mipnerf360`."""
    return _load(DB, scene, options)


def load_nerf_synthetic(scene: str, options: SceneOptions) -> Scene:
    """NeRF-Synthetic: transforms files with given splits. Raises as `load_mipnerf360`."""
    return _load(NERF_SYNTHETIC, scene, options)


def load_bungee(scene: str, options: SceneOptions) -> Scene:
    """BungeeNeRF with COLMAP cameras. Raises as `load_mipnerf360`."""
    return _load(BUNGEE_NERF, scene, options)


def _load(
    spec: DatasetSpec, scene: str, options: SceneOptions, *, images: str = "images", factor: float = 1.0
) -> Scene:
    folder = require_scene(spec.name, scene)
    protocol = options.effective_protocol(spec.protocol)
    return load_folder(
        folder, protocol, options, dataset=spec.name, name=scene, images=images, factor=factor, whole=True
    )


def check_fetched(refs: Sequence[SceneRef]) -> None:
    """Check that the scenes of the core's data sets are there, all at once.

    Raises:
        SceneError: if some are not; the message names each of them and the command that fetches them.
    """
    missing = [ref for ref in refs if _is_fetched(ref) and not _there(ref)]
    if not missing:
        return
    if len(missing) == 1:
        require_scene(missing[0].dataset, missing[0].scene)
    catalog = load_catalog().datasets
    by_hand = [ref for ref in missing if ref.dataset in catalog and catalog[ref.dataset].manual]
    fetchable = [ref for ref in missing if ref not in by_hand]
    ways = []
    if fetchable:
        ways.append(f"run `gsbench fetch {' '.join(_shortest(fetchable))}`")
    for dataset in dict.fromkeys(ref.dataset for ref in by_hand):
        ways.append(
            f"{dataset} cannot be fetched automatically: {catalog[dataset].manual}; expected it in "
            f"{data_root() / dataset}"
        )
    names = ", ".join(map(str, missing))
    raise SceneError(f"{len(missing)} of {len(refs)} scenes are not fetched ({names}): {'; '.join(ways)}")


def _is_fetched(ref: SceneRef) -> bool:
    # A plugin may have another data set of that name.
    return ref.path is None and ref.dataset in registry.scenes and registry.scenes.get(ref.dataset) in FETCHED


def _there(ref: SceneRef) -> bool:
    try:
        return dataset_folder(ref.dataset, ref.scene).is_dir()
    except OSError as error:  # a folder above without permission
        raise SceneError(f"{ref}: {error.filename}: {error.strerror or error}") from error


def _shortest(refs: Sequence[SceneRef]) -> list[str]:
    """The names of data sets all of whose scenes are meant, else of the scenes."""
    scenes = {spec.name: spec.scenes for spec in FETCHED}
    names: dict[str, None] = {}
    for ref in refs:
        wanted = {other.scene for other in refs if other.dataset == ref.dataset}
        names[ref.dataset if wanted == set(scenes[ref.dataset]) else str(ref)] = None
    return list(names)
