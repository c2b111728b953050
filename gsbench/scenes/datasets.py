"""The data sets that the core supplies."""

from __future__ import annotations

from typing import Final

from gsbench.scenes.spec import DatasetSpec

DEMO: Final = DatasetSpec(
    name="demo",
    scenes=("demo",),
    target="gsbench.scenes.demo_cache:load",
    summary="A procedural scene, ray-traced on the spot in seconds: textures, highlights, thin structures",
    # Enough for 30 dB and below a minute on two cores; 30,000 steps on 49 small images only add Gaussians.
    iterations=1500,
)

#: Data sets of the field whose readers come with a later version, so that asking for one is not a typing error.
LATER_DATASETS: Final = ("mipnerf360", "tandt", "db", "nerf_synthetic", "bungee")


def core_datasets() -> list[DatasetSpec]:
    """The specs of the core's data sets, to be registered under their names in `gsbench.registry.scenes`."""
    return [DEMO]
