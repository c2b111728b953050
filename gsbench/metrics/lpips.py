"""LPIPS (Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018).

Like `psnr`, it is taken of the render as an image viewer would see it, clamped to [0, 1] and rounded to 8 bit: it
models what people see, and the original code of 3DGS computes it from the PNG files it has written. Lower is better.

The networks' weights are not shipped with gsbench; `gsbench fetch lpips` gets them, and each is used only if its
SHA-256 is the pinned one. Without them the metric is null with its reason; there is no stand-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from gsbench.metrics.spec import UndefinedMetricError

if TYPE_CHECKING:
    from torch import Tensor

    from gsbench.metrics.lpips_network import LpipsNetwork

Kind = Literal["vgg", "alex"]

#: The files of each network: the classifier's state dict as torchvision has it, and the heads as LPIPS has them.
FILES: Final[Mapping[Kind, tuple[str, str]]] = {
    "vgg": ("vgg16-397923af.pth", "vgg.pth"),
    "alex": ("alexnet-owt-7be5be79.pth", "alex.pth"),
}


def vgg_unavailable() -> str | None:
    """Why LPIPS with VGG features cannot be computed; None if it can."""
    return _unavailable("vgg")


def alex_unavailable() -> str | None:
    """Why LPIPS with AlexNet features cannot be computed; None if it can."""
    return _unavailable("alex")


def lpips_vgg(render: Tensor, truth: Tensor) -> float:
    """LPIPS with VGG16 features and inputs scaled to [-1, 1], as its authors define it.

    Args:
        render: float32 [H, W, 3], nominally in [0, 1], clamped and rounded to 8 bit here.
        truth: uint8 [H, W, 3].

    Raises:
        UndefinedMetricError: if the images are smaller than 16 pixels.
        FetchError: if the weights are not there, or not as pinned.
        ValueError: as `gsbench.metrics.image.check_images`.
    """
    return _lpips("vgg", render, truth, 2.0, -1.0)


def lpips_vgg_raw(render: Tensor, truth: Tensor) -> float:
    """LPIPS with VGG16 features and inputs left in [0, 1], as the original code of 3DGS has it and most papers on 3DGS
    report it. The network was made for [-1, 1], so the values differ from `lpips_vgg`.

    Args:
        render: float32 [H, W, 3], nominally in [0, 1], clamped and rounded to 8 bit here.
        truth: uint8 [H, W, 3].

    Raises:
        UndefinedMetricError, FetchError, ValueError: as `lpips_vgg`.
    """
    return _lpips("vgg", render, truth, 1.0, 0.0)


def lpips_alex(render: Tensor, truth: Tensor) -> float:
    """LPIPS with AlexNet features and inputs scaled to [-1, 1].

    Args:
        render: float32 [H, W, 3], nominally in [0, 1], clamped and rounded to 8 bit here.
        truth: uint8 [H, W, 3].

    Raises:
        UndefinedMetricError: if the images are smaller than 31 pixels.
        FetchError, ValueError: as `lpips_vgg`.
    """
    return _lpips("alex", render, truth, 2.0, -1.0)


def _lpips(kind: Kind, render: Tensor, truth: Tensor, factor: float, offset: float) -> float:
    import torch

    from gsbench.fetch.places import lpips_folder
    from gsbench.metrics.image import check_images
    from gsbench.metrics.lpips_network import MIN_SIZE

    render, truth = check_images(render, truth)
    if min(truth.shape[:2]) < MIN_SIZE[kind]:
        raise UndefinedMetricError(f"images smaller than {MIN_SIZE[kind]} pixels have no LPIPS with this network")
    seen = (render.clamp(0.0, 1.0) * 255.0).round()
    pair = [(image.to(torch.float32) / 255.0 * factor + offset).permute(2, 0, 1)[None] for image in (seen, truth)]
    return float(_network(kind, str(lpips_folder())).distances(*pair)[0])


@lru_cache(maxsize=4)
def _network(kind: Kind, folder: str) -> LpipsNetwork:
    """The network, read once per process."""
    from gsbench.fetch.catalog import load_catalog
    from gsbench.metrics.lpips_network import load_network

    return load_network(kind, Path(folder), load_catalog().lpips.files)


def _unavailable(kind: Kind) -> str | None:
    from gsbench.fetch.catalog import load_catalog
    from gsbench.fetch.places import lpips_folder
    from gsbench.fetch.weights import file_problem

    files, folder = load_catalog().lpips.files, lpips_folder()
    for name in FILES[kind]:
        problem = file_problem(folder / name, files[name])
        if problem is not None:
            why = "" if problem == "it is not there" else f" ({folder / name}: {problem})"
            return f"no LPIPS weights{why}: run `gsbench fetch lpips`"
    return None
