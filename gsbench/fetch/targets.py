"""From what is typed after ``gsbench fetch`` to scenes of the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from gsbench.errors import UsageError
from gsbench.fetch.catalog import Catalog, Dataset
from gsbench.fetch.places import dataset_folder
from gsbench.registry import did_you_mean

LPIPS: Final = "lpips"
_GLOB: Final = frozenset("*?[")


@dataclass(frozen=True)
class Target:
    """A scene of the catalog."""

    dataset: str
    scene: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.scene}"


def resolve_targets(texts: Sequence[str], catalog: Catalog, manual: bool = False) -> tuple[list[Target], bool]:
    """The scenes that `texts` mean, in their order, each once, and whether ``lpips`` is among them.

    A text is a data set, ``dataset/scene``, either with the wildcards ``* ? [...]``, or ``lpips``. With wildcards, data
    sets that have to be placed by hand are left out, unless `manual`.

    Raises:
        UsageError: if a text means nothing (similar names are suggested), or something that cannot be fetched.
    """
    found: dict[Target, None] = {}
    lpips = False
    for text in (text.strip() for text in texts):
        if text == LPIPS:
            lpips = True
            continue
        matching = _matching(text, catalog)
        if not manual:
            by_hand = [t for t in matching if not catalog.datasets[t.dataset].archives]
            if by_hand and not _GLOB & set(text.partition("/")[0]):
                raise UsageError(_manual(catalog.datasets[by_hand[0].dataset], by_hand))
            matching = [t for t in matching if t not in by_hand]
        found.update(dict.fromkeys(matching))
    return list(found), lpips


def _matching(text: str, catalog: Catalog) -> list[Target]:
    dataset, slash, scene = text.partition("/")
    every = [Target(d.name, name) for d in catalog.datasets.values() for name in d.scenes]
    matching = [t for t in every if fnmatchcase(t.dataset, dataset) and (not slash or fnmatchcase(t.scene, scene))]
    if matching:
        return matching
    if slash and dataset in catalog.datasets:
        hint = did_you_mean(scene, list(catalog.datasets[dataset].scenes))
        raise UsageError(f"data set {dataset!r} has no scene {scene!r}{hint}")
    owners = [str(t) for t in every if t.scene == text]
    if owners:
        raise UsageError(f"unknown data set {text!r}; did you mean {' or '.join(map(repr, owners))}?")
    raise UsageError(f"nothing to fetch is called {text!r}{did_you_mean(dataset, [*catalog.datasets, LPIPS])}")


def _manual(dataset: Dataset, targets: Sequence[Target]) -> str:
    folder = dataset_folder(dataset.name, targets[0].scene if len(targets) == 1 else "SCENE")
    return f"{dataset.title} cannot be fetched automatically: {dataset.manual}, into {folder}"
