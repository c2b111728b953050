"""The native rasterizer's stages, with their buffers.

`Rasterizer` runs one call of `gsbench.rasterization` through project, blend and, later, both backward stages. It owns
what passes between them; inputs and results belong to the caller.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from gsbench.native import _abi
from gsbench.native._check import pointer
from gsbench.native._library import call
from gsbench.native._pool import Lease

#: Floats in the gradient row of a pair of a Gaussian and a tile.
_ROW_FLOATS: Final = 16


@dataclass(frozen=True)
class RasterSettings:
    """What a rasterization is besides its tensors. Lengths in pixels, depths in scene units.

    `sh_degree` is None for direct colors. When `packed`, per-projection arrays have one row for each visible
    combination of a Gaussian and a camera, else C x N rows.
    """

    width: int
    height: int
    near_plane: float
    far_plane: float
    eps2d: float
    sh_degree: int | None
    packed: bool
    threads: int


class Projected(NamedTuple):
    """Per-projection arrays; S is R (the visible combinations) when packed, else C * N."""

    means2d: Tensor  # float32 [S, 2]
    depths: Tensor  # float32 [S]
    conics: Tensor  # float32 [S, 3]
    colors: Tensor  # float32 [S, 3]
    opacities: Tensor  # float32 [S]
    radii: Tensor  # int32 [S, 2]
    camera_ids: Tensor | None  # int64 [R]
    gaussian_ids: Tensor | None  # int64 [R]


class InputTensors(NamedTuple):
    """N Gaussians and C cameras, all float32 on the CPU and contiguous.

    means [N, 3]; quats [N, 4]; scales [N, 3]; opacities [N]; colors SH [N, K, 3], or direct [N, 3] or [C, N, 3];
    viewmats [C, 4, 4]; Ks [C, 3, 3].
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor


def _addresses(tensors: dict[str, Tensor]) -> dict[str, ctypes.c_void_p]:
    return {name: ctypes.c_void_p(tensor.data_ptr()) for name, tensor in tensors.items()}


