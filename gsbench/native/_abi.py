"""The mirror of csrc/capi/gsbench.h in ctypes. A test compares the two."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from typing import Any, ClassVar, Final

ABI_VERSION: Final = 4

OK: Final = 0
INVALID_ARGUMENT: Final = 1
INTERNAL: Final = 2
DAMAGED: Final = 3


class _Struct(ctypes.Structure):
    """A struct whose first field is its own size."""

    def __init__(self, **values: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(type(self)), **values)


class RasterOptions(_Struct):
    """``gsb_raster_options``."""

    _fields_: ClassVar = [
        ("struct_size", c_uint32),
        ("cameras", c_int32),
        ("gaussians", c_int64),
        ("width", c_int32),
        ("height", c_int32),
        ("color_bases", c_int32),
        ("sh_degree", c_int32),
        ("colors_per_camera", c_int32),
        ("channels", c_int32),
        ("packed", c_int32),
        ("antialiased", c_int32),
        ("separate_cameras", c_int32),
        ("threads", c_int32),
        ("near_plane", c_float),
        ("far_plane", c_float),
        ("eps2d", c_float),
        ("radius_clip", c_float),
    ]


class RasterSizes(_Struct):
    """``gsb_raster_sizes``."""

    _fields_: ClassVar = [
        ("struct_size", c_uint32),
        ("block_mask_bytes", c_int32),
        ("chunks", c_int64),
        ("records_per_camera", c_int64),
        ("tiles", c_int64),
        ("counters", c_int64),
        ("tile_id_padding", c_int64),
        ("forward_scratch_floats", c_int64),
    ]


class RasterBuffers(_Struct):
    """``gsb_raster_buffers``."""

    _fields_: ClassVar = [
        ("struct_size", c_uint32),
        ("means", c_void_p),
        ("quats", c_void_p),
        ("scales", c_void_p),
        ("covars", c_void_p),
        ("opacities", c_void_p),
        ("colors", c_void_p),
        ("viewmats", c_void_p),
        ("intrinsics", c_void_p),
        ("features", c_void_p),
        ("backgrounds", c_void_p),
        ("masks", c_void_p),
        ("means2d", c_void_p),
        ("depths", c_void_p),
        ("conics", c_void_p),
        ("slot_colors", c_void_p),
        ("slot_opacities", c_void_p),
        ("radii", c_void_p),
        ("camera_ids", c_void_p),
        ("gaussian_ids", c_void_p),
        ("records", c_void_p),
        ("chunk_ranks", c_void_p),
        ("pair_bounds", c_void_p),
        ("pair_ranges", c_void_p),
        ("tile_ids", c_void_p),
        ("sort_items", c_void_p),
        ("counters", c_void_p),
        ("tile_starts", c_void_p),
        ("tile_entries", c_void_p),
        ("entry_offsets", c_void_p),
        ("hit_masks", c_void_p),
        ("tile_hits", c_void_p),
        ("image", c_void_p),
        ("alpha", c_void_p),
        ("distortion", c_void_p),
        ("median_slots", c_void_p),
        ("hits", c_void_p),
        ("weight", c_void_p),
        ("opacity_transmittance", c_void_p),
        ("max_weight", c_void_p),
        ("dominant", c_void_p),
        ("statistic_rows", c_void_p),
        ("fisher", c_void_p),
        ("grad_image", c_void_p),
        ("grad_alpha", c_void_p),
        ("grad_distortion", c_void_p),
        ("gradient_rows", c_void_p),
        ("thread_scratch", c_void_p),
        ("scratch_floats", c_int64),
        ("grad_means2d", c_void_p),
        ("grad_means2d_abs", c_void_p),
        ("grad_conics", c_void_p),
        ("grad_slot_colors", c_void_p),
        ("grad_slot_opacities", c_void_p),
        ("grad_depths", c_void_p),
        ("grad_means", c_void_p),
        ("grad_quats", c_void_p),
        ("grad_scales", c_void_p),
        ("grad_covars", c_void_p),
        ("grad_opacities", c_void_p),
        ("grad_colors", c_void_p),
        ("grad_viewmats", c_void_p),
        ("camera_rows", c_void_p),
    ]


class AdamUpdate(_Struct):
    """``gsb_adam_update``."""

    _fields_: ClassVar = [
        ("struct_size", c_uint32),
        ("parameter", c_void_p),
        ("gradient", c_void_p),
        ("mean", c_void_p),
        ("square", c_void_p),
        ("count", c_int64),
        ("lr", c_double),
        ("beta1", c_double),
        ("beta2", c_double),
        ("epsilon", c_double),
        ("step", c_double),
    ]


class AnchorBuffers(_Struct):
    """``gsb_anchor_buffers``."""

    _fields_: ClassVar = [
        ("struct_size", c_uint32),
        ("threads", c_int32),
        ("anchors", c_int64),
        ("per_anchor", c_int64),
        ("positions", c_void_p),
        ("offsets", c_void_p),
        ("anchor_scales", c_void_p),
        ("raw_opacities", c_void_p),
        ("raw_shapes", c_void_p),
        ("raw_colors", c_void_p),
        ("masks", c_void_p),
        ("dense_opacities", c_void_p),
        ("starts", c_void_p),
        ("rows", c_void_p),
        ("means", c_void_p),
        ("scales", c_void_p),
        ("quats", c_void_p),
        ("opacities", c_void_p),
        ("colors", c_void_p),
        ("grad_means", c_void_p),
        ("grad_scales", c_void_p),
        ("grad_quats", c_void_p),
        ("grad_opacities", c_void_p),
        ("grad_colors", c_void_p),
        ("grad_offsets", c_void_p),
        ("grad_anchor_scales", c_void_p),
        ("grad_raw_opacities", c_void_p),
        ("grad_raw_shapes", c_void_p),
        ("grad_raw_colors", c_void_p),
        ("grad_masks", c_void_p),
    ]


class RangeState(_Struct):
    """``gsb_range_state``."""

    _fields_: ClassVar = [
        ("struct_size", c_uint32),
        ("offset", c_uint64),
        ("range", c_uint64),
        ("position", c_int64),
    ]


class GaussianTables(_Struct):
    """``gsb_gaussian_tables``."""

    _fields_: ClassVar = [
        ("struct_size", c_uint32),
        ("starts", c_void_p),
        ("offsets", c_void_p),
        ("sizes", c_void_p),
    ]


class DenseLayer(_Struct):
    """``gsb_dense_layer``."""

    _fields_: ClassVar = [
        ("struct_size", c_uint32),
        ("threads", c_int32),
        ("inputs", c_void_p),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("shift", c_void_p),
        ("count", c_int64),
        ("stride", c_int64),
        ("outputs", c_int64),
        ("padded", c_int64),
        ("activation", c_int32),
        ("leak", c_int32),
        ("limit", c_int32),
        ("hidden", c_void_p),
        ("hidden_stride", c_int64),
        ("last", c_void_p),
    ]


STRUCTS: Final[dict[str, type[ctypes.Structure]]] = {
    "gsb_raster_options": RasterOptions,
    "gsb_raster_sizes": RasterSizes,
    "gsb_raster_buffers": RasterBuffers,
    "gsb_adam_update": AdamUpdate,
    "gsb_anchor_buffers": AnchorBuffers,
    "gsb_range_state": RangeState,
    "gsb_gaussian_tables": GaussianTables,
    "gsb_dense_layer": DenseLayer,
}

_STATE: Final = POINTER(RangeState)
_RASTER_STAGE: Final = (c_int32, (POINTER(RasterOptions), POINTER(RasterBuffers)))
#: Points, their number, extent; levels and their number; table and its rows; binary.
_HASH_GRID: Final = (c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_int32)

#: name -> (result type, argument types)
FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "gsb_abi_version": (c_int32, ()),
    "gsb_build_id": (c_char_p, ()),
    "gsb_last_error": (c_char_p, ()),
    "gsb_cpu_isa": (c_char_p, ()),
    "gsb_cpu_set_isa": (c_int32, (c_char_p,)),
    "gsb_raster_get_sizes": (c_int32, (POINTER(RasterOptions), POINTER(RasterSizes))),
    "gsb_raster_project_forward": _RASTER_STAGE,
    "gsb_raster_blend_forward": (
        c_int32,
        (POINTER(RasterOptions), POINTER(RasterBuffers), POINTER(c_int64)),
    ),
    "gsb_raster_blend_backward": _RASTER_STAGE,
    "gsb_raster_project_backward": _RASTER_STAGE,
    "gsb_raster_fisher": _RASTER_STAGE,
    "gsb_raster_normals_forward": (*_RASTER_STAGE[:1], (*_RASTER_STAGE[1], c_void_p)),
    "gsb_raster_normals_backward": (*_RASTER_STAGE[:1], (*_RASTER_STAGE[1], c_void_p)),
    "gsb_raster_visible": (c_int32, (POINTER(RasterOptions), POINTER(RasterBuffers), c_void_p)),
    # Image loss
    "gsb_image_loss_sizes": (c_int32, (c_int64, c_int64, c_int32, c_void_p)),
    "gsb_image_loss_run": (
        c_int32,
        (c_void_p, c_void_p, c_int64, c_int64, c_double, c_double, c_void_p, c_void_p, c_void_p, c_int64, c_int32),
    ),
    "gsb_image_errors_sizes": (c_int32, (c_int64, POINTER(c_int64))),
    "gsb_image_errors_run": (
        c_int32,
        (c_void_p, c_void_p, c_int64, *(c_void_p,) * 4, POINTER(c_int64), c_void_p, c_int64, c_int32),
    ),
    # Optimizer
    "gsb_adam_steps": (c_int32, (POINTER(AdamUpdate), c_int64, c_int32)),
    # Hash grid
    "gsb_hashgrid_forward": (c_int32, (*_HASH_GRID, c_void_p, POINTER(c_int64), c_int32)),
    "gsb_hashgrid_backward": (c_int32, (*_HASH_GRID, c_void_p, c_double, c_void_p, c_int32)),
    # Rates
    "gsb_gaussian_bits": (c_int32, (c_void_p,) * 4 + (c_int64, c_double, c_void_p, c_void_p, c_int32)),
    "gsb_gaussian_bits_backward": (c_int32, (c_void_p,) * 4 + (c_int64, c_double) + (c_void_p,) * 6 + (c_int32,)),
    # Anchors
    "gsb_anchor_count": (c_int32, (POINTER(AnchorBuffers), POINTER(c_int64))),
    "gsb_anchor_forward": (c_int32, (POINTER(AnchorBuffers),)),
    "gsb_anchor_backward": (c_int32, (POINTER(AnchorBuffers),)),
    # Nearest neighbors
    "gsb_knn_mean_distance_sizes": (c_int32, (c_int64, c_void_p)),
    "gsb_knn_mean_distance_run": (c_int32, (c_void_p, c_int64, c_int32, c_void_p, c_void_p, c_int64, c_int32)),
    # Entropy coding
    "gsb_range_put": (
        c_int32,
        (_STATE, c_void_p, c_int64, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int64, POINTER(c_int64)),
    ),
    "gsb_range_finish": (c_int32, (_STATE, c_void_p, c_int64)),
    "gsb_range_open": (c_int32, (_STATE, c_void_p, c_int64)),
    "gsb_range_get": (
        c_int32,
        (_STATE, c_void_p, c_int64, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_int64),
    ),
    "gsb_range_close": (c_int32, (_STATE, c_void_p, c_int64)),
    "gsb_range_put_gaussian": (
        c_int32,
        (_STATE, *(c_void_p,) * 3, c_int64, POINTER(GaussianTables), c_void_p, c_int64, POINTER(c_int64)),
    ),
    "gsb_range_get_gaussian": (
        c_int32,
        (_STATE, *(c_void_p,) * 3, c_int64, POINTER(GaussianTables), c_void_p, c_int64),
    ),
    "gsb_range_put_mixture": (
        c_int32,
        (_STATE, *(c_void_p,) * 4, c_int64, POINTER(GaussianTables), c_void_p, c_int64, POINTER(c_int64)),
    ),
    "gsb_range_get_mixture": (
        c_int32,
        (_STATE, *(c_void_p,) * 4, c_int64, POINTER(GaussianTables), c_void_p, c_int64),
    ),
    "gsb_range_put_bits": (c_int32, (_STATE, c_void_p, c_void_p, c_int64, c_void_p, c_int64, POINTER(c_int64))),
    "gsb_range_get_bits": (c_int32, (_STATE, c_void_p, c_void_p, c_int64, c_void_p, c_int64)),
    "gsb_range_put_learned": (
        c_int32,
        (_STATE, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_int64, POINTER(c_int64)),
    ),
    "gsb_range_get_learned": (c_int32, (_STATE, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_int64)),
    # Octrees and integer contexts
    "gsb_octree_encode": (
        c_int32,
        (c_void_p, c_int64, c_int32, c_void_p, c_void_p, c_int64, POINTER(c_int64)),
    ),
    "gsb_octree_codes": (c_int32, (c_void_p, c_int64, c_int32, c_void_p, c_int64, POINTER(c_int64))),
    "gsb_octree_decode": (c_int32, (c_void_p, c_int64, c_int64, c_int32, c_void_p)),
    "gsb_dense_run": (c_int32, (POINTER(DenseLayer),)),
    "gsb_sign_grid_features": (
        c_int32,
        (c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_int32, c_void_p, c_int32),
    ),
    "gsb_sign_grid_touched": (
        c_int32,
        (c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_int32),
    ),
}
