"""What the adapters share: finding the package, and refusing what it cannot do."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from gsbench.raster.backend import RasterInputs


def load(backend: str, module: str, install: str) -> Any:
    """The package behind a backend.

    Raises:
        NotImplementedError: if it does not import; the message says why and how to get it.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise NotImplementedError(
            f"backend {backend!r}: {module} does not import ({type(error).__name__}: {error}); {install}"
        ) from error


def need_cuda(backend: str, inputs: RasterInputs) -> None:
    """Refuse tensors that are not on a CUDA device.

    Raises:
        NotImplementedError: if they are not.
    """
    if inputs.viewmats.device.type != "cuda":
        raise NotImplementedError(
            f"backend {backend!r} draws on CUDA devices only, and the tensors are on {inputs.viewmats.device}"
        )


def refuse(backend: str, asked: Mapping[str, bool]) -> None:
    """Refuse what is asked for: names of features, and whether each is.

    Raises:
        NotImplementedError: that names the first one.
    """
    for what, wanted in asked.items():
        if wanted:
            raise NotImplementedError(f"backend {backend!r} cannot do {what}; backend 'cuda' or 'cpu' can")
