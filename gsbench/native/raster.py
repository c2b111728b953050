"""The native rasterizer's stages, with their buffers.

`Rasterizer` runs one call of `gsbench.rasterization` through project, blend and, later, both backward stages. It owns
what passes between them; inputs and results belong to the caller.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor

from gsbench.native import _abi
from gsbench.native._check import pointer
from gsbench.native._library import call
from gsbench.native._pool import Lease, Results, empty_result

#: Floats in the gradient row of a pair of a Gaussian and a tile, and in its row of statistics.
_ROW_FLOATS: Final = 16
_STATISTIC_FLOATS: Final = 8
#: What the projection keeps of a Gaussian on the screen.
_RECORD_BYTES: Final = 64
#: Results of the projection that are not float32.
_PROJECTED_INTEGERS: Final = {"radii": torch.int32, "camera_ids": torch.int64, "gaussian_ids": torch.int64}
#: The upper triangle of a 6 x 6 matrix.
FISHER_VALUES: Final = 21

#: Statistics of `Blended`, with their types.
STATISTICS: Final = {
    "hits": torch.int32,
    "weight": torch.float32,
    "opacity_transmittance": torch.float32,
    "max_weight": torch.float32,
    "dominant": torch.int32,
}


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
    radius_clip: float
    antialiased: bool
    sh_degree: int | None
    packed: bool
    threads: int


class InputTensors(NamedTuple):
    """N Gaussians and C cameras, all float32 on the CPU and contiguous.

    means [N, 3]; quats [N, 4] and scales [N, 3], or covars [N, 3, 3]; opacities [N]; colors: spherical harmonics
    [N, K, 3] or [C, N, K, 3], direct [N, 3] or [C, N, 3], or None if the projection has no colors to evaluate;
    viewmats [C, 4, 4]; Ks [C, 3, 3].
    """

    means: Tensor
    quats: Tensor | None
    scales: Tensor | None
    covars: Tensor | None
    opacities: Tensor
    colors: Tensor | None
    viewmats: Tensor
    Ks: Tensor


class Projected(NamedTuple):
    """Per-projection arrays; S is R (the visible combinations) when packed, else C * N."""

    means2d: Tensor  # float32 [S, 2]
    depths: Tensor  # float32 [S]
    conics: Tensor  # float32 [S, 3]
    colors: Tensor | None  # float32 [S, 3]
    opacities: Tensor  # float32 [S]; what is blended, antialiasing included
    radii: Tensor  # int32 [S, 2]
    camera_ids: Tensor | None  # int64 [R]
    gaussian_ids: Tensor | None  # int64 [R]


class Canvas(NamedTuple):
    """What is drawn where.

    features: float32 [S, D], or None for the projection's colors (D = 3); backgrounds: float32 [C, D], or None for
    black; masks: uint8 [C, H, W], 0 where nothing is to be drawn, or None.
    """

    features: Tensor | None
    backgrounds: Tensor | None
    masks: Tensor | None


class Blended(NamedTuple):
    """image float32 [C, H, W, D]; alpha float32 [C, H, W, 1]; if asked for, distortion float32 [C, H, W, 1] with
    median_slots int64 [C, H, W] (-1: none), and the `STATISTICS`, [S] each.
    """

    image: Tensor
    alpha: Tensor
    distortion: Tensor | None
    median_slots: Tensor | None
    statistics: dict[str, Tensor]


class SlotGradients(NamedTuple):
    """Gradients of per-projection arrays: means2d [S, 2], conics [S, 3], colors or features [S, D], opacities [S],
    depths [S] or None, and sums of absolute values over pixels for means2d [S, 2], or None.
    """

    means2d: Tensor
    conics: Tensor
    features: Tensor | None
    opacities: Tensor
    depths: Tensor | None = None
    means2d_abs: Tensor | None = None


class InputGradients(NamedTuple):
    """Gradients of `InputTensors`, in their shapes; with a leading C if the cameras are kept apart."""

    means: Tensor
    quats: Tensor | None = None
    scales: Tensor | None = None
    covars: Tensor | None = None
    opacities: Tensor | None = None
    colors: Tensor | None = None
    viewmats: Tensor | None = None


def raster_options(inputs: InputTensors, settings: RasterSettings) -> _abi.RasterOptions:
    """The options of the ABI for these inputs."""
    colors, sh_degree = inputs.colors, settings.sh_degree
    return _abi.RasterOptions(
        cameras=int(inputs.viewmats.shape[0]),
        gaussians=int(inputs.means.shape[0]),
        width=settings.width,
        height=settings.height,
        color_bases=0 if sh_degree is None or colors is None else int(colors.shape[-2]),
        sh_degree=sh_degree or 0,
        colors_per_camera=int(colors is not None and colors.ndim == (3 if sh_degree is None else 4)),
        packed=int(settings.packed),
        antialiased=int(settings.antialiased),
        threads=settings.threads,
        near_plane=settings.near_plane,
        far_plane=settings.far_plane,
        eps2d=settings.eps2d,
        radius_clip=settings.radius_clip,
    )


def input_pointers(inputs: InputTensors, device: str = "cpu") -> dict[str, int]:
    """The addresses of the inputs by field of the ABI, after a check."""
    n, c, f32 = int(inputs.means.shape[0]), int(inputs.viewmats.shape[0]), torch.float32
    fields = {
        "means": pointer("means", inputs.means, f32, (n, 3), device),
        "opacities": pointer("opacities", inputs.opacities, f32, (n,), device),
        "viewmats": pointer("viewmats", inputs.viewmats, f32, (c, 4, 4), device),
        "intrinsics": pointer("Ks", inputs.Ks, f32, (c, 3, 3), device),
    }
    if inputs.covars is not None:
        fields["covars"] = pointer("covars", inputs.covars, f32, (n, 3, 3), device)
    else:
        if inputs.quats is None or inputs.scales is None:
            raise ValueError("quats, scales: expected both where covars are not given")
        fields["quats"] = pointer("quats", inputs.quats, f32, (n, 4), device)
        fields["scales"] = pointer("scales", inputs.scales, f32, (n, 3), device)
    if inputs.colors is not None:
        fields["colors"] = pointer("colors", inputs.colors, f32, inputs.colors.shape, device)
    return fields


def canvas_pointers(
    canvas: Canvas, slots: int, cameras: int, channels: int, settings: RasterSettings, device: str = "cpu"
) -> dict[str, int]:
    """The addresses of what is drawn where, after a check."""
    f32, fields = torch.float32, {}
    if canvas.features is not None:
        fields["features"] = pointer("features", canvas.features, f32, (slots, channels), device)
    if canvas.backgrounds is not None:
        fields["backgrounds"] = pointer("backgrounds", canvas.backgrounds, f32, (cameras, channels), device)
    if canvas.masks is not None:
        shape = (cameras, settings.height, settings.width)
        fields["masks"] = pointer("masks", canvas.masks, torch.uint8, shape, device)
    return fields


class ImageGradients(NamedTuple):
    """What goes into `blend_backward`: image [C, H, W, D]; alpha and distortion [C, H, W, 1] or None."""

    image: Tensor
    alpha: Tensor | None
    distortion: Tensor | None

    def pointers(self, cameras: int, channels: int, settings: RasterSettings, device: str = "cpu") -> dict[str, int]:
        """Addresses by field of the ABI, after a check."""
        fields, shape = {}, (cameras, settings.height, settings.width)
        for name, tensor in zip(self._fields, self, strict=True):
            if tensor is not None:
                last = channels if name == "image" else 1
                title = "gradient of the image" if name == "image" else f"gradient of {name}"
                fields[f"grad_{name}"] = pointer(title, tensor, torch.float32, (*shape, last), device)
        return fields


def slot_gradient_shapes(slots: int, channels: int, absolute: bool, depths: bool) -> dict[str, tuple[int, ...]]:
    """What `blend_backward` finds: the shapes of the fields of `SlotGradients`."""
    shapes: dict[str, tuple[int, ...]] = {
        "means2d": (slots, 2),
        "conics": (slots, 3),
        "features": (slots, channels),
        "opacities": (slots,),
    }
    if depths:
        shapes["depths"] = (slots,)
    if absolute:
        shapes["means2d_abs"] = (slots, 2)
    return shapes


#: The fields of `SlotGradients` and `InputGradients` in the ABI.
SLOT_GRADIENT_FIELDS: Final = {
    "means2d": "grad_means2d",
    "conics": "grad_conics",
    "features": "grad_slot_colors",
    "opacities": "grad_slot_opacities",
    "depths": "grad_depths",
    "means2d_abs": "grad_means2d_abs",
}
INPUT_GRADIENT_FIELDS: Final = {name: f"grad_{name}" for name in InputGradients._fields}


def slot_gradient_pointers(grads: SlotGradients, slots: int, device: str = "cpu") -> dict[str, int]:
    """Addresses of what goes into `project_backward`, by field of the ABI, after a check."""
    f32 = torch.float32
    fields = {
        "grad_means2d": pointer("gradient of means2d", grads.means2d, f32, (slots, 2), device),
        "grad_conics": pointer("gradient of conics", grads.conics, f32, (slots, 3), device),
        "grad_slot_opacities": pointer("gradient of opacities", grads.opacities, f32, (slots,), device),
    }
    if grads.features is not None:
        fields["grad_slot_colors"] = pointer("gradient of colors", grads.features, f32, (slots, 3), device)
    if grads.depths is not None:
        fields["grad_depths"] = pointer("gradient of depths", grads.depths, f32, (slots,), device)
    return fields


def input_gradient_shapes(
    inputs: InputTensors, *, colors: bool, shared_colors: bool, viewmats: bool, apart: int | None
) -> dict[str, tuple[int, ...]]:
    """What `project_backward` finds: the shapes of the fields of `InputGradients`, with a leading `apart` unless it is
    None (colors per camera have one).
    """
    leading = () if apart is None else (apart,)
    form = ("quats", "scales") if inputs.covars is None else ("covars",)
    shapes = {name: (*leading, *getattr(inputs, name).shape) for name in ("means", *form, "opacities")}
    if colors and inputs.colors is not None:
        shapes["colors"] = (*(leading if shared_colors else ()), *inputs.colors.shape)
    if viewmats:
        shapes["viewmats"] = tuple(inputs.viewmats.shape)
    return shapes


class RasterStages(Protocol):
    """What a native rasterizer does for one call, stage by stage; `Rasterizer` says what each is."""

    def project(self, inputs: InputTensors) -> Projected: ...
    def blend(self, canvas: Canvas, *, statistics: bool = False, surface: bool = False) -> Blended: ...
    def blend_backward(
        self,
        canvas: Canvas,
        grad_image: Tensor,
        grad_alpha: Tensor | None = None,
        grad_distortion: Tensor | None = None,
        *,
        absolute: bool = False,
    ) -> SlotGradients: ...
    def project_backward(
        self, inputs: InputTensors, slots: SlotGradients, *, viewmats: bool = False, separate_cameras: bool = False
    ) -> InputGradients: ...
    def fisher(self, inputs: InputTensors, canvas: Canvas) -> Tensor: ...
    def normals(self, inputs: InputTensors) -> Tensor: ...
    def normals_backward(self, inputs: InputTensors, grad_normals: Tensor) -> Tensor: ...


class Rasterizer:
    """The state of one rasterization. Stages in order: `project`, `blend`, `blend_backward`, `project_backward`;
    `fisher` any time after `blend`.
    """

    def __init__(self, inputs: InputTensors, settings: RasterSettings) -> None:
        self._options = raster_options(inputs, settings)
        self._settings = settings
        self._gaussians, self._cameras = int(inputs.means.shape[0]), int(inputs.viewmats.shape[0])
        self._sizes = self._get_sizes()
        # What outlives a stage, with the inputs that the projection saw, and what holds the memory.
        self._kept = _abi.RasterBuffers()
        self._seen: list[int] = []
        self._lease = Lease()
        self._scratch_floats = 0
        self._slots = 0
        self._most_visible = 0  # Gaussians of a camera, at most
        self._most_pairs = 0  # the largest pair bound of a camera

    def _get_sizes(self) -> _abi.RasterSizes:
        sizes = _abi.RasterSizes()
        call("gsb_raster_get_sizes", ctypes.byref(self._options), ctypes.byref(sizes))
        return sizes

    def _keep(self, fields: Mapping[str, int]) -> None:
        for name, address in fields.items():
            setattr(self._kept, name, address)

    def _keep_inputs(self, inputs: InputTensors) -> None:
        """Check the inputs, unless they are those that were checked before."""
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in inputs]
        if addresses != self._seen:
            self._keep(input_pointers(inputs))
            self._seen = addresses

    def _buffers(self, *fields: Mapping[str, int]) -> _abi.RasterBuffers:
        """What is kept, and `fields`."""
        buffers = _abi.RasterBuffers.from_buffer_copy(self._kept)
        for some in fields:
            for name, value in some.items():
                setattr(buffers, name, value)
        return buffers

    def _call(self, stage: str, buffers: _abi.RasterBuffers, *extra: object) -> None:
        call(f"gsb_raster_{stage}", ctypes.byref(self._options), ctypes.byref(buffers), *extra)

    def project(self, inputs: InputTensors) -> Projected:
        """Project every Gaussian for every camera.

        Raises:
            ValueError: if an input is not finite, a quaternion is zero, or an opacity is outside [0, 1].
        """
        c, sizes, packed = self._cameras, self._sizes, self._settings.packed
        capacity = c * self._gaussians
        self._ranks = (ctypes.c_int64 * (c * (sizes.chunks + 1)))()
        self._bounds = (ctypes.c_int64 * (c + 1))()
        self._keep_inputs(inputs)
        self._keep({"chunk_ranks": ctypes.addressof(self._ranks), "entry_offsets": ctypes.addressof(self._bounds)})
        self._keep(
            self._lease.rooms(
                {
                    "records": c * sizes.records_per_camera * _RECORD_BYTES,
                    "pair_bounds": c * (sizes.chunks + 1) * 8,
                }
            )
        )
        shapes: dict[str, tuple[int, ...]] = {
            "means2d": (capacity, 2),
            "depths": (capacity,),
            "conics": (capacity, 3),
            "slot_opacities": (capacity,),
            "radii": (capacity, 2),
        }
        if inputs.colors is not None:
            shapes["slot_colors"] = (capacity, 3)
        if packed:
            shapes["camera_ids"] = shapes["gaussian_ids"] = (capacity,)
        results = Results(shapes, _PROJECTED_INTEGERS)
        self._call("project_forward", self._buffers(results.addresses))
        bounds, visible = self._bounds, 0
        self._most_visible = self._most_pairs = 0
        for camera in range(c):
            before, visible = visible, self._ranks[camera * (sizes.chunks + 1) + sizes.chunks]
            self._most_visible = max(self._most_visible, visible - before)
            self._most_pairs = max(self._most_pairs, bounds[camera + 1] - bounds[camera])
        self._slots = s = visible if packed else capacity
        return Projected(
            means2d=results.tensor("means2d", s),
            depths=results.tensor("depths", s),
            conics=results.tensor("conics", s),
            colors=results.tensor("slot_colors", s) if inputs.colors is not None else None,
            opacities=results.tensor("slot_opacities", s),
            radii=results.tensor("radii", s),
            camera_ids=results.tensor("camera_ids", s) if packed else None,
            gaussian_ids=results.tensor("gaussian_ids", s) if packed else None,
        )

    def _canvas_pointers(self, canvas: Canvas) -> dict[str, int]:
        return canvas_pointers(canvas, self._slots, self._cameras, self._options.channels or 3, self._settings)

    def blend(self, canvas: Canvas, *, statistics: bool = False, surface: bool = False) -> Blended:
        """Draw. `surface` asks for distortion and median_slots."""
        c, width, height = self._cameras, self._settings.width, self._settings.height
        if canvas.features is not None:
            self._options.channels = int(canvas.features.shape[1])
            self._sizes = self._get_sizes()
        sizes, pairs = self._sizes, self._bounds[c]
        self._keep(
            self._lease.rooms(
                {
                    "pair_ranges": c * sizes.records_per_camera * 8,
                    "tile_starts": c * (sizes.tiles + 1) * 8,
                    "tile_entries": pairs * 8,
                    "hit_masks": pairs * sizes.block_mask_bytes,
                    "tile_hits": c * sizes.tiles * 8,
                }
            )
        )
        scratch = {
            "tile_ids": (self._most_pairs + sizes.tile_id_padding) * 4,
            "sort_items": 2 * self._most_visible * 8,
            "counters": sizes.counters * 4,
            "thread_scratch": self._settings.threads * sizes.forward_scratch_floats * 4,
        }
        outputs = {
            "image": empty_result(c, height, width, self._options.channels or 3),
            "alpha": empty_result(c, height, width, 1),
        }
        if surface:
            outputs["distortion"] = empty_result(c, height, width, 1)
            outputs["median_slots"] = empty_result(c, height, width, dtype=torch.int64)
        found: dict[str, Tensor] = {}
        if statistics:
            found = Results(dict.fromkeys(STATISTICS, (self._slots,)), STATISTICS).tensors()
            scratch["statistic_rows"] = self._most_pairs * _STATISTIC_FLOATS * 4
        scratch_floats = ctypes.c_int64()
        with Lease() as lease:
            buffers = self._buffers(
                self._canvas_pointers(canvas),
                lease.rooms(scratch),
                {name: tensor.data_ptr() for name, tensor in (outputs | found).items()},
                {"scratch_floats": sizes.forward_scratch_floats},
            )
            self._call("blend_forward", buffers, ctypes.byref(scratch_floats))
        self._scratch_floats = scratch_floats.value
        return Blended(
            outputs["image"], outputs["alpha"], outputs.get("distortion"), outputs.get("median_slots"), found
        )

    def _backward_scratch(self, lease: Lease) -> dict[str, int]:
        threads, floats = self._settings.threads, self._scratch_floats
        rooms = lease.rooms(
            {"gradient_rows": self._most_pairs * _ROW_FLOATS * 4, "thread_scratch": threads * floats * 4}
        )
        return rooms | {"scratch_floats": floats}

    def blend_backward(
        self,
        canvas: Canvas,
        grad_image: Tensor,
        grad_alpha: Tensor | None = None,
        grad_distortion: Tensor | None = None,
        *,
        absolute: bool = False,
    ) -> SlotGradients:
        """Gradients of the per-projection arrays; that of depths only with `grad_distortion`, and the absolute sums
        only if asked for.
        """
        channels = self._options.channels or 3
        outer = ImageGradients(grad_image, grad_alpha, grad_distortion)
        grads = Results(slot_gradient_shapes(self._slots, channels, absolute, grad_distortion is not None))
        with Lease() as lease:
            buffers = self._buffers(
                self._canvas_pointers(canvas),
                outer.pointers(self._cameras, channels, self._settings),
                {SLOT_GRADIENT_FIELDS[name]: address for name, address in grads.addresses.items()},
                self._backward_scratch(lease),
            )
            self._call("blend_backward", buffers)
        return SlotGradients(**grads.tensors())

    def project_backward(
        self, inputs: InputTensors, slots: SlotGradients, *, viewmats: bool = False, separate_cameras: bool = False
    ) -> InputGradients:
        """Gradients of the inputs; of viewmats only if asked for. `slots.features` are those of the projection's
        colors [S, 3], or None.
        """
        grads = Results(
            input_gradient_shapes(
                inputs,
                colors=slots.features is not None,
                shared_colors=not self._options.colors_per_camera,
                viewmats=viewmats,
                apart=self._cameras if separate_cameras else None,
            )
        )
        self._keep_inputs(inputs)
        self._options.separate_cameras = int(separate_cameras)
        with Lease() as lease:
            buffers = self._buffers(
                slot_gradient_pointers(slots, self._slots),
                {INPUT_GRADIENT_FIELDS[name]: address for name, address in grads.addresses.items()},
            )
            if viewmats:
                buffers.camera_rows = lease.scratch(self._cameras * self._sizes.chunks * 12)
            self._call("project_backward", buffers)
        return InputGradients(**grads.tensors())

    def normals(self, inputs: InputTensors) -> Tensor:
        """Unit vectors [S, 3] in the world along the smallest scale (of equal ones the first), turned towards the
        camera; zeros where nothing is visible.

        Raises:
            ValueError: if the inputs have covars.
        """
        result = empty_result(self._slots, 3)
        self._keep_inputs(inputs)
        self._call("normals_forward", self._buffers(), ctypes.c_void_p(result.data_ptr()))
        return result

    def normals_backward(self, inputs: InputTensors, grad_normals: Tensor) -> Tensor:
        """The gradient of quats [N, 4] from that of `normals` [S, 3]."""
        result = empty_result(self._gaussians, 4)
        grad = pointer("gradient of normals", grad_normals, torch.float32, (self._slots, 3))
        self._keep_inputs(inputs)
        self._call("normals_backward", self._buffers({"grad_quats": result.data_ptr()}), ctypes.c_void_p(grad))
        return result

    def fisher(self, inputs: InputTensors, canvas: Canvas) -> Tensor:
        """Fisher information of position and scale, float32 [S, 21]: the upper triangle, row by row, of the sum over
        pixels and channels of g g^T, with g the derivative by (mean, scale), features held fixed.

        Raises:
            ValueError: if the inputs have covars.
        """
        result = empty_result(self._slots, FISHER_VALUES)
        self._keep_inputs(inputs)
        with Lease() as lease:
            buffers = self._buffers(
                self._canvas_pointers(canvas), self._backward_scratch(lease), {"fisher": result.data_ptr()}
            )
            self._call("fisher", buffers)
        return result


def visible(
    means: Tensor, quats: Tensor, scales: Tensor, viewmat: Tensor, K: Tensor, settings: RasterSettings
) -> Tensor:
    """Which of the Gaussians one camera (viewmat [4, 4], K [3, 3]) would draw if they were opaque: bool [N].

    Raises:
        ValueError: if an input is not finite or a quaternion is zero.
    """
    n, f32 = int(means.shape[0]), torch.float32
    inputs = InputTensors(means, quats, scales, None, means.new_empty(0), None, viewmat[None], K[None])
    options = raster_options(inputs, settings)
    fields = {
        "means": pointer("means", means, f32, (n, 3)),
        "quats": pointer("quats", quats, f32, (n, 4)),
        "scales": pointer("scales", scales, f32, (n, 3)),
        "viewmats": pointer("viewmat", viewmat, f32, (4, 4)),
        "intrinsics": pointer("K", K, f32, (3, 3)),
    }
    result = torch.empty(n, dtype=torch.bool)
    buffers = _abi.RasterBuffers(**fields)
    call("gsb_raster_visible", ctypes.byref(options), ctypes.byref(buffers), ctypes.c_void_p(result.data_ptr()))
    return result
