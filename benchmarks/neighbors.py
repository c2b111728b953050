"""Nearest neighbors among points in space."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.table import Settings, Table, installed, medians, ratio, with_threads
from gsbench.native import knn_mean_distance


def cloud(count: int) -> Tensor:
    """Points as structure from motion leaves them: on a few surfaces, dense here and sparse there."""
    g = torch.Generator().manual_seed(0)
    on_plane = torch.randn(count, 3, generator=g) * torch.tensor([2.0, 2.0, 0.01])
    turned = torch.linalg.qr(torch.randn(5, 3, 3, generator=g)).Q[torch.randint(5, (count,), generator=g)]
    return torch.einsum("nij,nj->ni", turned, on_plane).contiguous()


def by_scipy(points: Tensor, threads: int) -> Tensor:
    from scipy.spatial import cKDTree

    values = points.numpy()
    distances, _ = cKDTree(values).query(values, k=4, workers=threads)
    return torch.from_numpy(np.asarray(distances)[:, 1:].mean(axis=1)).float()


def by_cdist(points: Tensor) -> Tensor:
    parts = [torch.cdist(part, points).topk(4, largest=False).values for part in points.split(1024)]
    return torch.cat(parts)[:, 1:].mean(dim=1)


def tables(settings: Settings) -> Iterator[Table]:
    table = Table(
        "neighbors",
        "Nearest neighbors",
        "Mean distance to the three nearest others, building the tree included. Ratio: how many times as long the "
        "reference takes.",
        ("points", "threads", "ms", "reference", "reference ms", "ratio x"),
    )
    for count in (1_000,) if settings.quick else (10_000, 100_000, 1_000_000):
        points = cloud(count)
        for threads in settings.threads:
            references: dict[str, Callable[[], object]] = {}
            if installed(["scipy"]):
                references["scipy cKDTree"] = lambda p=points, t=threads: by_scipy(p, t)  # type: ignore[misc]
            if count <= 10_000:
                references["torch.cdist"] = lambda p=points: by_cdist(p)  # type: ignore[misc]
            runs = {"": with_threads(threads, lambda p=points: knn_mean_distance(p))}  # type: ignore[misc]
            runs |= {name: with_threads(threads, run) for name, run in references.items()}
            found = medians(runs, settings)
            for name in references:
                table.add(count, threads, found[""], name, found[name], ratio(found[name], found[""]))
    yield table
