"""The mirror of csrc/capi/gsbench.h in ctypes. A test compares the two."""

from __future__ import annotations

from ctypes import c_char_p, c_double, c_int32, c_int64, c_void_p
from typing import Any, Final

ABI_VERSION: Final = 1

OK: Final = 0
INVALID_ARGUMENT: Final = 1
INTERNAL: Final = 2

#: name -> (result type, argument types)
FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "gsb_build_id": (c_char_p, ()),
    "gsb_last_error": (c_char_p, ()),
    "gsb_cpu_isa": (c_char_p, ()),
    "gsb_cpu_set_isa": (c_int32, (c_char_p,)),
    # Image loss
    "gsb_image_loss_sizes": (c_int32, (c_int64, c_int64, c_int32, c_void_p)),
    "gsb_image_loss_run": (
        c_int32,
        (c_void_p, c_void_p, c_int64, c_int64, c_double, c_double, c_void_p, c_void_p, c_void_p, c_int64, c_int32),
    ),
    # Optimizer
    "gsb_adam_step": (
        c_int32,
        (c_void_p,) * 4 + (c_int64, c_double, c_double, c_double, c_double, c_double, c_int32),
    ),
    # Nearest neighbors
    "gsb_knn_mean_distance_sizes": (c_int32, (c_int64, c_void_p)),
    "gsb_knn_mean_distance_run": (c_int32, (c_void_p, c_int64, c_int32, c_void_p, c_void_p, c_int64, c_int32)),
}
