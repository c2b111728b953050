"""The mirror of csrc/cuda/gsbench_cuda.h in ctypes. A test compares the two."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_uint32, c_void_p
from typing import Any, ClassVar, Final

from gsbench.native._abi import AnchorBuffers, DenseLayer, GaussianTables, RasterOptions, _Struct

ABI_VERSION: Final = 2


def _pointers(names: str) -> list[tuple[str, Any]]:
    """Fields that are pointers."""
    return [(name, c_void_p) for name in names.split()]


class Queue(_Struct):
    """``gsb_cuda_queue``."""

    _fields_: ClassVar = [("struct_size", c_uint32), ("device", c_int32), ("stream", c_void_p)]


class RasterBuffers(_Struct):
    """``gsb_cuda_raster_buffers``."""

    _fields_: ClassVar = [
        ("struct_size", c_uint32),
        ("row_floats", c_int32),
        ("visible", c_int64),
        ("pairs", c_int64),
        *_pointers("workspace"),
        ("workspace_bytes", c_int64),
        *_pointers(
            "means quats scales covars opacities colors viewmats intrinsics features backgrounds masks "
            "means2d depths conics slot_colors slot_opacities radii camera_ids gaussian_ids cameras records "
            "tile_counts ranks totals depth_keys order pair_begins tile_keys tile_entries tile_starts "
            "last_entries transmittances depth_sums image alpha distortion median_slots hits weight "
            "opacity_transmittance max_weight dominant fisher grad_image grad_alpha grad_distortion rows "
            "row_sums grad_means2d grad_means2d_abs grad_conics grad_slot_colors grad_slot_opacities "
            "grad_depths grad_means grad_quats grad_scales grad_covars grad_opacities grad_colors "
            "grad_viewmats camera_rows"
        ),
    ]


STRUCTS: Final[dict[str, type[ctypes.Structure]]] = {
    "gsb_cuda_queue": Queue,
    "gsb_cuda_raster_buffers": RasterBuffers,
}

_QUEUE: Final = POINTER(Queue)
#: Points, their number, extent; levels and their number; table and its rows; binary.
_HASH_GRID: Final = (c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_int32)
_RASTER_STAGE: Final = (c_int32, (_QUEUE, POINTER(RasterOptions), POINTER(RasterBuffers)))

#: name -> (result type, argument types)
FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "gsb_cuda_abi_version": (c_int32, ()),
    "gsb_cuda_build_id": (c_char_p, ()),
    "gsb_cuda_last_error": (c_char_p, ()),
    "gsb_cuda_targets": (c_char_p, ()),
    "gsb_cuda_device_count": (c_int32, ()),
    "gsb_cuda_set_emulation": (c_int32, (c_int32, c_int32)),
    # The rasterizer
    "gsb_cuda_raster_project_bytes": (c_int32, (_QUEUE, POINTER(RasterOptions), POINTER(c_int64))),
    "gsb_cuda_raster_bin_bytes": (c_int32, (_QUEUE, POINTER(RasterOptions), c_int64, c_int64, POINTER(c_int64))),
    "gsb_cuda_raster_row_floats": (c_int32, (POINTER(RasterOptions), c_int32, c_int32, POINTER(c_int32))),
    "gsb_cuda_raster_project": _RASTER_STAGE,
    "gsb_cuda_raster_pack": _RASTER_STAGE,
    "gsb_cuda_raster_bin": (c_int32, (*_RASTER_STAGE[1], POINTER(c_int32), POINTER(c_int32))),
    "gsb_cuda_raster_blend_forward": _RASTER_STAGE,
    "gsb_cuda_raster_blend_backward": _RASTER_STAGE,
    "gsb_cuda_raster_project_backward": _RASTER_STAGE,
    "gsb_cuda_raster_fisher": _RASTER_STAGE,
    "gsb_cuda_raster_normals_forward": (c_int32, (*_RASTER_STAGE[1], c_void_p)),
    "gsb_cuda_raster_normals_backward": (c_int32, (*_RASTER_STAGE[1], c_void_p)),
    "gsb_cuda_raster_visible": (c_int32, (*_RASTER_STAGE[1], c_void_p)),
    # Training
    "gsb_cuda_image_loss_bytes": (c_int32, (c_int64, c_int64, c_int32, POINTER(c_int64))),
    "gsb_cuda_image_loss": (
        c_int32,
        (_QUEUE, c_void_p, c_void_p, c_int64, c_int64, c_double, c_double, c_void_p, c_void_p, c_void_p, c_int64),
    ),
    "gsb_cuda_adam_step": (
        c_int32,
        (_QUEUE, *(c_void_p,) * 4, c_int64, c_double, c_double, c_double, c_double, c_double),
    ),
    "gsb_cuda_knn_bytes": (c_int32, (_QUEUE, c_int64, POINTER(c_int64))),
    "gsb_cuda_knn_mean_distance": (c_int32, (_QUEUE, c_void_p, c_int64, c_int32, c_void_p, c_void_p, c_int64)),
    # Hash grids, anchors, integer contexts
    "gsb_cuda_hashgrid_forward": (c_int32, (_QUEUE, *_HASH_GRID, c_void_p, c_void_p)),
    "gsb_cuda_hashgrid_bytes": (c_int32, (_QUEUE, c_int64, c_void_p, c_int64, POINTER(c_int64))),
    "gsb_cuda_hashgrid_backward": (
        c_int32,
        (_QUEUE, *_HASH_GRID, c_void_p, c_void_p, c_void_p, c_void_p, c_int64),
    ),
    "gsb_cuda_sign_grid_features": (
        c_int32,
        (_QUEUE, c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_int32, c_void_p),
    ),
    "gsb_cuda_sign_grid_touched": (
        c_int32,
        (_QUEUE, c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_int64),
    ),
    "gsb_cuda_anchor_bytes": (c_int32, (_QUEUE, c_int64, POINTER(c_int64))),
    "gsb_cuda_anchor_count": (c_int32, (_QUEUE, POINTER(AnchorBuffers), c_void_p, c_int64)),
    "gsb_cuda_anchor_forward": (c_int32, (_QUEUE, POINTER(AnchorBuffers))),
    "gsb_cuda_anchor_backward": (c_int32, (_QUEUE, POINTER(AnchorBuffers))),
    "gsb_cuda_dense_run": (c_int32, (_QUEUE, POINTER(DenseLayer))),
    "gsb_cuda_gaussian_intervals": (
        c_int32,
        (_QUEUE, c_void_p, c_void_p, c_void_p, c_int64, POINTER(GaussianTables), *(c_void_p,) * 4),
    ),
}