class Rasterizer:
    """The state of one rasterization. Stages in order: `project`, `blend`, `blend_backward`, `project_backward`."""

    def __init__(self, inputs: InputTensors, settings: RasterSettings) -> None:
        gaussians, cameras = int(inputs.means.shape[0]), int(inputs.viewmats.shape[0])
        per_camera = settings.sh_degree is None and inputs.colors.ndim == 3
        self._options = _abi.RasterOptions(
            cameras=cameras,
            gaussians=gaussians,
            width=settings.width,
            height=settings.height,
            color_bases=0 if settings.sh_degree is None else int(inputs.colors.shape[1]),
            sh_degree=settings.sh_degree or 0,
            colors_per_camera=int(per_camera),
            packed=int(settings.packed),
            threads=settings.threads,
            near_plane=settings.near_plane,
            far_plane=settings.far_plane,
            eps2d=settings.eps2d,
        )
        self._settings = settings
        self._color_shape = list(inputs.colors.shape)
        self._gaussians, self._cameras = gaussians, cameras
        self._sizes = _abi.RasterSizes()
        call("gsb_raster_get_sizes", ctypes.byref(self._options), ctypes.byref(self._sizes))
        # Buffers that outlive a stage, by field of gsb_raster_buffers.
        self._kept: dict[str, Tensor] = {}
        self._lease = Lease()
        self._scratch_floats = 0
        self._slots = 0

    def _input_pointers(self, inputs: InputTensors) -> dict[str, ctypes.c_void_p]:
        n, c = self._gaussians, self._cameras
        f32 = torch.float32
        return {
            "means": pointer("means", inputs.means, f32, (n, 3)),
            "quats": pointer("quats", inputs.quats, f32, (n, 4)),
            "scales": pointer("scales", inputs.scales, f32, (n, 3)),
            "opacities": pointer("opacities", inputs.opacities, f32, (n,)),
            "colors": pointer("colors", inputs.colors, f32, self._color_shape),
            "viewmats": pointer("viewmats", inputs.viewmats, f32, (c, 4, 4)),
            "intrinsics": pointer("Ks", inputs.Ks, f32, (c, 3, 3)),
        }

    def _call(self, stage: str, fields: dict[str, ctypes.c_void_p], *extra: object) -> None:
        kept = _addresses(self._kept)
        buffers = _abi.RasterBuffers(**kept, **fields, scratch_floats=self._scratch_floats)
        call(f"gsb_raster_{stage}", ctypes.byref(self._options), ctypes.byref(buffers), *extra)

    def project(self, inputs: InputTensors) -> Projected:
        """Project every Gaussian for every camera.

        Raises:
            ValueError: if an input is not finite, a quaternion is zero, or an opacity is outside [0, 1].
        """
        n, c, sizes = self._gaussians, self._cameras, self._sizes
        capacity = c * n
        packed = self._settings.packed
        self._kept = {
            "records": self._lease.empty(c * sizes.records_per_camera, 16),
            "chunk_ranks": torch.empty(c, sizes.chunks + 1, dtype=torch.int64),
            "pair_bounds": torch.empty(c, sizes.chunks + 1, dtype=torch.int64),
            "entry_offsets": torch.empty(c + 1, dtype=torch.int64),
        }
        slots = {
            "means2d": torch.empty(capacity, 2),
            "depths": torch.empty(capacity),
            "conics": torch.empty(capacity, 3),
            "slot_colors": torch.empty(capacity, 3),
            "slot_opacities": torch.empty(capacity),
            "radii": torch.empty(capacity, 2, dtype=torch.int32),
        }
        if packed:
            slots["camera_ids"] = torch.empty(capacity, dtype=torch.int64)
            slots["gaussian_ids"] = torch.empty(capacity, dtype=torch.int64)
        fields = self._input_pointers(inputs)
        fields.update(_addresses(slots))
        self._call("project_forward", fields)
        visible = int(self._kept["chunk_ranks"][-1, -1]) if c else 0
        self._slots = visible if packed else capacity
        rows = {name: tensor[: self._slots] for name, tensor in slots.items()}
        return Projected(
            rows["means2d"],
            rows["depths"],
            rows["conics"],
            rows["slot_colors"],
            rows["slot_opacities"],
            rows["radii"],
            rows.get("camera_ids"),
            rows.get("gaussian_ids"),
        )

    def _bin(self) -> None:
        c, sizes, kept = self._cameras, self._sizes, self._kept
        offsets = kept["entry_offsets"]
        most_pairs = int(offsets.diff().max()) if c else 0
        ranks = kept["chunk_ranks"]
        most_visible = int((ranks[:, -1] - ranks[:, 0]).max()) if c else 0
        kept["pair_ranges"] = self._lease.empty(c * sizes.records_per_camera, 2, dtype=torch.int32)
        kept["tile_starts"] = torch.empty(c, sizes.tiles + 1, dtype=torch.int64)
        kept["tile_entries"] = self._lease.empty(int(offsets[-1]), 2, dtype=torch.int32)
        with Lease() as lease:
            scratch = {
                "tile_ids": lease.empty(most_pairs + sizes.tile_id_padding, dtype=torch.int32),
                "sort_keys": lease.empty(2, most_visible, dtype=torch.int32),
                "sort_records": lease.empty(2, most_visible, dtype=torch.int32),
                "tile_counts": lease.empty(sizes.tile_count_size, dtype=torch.int32),
            }
            self._call("bin", _addresses(scratch))

    def blend(self, backgrounds: Tensor | None) -> tuple[Tensor, Tensor]:
        """Draw. Returns the image float32 [C, H, W, 3] and its alpha float32 [C, H, W, 1].

        `backgrounds` is float32 [C, 3], or None for black.
        """
        c, width, height = self._cameras, self._settings.width, self._settings.height
        self._bin()
        pairs = int(self._kept["entry_offsets"][-1])
        self._kept["hit_masks"] = self._lease.empty(pairs * self._sizes.block_mask_bytes, dtype=torch.uint8)
        self._kept["tile_hits"] = torch.empty(c, self._sizes.tiles, dtype=torch.int64)
        image = torch.empty(c, height, width, 3)
        alpha = torch.empty(c, height, width, 1)
        fields = {"image": ctypes.c_void_p(image.data_ptr()), "alpha": ctypes.c_void_p(alpha.data_ptr())}
        if backgrounds is not None:
            fields["backgrounds"] = pointer("backgrounds", backgrounds, torch.float32, (c, 3))
        scratch_floats = ctypes.c_int64()
        self._call("blend_forward", fields, ctypes.byref(scratch_floats))
        self._scratch_floats = scratch_floats.value
        return image, alpha

    def blend_backward(
        self, backgrounds: Tensor | None, grad_image: Tensor, grad_alpha: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of means2d [S, 2], conics [S, 3], colors [S, 3] and opacities [S]."""
        c, width, height = self._cameras, self._settings.width, self._settings.height
        offsets = self._kept["entry_offsets"]
        most_pairs = int(offsets.diff().max()) if c else 0
        grads = {
            "grad_means2d": torch.empty(self._slots, 2),
            "grad_conics": torch.empty(self._slots, 3),
            "grad_slot_colors": torch.empty(self._slots, 3),
            "grad_slot_opacities": torch.empty(self._slots),
        }
        fields = _addresses(grads)
        fields["grad_image"] = pointer("gradient of the image", grad_image, torch.float32, (c, height, width, 3))
        if grad_alpha is not None:
            fields["grad_alpha"] = pointer("gradient of alpha", grad_alpha, torch.float32, (c, height, width, 1))
        if backgrounds is not None:
            fields["backgrounds"] = pointer("backgrounds", backgrounds, torch.float32, (c, 3))
        with Lease() as lease:
            scratch = {
                "gradient_rows": lease.empty(most_pairs * _ROW_FLOATS),
                "thread_scratch": lease.empty(self._settings.threads * self._scratch_floats),
            }
            self._call("blend_backward", {**fields, **_addresses(scratch)})
        return (
            grads["grad_means2d"],
            grads["grad_conics"],
            grads["grad_slot_colors"],
            grads["grad_slot_opacities"],
        )

    def project_backward(
        self,
        inputs: InputTensors,
        grad_means2d: Tensor,
        grad_conics: Tensor,
        grad_colors: Tensor,
        grad_opacities: Tensor,
        grad_depths: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Gradients of means, quats, scales, opacities and colors, in their shapes."""
        s, f32 = self._slots, torch.float32
        grads = {
            "grad_means": torch.empty_like(inputs.means),
            "grad_quats": torch.empty_like(inputs.quats),
            "grad_scales": torch.empty_like(inputs.scales),
            "grad_opacities": torch.empty_like(inputs.opacities),
            "grad_colors": torch.empty_like(inputs.colors),
        }
        fields = self._input_pointers(inputs)
        fields.update(_addresses(grads))
        fields["grad_means2d"] = pointer("gradient of means2d", grad_means2d, f32, (s, 2))
        fields["grad_conics"] = pointer("gradient of conics", grad_conics, f32, (s, 3))
        fields["grad_slot_colors"] = pointer("gradient of colors", grad_colors, f32, (s, 3))
        fields["grad_slot_opacities"] = pointer("gradient of opacities", grad_opacities, f32, (s,))
        if grad_depths is not None:
            fields["grad_depths"] = pointer("gradient of depths", grad_depths, f32, (s,))
        self._call("project_backward", fields)
        return (
            grads["grad_means"],
            grads["grad_quats"],
            grads["grad_scales"],
            grads["grad_opacities"],
            grads["grad_colors"],
        )
