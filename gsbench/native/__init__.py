"""The native library: the only place in gsbench that uses ctypes.

Every public function here checks its tensors (dtype, shape, contiguity, device) before a pointer crosses, and holds
them until the call returns. Those that take tensors are imported when they are first used, because they import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names
from gsbench.native._library import build_id, cpu_isa, library_path, set_cpu_isa

if TYPE_CHECKING:
    from gsbench.native.image import image_errors as image_errors
    from gsbench.native.image import image_loss as image_loss
    from gsbench.native.neighbors import knn_mean_distance as knn_mean_distance
    from gsbench.native.optim import AdamUpdate as AdamUpdate
    from gsbench.native.optim import adam_step as adam_step
    from gsbench.native.optim import adam_steps as adam_steps

_EXPORTS: Final = {
    "AdamUpdate": "gsbench.native.optim",
    "adam_step": "gsbench.native.optim",
    "adam_steps": "gsbench.native.optim",
    "image_errors": "gsbench.native.image",
    "image_loss": "gsbench.native.image",
    "knn_mean_distance": "gsbench.native.neighbors",
}

__all__ = ["build_id", "cpu_isa", "library_path", "set_cpu_isa", *sorted(_EXPORTS)]

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
