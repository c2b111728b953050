"""The data sets that the core supplies."""

from __future__ import annotations

from typing import Final

from gsbench.protocols import BLENDER, BUNGEE
from gsbench.scenes.spec import DatasetSpec

DEMO: Final = DatasetSpec(
    name="demo",
    scenes=("demo",),
    target="gsbench.scenes.demo_cache:load",
    summary="A procedural scene, ray-traced on the spot in seconds: textures, highlights, thin structures",
    # Enough for 30 dB and below a minute on two cores; 30,000 steps on 49 small images only add Gaussians.
    iterations=1500,
)

MIPNERF360: Final = DatasetSpec(
    name="mipnerf360",
    scenes=("bicycle", "flowers", "garden", "stump", "treehill", "room", "counter", "kitchen", "bonsai"),
    target="gsbench.scenes.fetched:load_mipnerf360",
    summary="Mip-NeRF 360 (Barron et al. 2022): five scenes outdoors, four indoors",
)

TANDT: Final = DatasetSpec(
    name="tandt",
    scenes=("train", "truck"),
    target="gsbench.scenes.fetched:load_tandt",
    summary="Tanks and Temples (Knapitsch et al. 2017): the two scenes of the 3DGS paper, with its cameras",
)

DB: Final = DatasetSpec(
    name="db",
    scenes=("drjohnson", "playroom"),
    target="gsbench.scenes.fetched:load_db",
    summary="Deep Blending (Hedman et al. 2018): the two scenes of the 3DGS paper, with its cameras",
)

NERF_SYNTHETIC: Final = DatasetSpec(
    name="nerf_synthetic",
    scenes=("chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship"),
    target="gsbench.scenes.fetched:load_nerf_synthetic",
    summary="NeRF-Synthetic (Mildenhall et al. 2020): eight rendered objects on white",
    protocol=BLENDER,
)

BUNGEE_NERF: Final = DatasetSpec(
    name="bungee",
    scenes=("amsterdam", "bilbao", "hollywood", "pompidou", "quebec", "rome"),
    target="gsbench.scenes.fetched:load_bungee",
    summary="BungeeNeRF (Xiangli et al. 2022): six cities from the air, placed by hand",
    protocol=BUNGEE,
)

#: Data sets whose scenes lie in folders that `gsbench fetch` fills, or people.
FETCHED: Final = (MIPNERF360, TANDT, DB, NERF_SYNTHETIC, BUNGEE_NERF)


def core_datasets() -> list[DatasetSpec]:
    """The specs of the core's data sets, to be registered under their names in `gsbench.registry.scenes`."""
    return [DEMO, *FETCHED]
