"""The native rasterizer's stages, with their buffers.

`Rasterizer` runs one call of `gsbench.rasterization` through project, blend and, later, both backward stages. It owns
what passes between them; inputs and results belong to the caller.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor

from gsbench.native import _abi
from gsbench.native._check import pointer
from gsbench.native._library import call
from gsbench.native._pool import Lease, Result, empty_result

#: Floats in the gradient row of a pair of a Gaussian and a tile, and in its row of statistics.
_ROW_FLOATS: Final = 16
_STATISTIC_FLOATS: Final = 8
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
    depths: Tensor | None
    means2d_abs: Tensor | None = None


class InputGradients(NamedTuple):
    """Gradients of `InputTensors`, in their shapes; with a leading C if the cameras are kept apart."""

    means: Tensor
    quats: Tensor | None
    scales: Tensor | None
    covars: Tensor | None
    opacities: Tensor
    colors: Tensor | None
    viewmats: Tensor | None


def _addresses(tensors: Mapping[str, Tensor | None]) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in tensors.items() if tensor is not None}


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


#: Makes a float32 tensor of some shape, with undefined contents.
Empty = Callable[..., Tensor]


def empty_slot_gradients(slots: int, channels: int, absolute: bool, depths: bool, empty: Empty) -> SlotGradients:
    """Room for what `blend_backward` finds."""
    return SlotGradients(
        means2d=empty(slots, 2),
        conics=empty(slots, 3),
        features=empty(slots, channels),
        opacities=empty(slots),
        depths=empty(slots) if depths else None,
        means2d_abs=empty(slots, 2) if absolute else None,
    )


def slot_gradient_addresses(grads: SlotGradients) -> dict[str, int]:
    """Addresses of such room, by field of the ABI."""
    names = {"features": "slot_colors", "opacities": "slot_opacities"}
    found = {names.get(name, name): tensor for name, tensor in grads._asdict().items()}
    return _addresses({f"grad_{name}": tensor for name, tensor in found.items()})


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


def empty_input_gradients(
    inputs: InputTensors, *, colors: bool, shared_colors: bool, viewmats: bool, apart: int | None, empty: Empty
) -> InputGradients:
    """Room for what `project_backward` finds, with a leading `apart` unless it is None (colors per camera have one)."""
    leading = () if apart is None else (apart,)
    shapes = {name: tensor for name, tensor in inputs._asdict().items() if tensor is not None and name != "Ks"}
    if inputs.covars is not None:
        shapes = {name: tensor for name, tensor in shapes.items() if name not in ("quats", "scales")}
    rooms: dict[str, Tensor | None] = dict.fromkeys(InputGradients._fields)
    for name, tensor in shapes.items():
        if (name == "colors" and not colors) or (name == "viewmats" and not viewmats):
            continue
        alone = name == "viewmats" or (name == "colors" and not shared_colors)
        rooms[name] = empty(*(() if alone else leading), *tensor.shape)
    return InputGradients(**rooms)  # type: ignore[arg-type]


def input_gradient_addresses(grads: InputGradients) -> dict[str, int]:
    """Addresses of such room, by field of the ABI."""
    return _addresses({f"grad_{name}": tensor for name, tensor in grads._asdict().items()})


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
        # Addresses of what outlives a stage, by field of gsb_raster_buffers, and what holds the memory.
        self._kept: dict[str, int] = {}
        self._lease = Lease()
        self._scratch_floats = 0
        self._slots = 0
        self._most_visible = 0  # Gaussians of a camera, at most
        self._most_pairs = 0  # the largest pair bound of a camera
        self._pairs = 0  # the sum of the pair bounds

    def _get_sizes(self) -> _abi.RasterSizes:
        sizes = _abi.RasterSizes()
        call("gsb_raster_get_sizes", ctypes.byref(self._options), ctypes.byref(sizes))
        return sizes

    def _call(self, stage: str, fields: Mapping[str, int], *extra: object, scratch_floats: int | None = None) -> None:
        """Run a stage on what is kept and on `fields`."""
        floats = self._scratch_floats if scratch_floats is None else scratch_floats
        buffers = _abi.RasterBuffers(scratch_floats=floats, **self._kept, **fields)
        call(f"gsb_raster_{stage}", ctypes.byref(self._options), ctypes.byref(buffers), *extra)

    def project(self, inputs: InputTensors) -> Projected:
        """Project every Gaussian for every camera.

        Raises:
            ValueError: if an input is not finite, a quaternion is zero, or an opacity is outside [0, 1].
        """
        c, sizes, lease, packed = self._cameras, self._sizes, self._lease, self._settings.packed
        capacity = c * self._gaussians
        chunk_ranks = torch.empty(c, sizes.chunks + 1, dtype=torch.int64)
        entry_offsets = torch.empty(c + 1, dtype=torch.int64)
        self._kept.update(
            records=lease.scratch(c * sizes.records_per_camera * 16),
            chunk_ranks=chunk_ranks.data_ptr(),
            pair_bounds=lease.scratch(c * (sizes.chunks + 1), itemsize=8),
            entry_offsets=entry_offsets.data_ptr(),
        )
        self._counts = chunk_ranks, entry_offsets
        results = {
            "means2d": Result(capacity * 2),
            "depths": Result(capacity),
            "conics": Result(capacity * 3),
            "slot_opacities": Result(capacity),
            "radii": Result(capacity * 2, torch.int32),
        }
        if inputs.colors is not None:
            results["slot_colors"] = Result(capacity * 3)
        if packed:
            results["camera_ids"] = Result(capacity, torch.int64)
            results["gaussian_ids"] = Result(capacity, torch.int64)
        addresses = {name: result.address for name, result in results.items()}
        self._call("project_forward", {**input_pointers(inputs), **addresses})
        ranks, bounds = chunk_ranks.tolist(), entry_offsets.tolist()
        visible = ranks[-1][-1] if ranks else 0
        self._slots = s = visible if packed else capacity
        self._most_visible = max((rank[-1] - rank[0] for rank in ranks), default=0)
        self._most_pairs = max((b - a for a, b in itertools.pairwise(bounds)), default=0)
        self._pairs = bounds[-1]
        return Projected(
            means2d=results["means2d"].tensor(s, 2),
            depths=results["depths"].tensor(s),
            conics=results["conics"].tensor(s, 3),
            colors=results["slot_colors"].tensor(s, 3) if inputs.colors is not None else None,
            opacities=results["slot_opacities"].tensor(s),
            radii=results["radii"].tensor(s, 2),
            camera_ids=results["camera_ids"].tensor(s) if packed else None,
            gaussian_ids=results["gaussian_ids"].tensor(s) if packed else None,
        )

    def _bin(self) -> None:
        c, sizes, lease = self._cameras, self._sizes, self._lease
        self._kept.update(
            pair_ranges=lease.scratch(c * sizes.records_per_camera * 2),
            tile_starts=lease.scratch(c * (sizes.tiles + 1), itemsize=8),
            tile_entries=lease.scratch(self._pairs * 2),
        )
        with Lease() as scratch:
            fields = {
                "tile_ids": scratch.scratch(self._most_pairs + sizes.tile_id_padding),
                "sort_items": scratch.scratch(2 * self._most_visible, itemsize=8),
                "counters": scratch.scratch(sizes.counters),
            }
            self._call("bin", fields)

    def _canvas_pointers(self, canvas: Canvas) -> dict[str, int]:
        return canvas_pointers(canvas, self._slots, self._cameras, self._options.channels or 3, self._settings)

    def blend(self, canvas: Canvas, *, statistics: bool = False, surface: bool = False) -> Blended:
        """Draw. `surface` asks for distortion and median_slots."""
        c, width, height, s = self._cameras, self._settings.width, self._settings.height, self._slots
        if canvas.features is not None:
            self._options.channels = int(canvas.features.shape[1])
            self._sizes = self._get_sizes()
        self._bin()
        self._kept.update(
            hit_masks=self._lease.scratch(self._pairs, self._sizes.block_mask_bytes),
            tile_hits=self._lease.scratch(c * self._sizes.tiles, itemsize=8),
        )
        outputs: dict[str, Tensor] = {
            "image": empty_result(c, height, width, self._options.channels or 3),
            "alpha": empty_result(c, height, width, 1),
        }
        if surface:
            outputs["distortion"] = empty_result(c, height, width, 1)
            outputs["median_slots"] = empty_result(c, height, width, dtype=torch.int64)
        if statistics:
            outputs.update({name: empty_result(s, dtype=dtype) for name, dtype in STATISTICS.items()})
        scratch_floats = ctypes.c_int64()
        with Lease() as lease:
            per_thread = self._sizes.forward_scratch_floats
            fields = {**self._canvas_pointers(canvas), **_addresses(outputs)}
            fields["thread_scratch"] = lease.scratch(self._settings.threads * per_thread)
            if statistics:
                fields["statistic_rows"] = lease.scratch(self._most_pairs * _STATISTIC_FLOATS)
            self._call("blend_forward", fields, ctypes.byref(scratch_floats), scratch_floats=per_thread)
        self._scratch_floats = scratch_floats.value
        return Blended(
            outputs["image"],
            outputs["alpha"],
            outputs.get("distortion"),
            outputs.get("median_slots"),
            {name: outputs[name] for name in STATISTICS if name in outputs},
        )

    def _backward_scratch(self, lease: Lease) -> dict[str, int]:
        return {
            "gradient_rows": lease.scratch(self._most_pairs * _ROW_FLOATS),
            "thread_scratch": lease.scratch(self._settings.threads * self._scratch_floats),
        }

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
        grads = empty_slot_gradients(self._slots, channels, absolute, grad_distortion is not None, empty_result)
        fields = self._canvas_pointers(canvas) | outer.pointers(self._cameras, channels, self._settings)
        with Lease() as lease:
            rooms = slot_gradient_addresses(grads) | self._backward_scratch(lease)
            self._call("blend_backward", {**fields, **rooms})
        return grads

    def project_backward(
        self, inputs: InputTensors, slots: SlotGradients, *, viewmats: bool = False, separate_cameras: bool = False
    ) -> InputGradients:
        """Gradients of the inputs; of viewmats only if asked for. `slots.features` are those of the projection's
        colors [S, 3], or None.
        """
        grads = empty_input_gradients(
            inputs,
            colors=slots.features is not None,
            shared_colors=not self._options.colors_per_camera,
            viewmats=viewmats,
            apart=self._cameras if separate_cameras else None,
            empty=empty_result,
        )
        fields = {**input_pointers(inputs), **input_gradient_addresses(grads)}
        fields |= slot_gradient_pointers(slots, self._slots)
        self._options.separate_cameras = int(separate_cameras)
        with Lease() as lease:
            if viewmats:
                fields["camera_rows"] = lease.scratch(self._cameras * self._sizes.chunks * 12)
            self._call("project_backward", fields)
        return grads

    def normals(self, inputs: InputTensors) -> Tensor:
        """Unit vectors [S, 3] in the world along the smallest scale (of equal ones the first), turned towards the
        camera; zeros where nothing is visible.

        Raises:
            ValueError: if the inputs have covars.
        """
        result = empty_result(self._slots, 3)
        self._call("normals_forward", input_pointers(inputs), ctypes.c_void_p(result.data_ptr()))
        return result

    def normals_backward(self, inputs: InputTensors, grad_normals: Tensor) -> Tensor:
        """The gradient of quats [N, 4] from that of `normals` [S, 3]."""
        result = empty_result(self._gaussians, 4)
        grad = pointer("gradient of normals", grad_normals, torch.float32, (self._slots, 3))
        fields = {**input_pointers(inputs), "grad_quats": result.data_ptr()}
        self._call("normals_backward", fields, ctypes.c_void_p(grad))
        return result

    def fisher(self, inputs: InputTensors, canvas: Canvas) -> Tensor:
        """Fisher information of position and scale, float32 [S, 21]: the upper triangle, row by row, of the sum over
        pixels and channels of g g^T, with g the derivative by (mean, scale), features held fixed.

        Raises:
            ValueError: if the inputs have covars.
        """
        result = empty_result(self._slots, FISHER_VALUES)
        fields = {**input_pointers(inputs), **self._canvas_pointers(canvas), **_addresses({"fisher": result})}
        with Lease() as lease:
            self._call("fisher", {**fields, **self._backward_scratch(lease)})
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
