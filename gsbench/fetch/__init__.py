"""Fetching data sets and weights: the catalog, downloads that resume, archives that are unpacked safely.

Readers of data sets need three functions: `data_root`, `dataset_folder` and `require_scene`. Nothing here imports
torch, and only what `gsbench fetch` calls (`fetch_scenes`, `fetch_lpips`) touches the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names

if TYPE_CHECKING:
    from gsbench.fetch.catalog import Catalog as Catalog
    from gsbench.fetch.catalog import load_catalog as load_catalog
    from gsbench.fetch.options import FetchOptions as FetchOptions
    from gsbench.fetch.options import Outcome as Outcome
    from gsbench.fetch.places import cache_root as cache_root
    from gsbench.fetch.places import data_root as data_root
    from gsbench.fetch.places import dataset_folder as dataset_folder
    from gsbench.fetch.places import lpips_folder as lpips_folder
    from gsbench.fetch.places import require_scene as require_scene
    from gsbench.fetch.scenes import fetch_scenes as fetch_scenes
    from gsbench.fetch.weights import fetch_lpips as fetch_lpips

_EXPORTS: Final = {
    "Catalog": "gsbench.fetch.catalog",
    "FetchOptions": "gsbench.fetch.options",
    "Outcome": "gsbench.fetch.options",
    "cache_root": "gsbench.fetch.places",
    "data_root": "gsbench.fetch.places",
    "dataset_folder": "gsbench.fetch.places",
    "fetch_lpips": "gsbench.fetch.weights",
    "fetch_scenes": "gsbench.fetch.scenes",
    "load_catalog": "gsbench.fetch.catalog",
    "lpips_folder": "gsbench.fetch.places",
    "require_scene": "gsbench.fetch.places",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
