"""The rasterizer's stages on a GPU, with their buffers: what `gsbench.native.raster.Rasterizer` is for the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.native._check import pointer
from gsbench.native.cuda import _abi
from gsbench.native.cuda._library import CudaLibrary, cuda_library
from gsbench.native.raster import (
    FISHER_VALUES,
    INPUT_GRADIENT_FIELDS,
    SLOT_GRADIENT_FIELDS,
    STATISTICS,
    Blended,
    Canvas,
    ImageGradients,
    InputGradients,
    InputTensors,
    Projected,
    RasterSettings,
    SlotGradients,
    canvas_pointers,
    input_gradient_shapes,
    input_pointers,
    raster_options,
    slot_gradient_pointers,
    slot_gradient_shapes,
)

#: Floats of a camera, of a row of sums, and of a row of statistics.
_CAMERA_FLOATS: Final = 32
_ROW_FLOATS: Final = 16
_STATISTIC_FLOATS: Final = 4
#: Gaussians that one row of the cameras' gradients sums up.
_CAMERA_CHUNK: Final = 1024
#: 4-byte numbers of a screen record and of an entry of a tile's list.
_RECORD_WORDS: Final = 16
_ENTRY_WORDS: Final = 2
_TILE: Final = 16

#: Bits of what a projection refused.
_REFUSED_GAUSSIAN: Final = 1
_REFUSED_CAMERA: Final = 2


def _addresses(tensors: Mapping[str, Tensor | None]) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in tensors.items() if tensor is not None}


class CudaRasterizer:
    """The state of one rasterization. Stages as in `gsbench.native.raster.Rasterizer`, with the same results.

    All memory is torch's, on the inputs' device, in its current stream. The host waits once: for the number of visible
    Gaussians and of their pairs with tiles, on which sizes depend. Results have the same bytes in every run on one
    kind of device.

    Args:
        inputs, settings: what `project` is about to be given.
        library: another than the installed one.
        backgrounds: float32 [C, X] of which `project` says whether they are finite, without waiting once more.
    """

    def __init__(
        self,
        inputs: InputTensors,
        settings: RasterSettings,
        library: CudaLibrary | None = None,
        backgrounds: Tensor | None = None,
    ) -> None:
        self._library = cuda_library() if library is None else library
        self._device = inputs.means.device
        self._place = self._library.place(self._device)
        self._options = raster_options(inputs, settings)
        self._settings, self._backgrounds = settings, backgrounds
        self._gaussians, self._cameras = int(inputs.means.shape[0]), int(inputs.viewmats.shape[0])
        self._combinations = self._gaussians * self._cameras
        self._tiles = self._cameras * -(-settings.width // _TILE) * -(-settings.height // _TILE)
        self._kept: dict[str, Tensor] = {}
        self._buffers = _abi.RasterBuffers()
        self._slots = 0

    def _empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self._device)

    def _keep(self, **tensors: Tensor) -> None:
        """Buffers that later stages use too."""
        self._kept.update(tensors)
        for name, tensor in tensors.items():
            setattr(self._buffers, name, tensor.data_ptr())

    def _call(self, stage: str, tensors: Mapping[str, Tensor | None], fields: dict[str, int], *extra: Any) -> None:
        """Run a stage on the kept buffers, `tensors` and `fields`; the latter are forgotten afterwards."""
        fields = {**fields, **_addresses(tensors)}
        for name, address in fields.items():
            setattr(self._buffers, name, address)
        queue = self._library.queue(self._device)
        try:
            self._library.call(
                f"gsb_cuda_raster_{stage}", queue, ctypes.byref(self._options), ctypes.byref(self._buffers), *extra
            )
        finally:
            for name in fields:
                setattr(self._buffers, name, 0 if name in ("row_floats", "workspace_bytes") else None)

    def _workspace(self, function: str, *sizes: int) -> tuple[Tensor, dict[str, int]]:
        size = ctypes.c_int64()
        queue = self._library.queue(self._device)
        self._library.call(
            f"gsb_cuda_raster_{function}_bytes", queue, ctypes.byref(self._options), *sizes, ctypes.byref(size)
        )
        return self._empty(size.value, dtype=torch.uint8), {"workspace_bytes": size.value}

    def _inputs(self, inputs: InputTensors) -> dict[str, int]:
        return input_pointers(inputs, self._place)

    def project(self, inputs: InputTensors) -> Projected:
        """Project every Gaussian for every camera.

        Raises:
            ValueError: if an input is not finite, a quaternion is zero, or an opacity is outside [0, 1]; or if the
                backgrounds are not finite.
        """
        packed, i32, i64 = self._settings.packed, torch.int32, torch.int64
        fields = self._inputs(inputs)
        self._keep(
            cameras=self._empty(self._cameras, _CAMERA_FLOATS),
            records=self._empty(self._combinations, _RECORD_WORDS),
            tile_counts=self._empty(self._combinations, dtype=i32),
            ranks=self._empty(self._combinations, dtype=i32),
        )
        totals = self._empty(3, dtype=i64)
        with_colors = inputs.colors is not None
        slots = {} if packed else self._slot_arrays(self._combinations, with_colors)
        work, sizes = self._workspace("project")
        self._call("project", {"totals": totals, "workspace": work, **slots}, {**fields, **sizes})
        if self._backgrounds is not None:
            totals = torch.cat([totals, self._backgrounds.isfinite().all().to(i64)[None]])
        visible, pairs, refused, *finite = totals.tolist()
        if 0 in finite:
            raise ValueError("backgrounds: expected finite numbers")
        if refused:
            raise ValueError(_refusal(inputs, refused))
        self._buffers.visible, self._buffers.pairs = visible, pairs
        self._slots = visible if packed else self._combinations
        if packed:
            slots = self._slot_arrays(visible, with_colors)
            slots |= {name: self._empty(visible, dtype=i64) for name in ("camera_ids", "gaussian_ids")}
            self._call("pack", slots, fields)
        return Projected(
            slots["means2d"],
            slots["depths"],
            slots["conics"],
            slots.get("slot_colors"),
            slots["slot_opacities"],
            slots["radii"],
            slots.get("camera_ids"),
            slots.get("gaussian_ids"),
        )

    def _slot_arrays(self, rows: int, with_colors: bool) -> dict[str, Tensor]:
        slots = {
            "means2d": self._empty(rows, 2),
            "depths": self._empty(rows),
            "conics": self._empty(rows, 3),
            "slot_opacities": self._empty(rows),
            "radii": self._empty(rows, 2, dtype=torch.int32),
        }
        return slots | ({"slot_colors": self._empty(rows, 3)} if with_colors else {})

    def _bin(self) -> None:
        visible, pairs, i32 = self._buffers.visible, self._buffers.pairs, torch.int32
        work, sizes = self._workspace("bin", visible, pairs)
        self._keep(
            pair_begins=self._empty(visible, dtype=i32),
            tile_starts=self._empty(self._tiles + 1, dtype=i32),
        )
        scratch = {
            "depth_keys": self._empty(2, visible, dtype=i32),
            "order": self._empty(2, visible, dtype=i32),
            "tile_keys": self._empty(2, pairs, dtype=i32),
            "tile_entries": self._empty(2, pairs, _ENTRY_WORDS, dtype=i32),
            "workspace": work,
        }
        order_half, entry_half = ctypes.c_int32(), ctypes.c_int32()
        self._call("bin", scratch, sizes, ctypes.byref(order_half), ctypes.byref(entry_half))
        for name in ("depth_keys", "tile_keys", "workspace"):
            del scratch[name]
        del work
        # Copies, so that the other halves can be used again.
        self._keep(
            order=scratch["order"][order_half.value].clone(),
            tile_entries=scratch["tile_entries"][entry_half.value].clone(),
        )

    def _canvas_pointers(self, canvas: Canvas) -> dict[str, int]:
        channels, device = self._options.channels or 3, self._place
        return canvas_pointers(canvas, self._slots, self._cameras, channels, self._settings, device)

    def blend(self, canvas: Canvas, *, statistics: bool = False, surface: bool = False) -> Blended:
        """Draw. `surface` asks for distortion and median_slots."""
        c, width, height, s = self._cameras, self._settings.width, self._settings.height, self._slots
        if canvas.features is not None:
            self._options.channels = int(canvas.features.shape[1])
        fields = self._canvas_pointers(canvas)
        self._bin()
        self._keep(
            last_entries=self._empty(c, height, width, dtype=torch.int32),
            transmittances=self._empty(c, height, width),
        )
        outputs = {
            "image": self._empty(c, height, width, self._options.channels or 3),
            "alpha": self._empty(c, height, width, 1),
        }
        if surface:
            outputs["distortion"] = self._empty(c, height, width, 1)
            outputs["median_slots"] = self._empty(c, height, width, dtype=torch.int64)
            self._keep(depth_sums=self._empty(c, height, width))
        scratch: dict[str, Tensor] = {}
        if statistics:
            outputs.update({name: self._empty(s, dtype=dtype) for name, dtype in STATISTICS.items()})
            scratch["rows"] = self._empty(self._buffers.pairs, _STATISTIC_FLOATS)
            fields["row_floats"] = _STATISTIC_FLOATS
        self._call("blend_forward", {**outputs, **scratch}, fields)
        return Blended(
            outputs["image"],
            outputs["alpha"],
            outputs.get("distortion"),
            outputs.get("median_slots"),
            {name: outputs[name] for name in STATISTICS if name in outputs},
        )

    def _rows(self, floats: int) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Scratch for a row of sums per pair."""
        rows = self._empty(self._buffers.pairs, floats)
        return {"rows": rows, "row_sums": self._empty(self._buffers.visible, _ROW_FLOATS)}, {"row_floats": floats}

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
        channels, with_distortion = self._options.channels or 3, grad_distortion is not None
        outer = ImageGradients(grad_image, grad_alpha, grad_distortion)
        fields = outer.pointers(self._cameras, channels, self._settings, self._place)
        fields |= self._canvas_pointers(canvas)
        shapes = slot_gradient_shapes(self._slots, channels, absolute, with_distortion)
        grads = {name: self._empty(*shape) for name, shape in shapes.items()}
        floats, options = ctypes.c_int32(), ctypes.byref(self._options)
        self._library.call(
            "gsb_cuda_raster_row_floats", options, int(absolute), int(with_distortion), ctypes.byref(floats)
        )
        scratch, sizes = self._rows(floats.value)
        rooms = {SLOT_GRADIENT_FIELDS[name]: tensor for name, tensor in grads.items()}
        self._call("blend_backward", {**scratch, **rooms}, {**fields, **sizes})
        return SlotGradients(**grads)

    def project_backward(
        self, inputs: InputTensors, slots: SlotGradients, *, viewmats: bool = False, separate_cameras: bool = False
    ) -> InputGradients:
        """Gradients of the inputs; of viewmats only if asked for. `slots.features` are those of the projection's
        colors [S, 3], or None.
        """
        separate = self._cameras if separate_cameras else None
        per_camera, with_colors = bool(self._options.colors_per_camera), slots.features is not None
        shapes = input_gradient_shapes(
            inputs, colors=with_colors, shared_colors=not per_camera, viewmats=viewmats, apart=separate
        )
        grads = {name: self._empty(*shape) for name, shape in shapes.items()}
        scratch = {INPUT_GRADIENT_FIELDS[name]: tensor for name, tensor in grads.items()}
        if viewmats:
            scratch["camera_rows"] = self._empty(self._cameras, -(-self._gaussians // _CAMERA_CHUNK), 12)
        fields = slot_gradient_pointers(slots, self._slots, self._place)
        self._options.separate_cameras = int(separate_cameras)
        self._call("project_backward", scratch, {**self._inputs(inputs), **fields})
        return InputGradients(**grads)

    def fisher(self, inputs: InputTensors, canvas: Canvas) -> Tensor:
        """Fisher information of position and scale, float32 [S, 21], as `Rasterizer.fisher`.

        Raises:
            ValueError: if the inputs have covars.
        """
        result = self._empty(self._slots, FISHER_VALUES)
        scratch, sizes = self._rows(_ROW_FLOATS)
        fields = {**self._inputs(inputs), **self._canvas_pointers(canvas), **sizes}
        self._call("fisher", {"fisher": result, **scratch}, fields)
        return result

    def normals(self, inputs: InputTensors) -> Tensor:
        """Normals [S, 3] of the visible Gaussians, as `Rasterizer.normals`.

        Raises:
            ValueError: if the inputs have covars.
        """
        result = self._empty(self._slots, 3)
        self._call("normals_forward", {}, self._inputs(inputs), result.data_ptr())
        return result

    def normals_backward(self, inputs: InputTensors, grad_normals: Tensor) -> Tensor:
        """The gradient of quats [N, 4] from that of `normals` [S, 3]."""
        result = self._empty(self._gaussians, 4)
        shape = (self._slots, 3)
        grad = pointer("gradient of normals", grad_normals, torch.float32, shape, self._place)
        self._call("normals_backward", {"grad_quats": result}, self._inputs(inputs), grad)
        return result


def visible(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    viewmat: Tensor,
    K: Tensor,
    settings: RasterSettings,
    library: CudaLibrary | None = None,
) -> Tensor:
    """Which of the Gaussians one camera (viewmat [4, 4], K [3, 3]) would draw if they were opaque: bool [N].

    Raises:
        ValueError: if an input is not finite or a quaternion is zero.
    """
    library = cuda_library() if library is None else library
    n, f32, device = int(means.shape[0]), torch.float32, library.place(means.device)
    inputs = InputTensors(means, quats, scales, None, means.new_empty(0), None, viewmat[None], K[None])
    fields = {
        "means": pointer("means", means, f32, (n, 3), device),
        "quats": pointer("quats", quats, f32, (n, 4), device),
        "scales": pointer("scales", scales, f32, (n, 3), device),
        "viewmats": pointer("viewmat", viewmat, f32, (4, 4), device),
        "intrinsics": pointer("K", K, f32, (3, 3), device),
    }
    result = torch.empty(n, dtype=torch.bool, device=means.device)
    totals = torch.empty(3, dtype=torch.int64, device=means.device)
    cameras = torch.empty(_CAMERA_FLOATS, device=means.device)
    buffers = _abi.RasterBuffers(**fields, **_addresses({"totals": totals, "cameras": cameras}))
    options = raster_options(inputs, settings)
    queue = library.queue(means.device)
    library.call("gsb_cuda_raster_visible", queue, ctypes.byref(options), ctypes.byref(buffers), result.data_ptr())
    refused = int(totals[2])
    if refused:
        raise ValueError(_refusal(inputs, refused))
    return result


def _first_row(bad: Tensor) -> int:
    """The first row [N, ...] with a True."""
    return int(bad.flatten(1).any(dim=1).int().argmax()) if bad.ndim > 1 else int(bad.int().argmax())


def _refusal(inputs: InputTensors, refused: int) -> str:
    """Names the first input that a projection refused, in the words of csrc/capi/capi_raster.cpp."""
    if refused & _REFUSED_CAMERA:
        return _camera_refusal(inputs.viewmats.cpu(), inputs.Ks.cpu())
    if refused & _REFUSED_GAUSSIAN:
        for name in ("means", "covars", "quats", "scales"):
            tensor = getattr(inputs, name)
            if tensor is not None and not tensor.isfinite().all():
                return f"{name}: row {_first_row(~tensor.isfinite())} is not finite"
        if inputs.quats is not None:
            zero = inputs.quats.square().sum(dim=1) < 1e-30
            if zero.any():
                return f"quats: row {_first_row(zero)} is zero and cannot be normalized"
        row = _first_row(~((inputs.opacities >= 0) & (inputs.opacities <= 1)))
        return f"opacities: row {row} is {float(inputs.opacities[row]):g}, expected a number in [0, 1]"
    assert inputs.colors is not None
    rows = inputs.colors.flatten(0, 1) if inputs.colors.ndim == 4 else inputs.colors
    if not rows.isfinite().all():
        return f"colors: row {_first_row(~rows.isfinite())} is not finite"
    return "colors: a sum of spherical harmonics overflows float32"


def _camera_refusal(viewmats: Tensor, Ks: Tensor) -> str:
    for c, (view, k) in enumerate(zip(viewmats, Ks, strict=True)):
        if not view.isfinite().all():
            return f"viewmats: camera {c} is not finite"
        if view[3].tolist() != [0.0, 0.0, 0.0, 1.0]:
            return f"viewmats: camera {c}: expected 0 0 0 1 in the last row"
        if not k.isfinite().all() or not (k[0, 0] > 0 and k[1, 1] > 0):
            return f"Ks: camera {c}: expected finite numbers and positive focal lengths"
        if [float(k[0, 1]), float(k[1, 0]), *k[2].tolist()] != [0.0, 0.0, 0.0, 0.0, 1.0]:
            return f"Ks: camera {c}: expected fx 0 cx; 0 fy cy; 0 0 1 (skew is not supported)"
    return "a camera was refused"
