"""From anchors and the outputs of their networks to Gaussians, forward and backward."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from gsbench.native import _abi
from gsbench.native._check import pointer
from gsbench.native._library import call
from gsbench.native.cuda import CudaLibrary, cuda_library


@dataclass(frozen=True)
class AnchorInputs:
    """n anchors with K offsets each: what `anchor_gaussians` starts from. All float32, contiguous, on one device.

    Fields:
        positions: [n, 3], scene units.
        offsets: [n, K, 3], in units of the first three scales.
        scales: [n, 6]: reach of the offsets, size of the Gaussians; scene units.
        opacities: [n, K], before tanh.
        shapes: [n, K, 7]: scales before the sigmoid, quaternion wxyz.
        colors: [n, K, 3], before the sigmoid.
        masks: [n, K], factors on opacity and scale; None for ones.
    """

    positions: Tensor
    offsets: Tensor
    scales: Tensor
    opacities: Tensor
    shapes: Tensor
    colors: Tensor
    masks: Tensor | None


@dataclass(frozen=True)
class AnchorOutputs:
    """M Gaussians, ordered by anchor, then offset.

    Fields:
        rows: int64 [M], ascending: anchor times K plus offset.
        means: float32 [M, 3]. scales: [M, 3]. quats: [M, 4], not normalized. opacities: [M] in (0, 1]. colors: [M, 3].
        starts: int64 [n + 1]: the Gaussians of anchor i are starts[i] to starts[i + 1].
        dense_opacities: float32 [n, K], those that are not above 0 included.
    """

    rows: Tensor
    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    colors: Tensor
    starts: Tensor
    dense_opacities: Tensor


@dataclass(frozen=True)
class AnchorGradients:
    """Gradients shaped like `AnchorInputs`; masks is None like there. Positions get none: anchors do not move."""

    offsets: Tensor
    scales: Tensor
    opacities: Tensor
    shapes: Tensor
    colors: Tensor
    masks: Tensor | None


#: Fields of `AnchorInputs` and the trailing dimensions that they have after [n] or [n, K].
_PER_ANCHOR: Final = {"positions": (3,), "scales": (6,)}
_PER_OFFSET: Final[dict[str, tuple[int, ...]]] = {"offsets": (3,), "opacities": (), "shapes": (7,), "colors": (3,)}
#: Their names in the ABI.
_NAMES: Final = {
    "scales": "anchor_scales",
    "opacities": "raw_opacities",
    "shapes": "raw_shapes",
    "colors": "raw_colors",
}


def anchor_gaussians(
    inputs: AnchorInputs, *, threads: int | None = None, library: CudaLibrary | None = None
) -> AnchorOutputs:
    """The Gaussians of the offsets whose opacity is above 0 (Lu et al., "Scaffold-GS", 2024, section 3.2).

    csrc/cpu/anchors.inc has the formulas. The same bytes for any number of threads, and on a GPU. `library`: another
    than the one for the tensors' device.

    Raises:
        ValueError: if a tensor is not as `AnchorInputs` says, or there are 2^31 / 7 offsets or more.
    """
    library = _library_of(inputs, library)
    buffers, n, k = _buffers(inputs, threads, library)
    device = inputs.positions.device

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=device)

    dense, starts = empty(n, k), torch.empty(n + 1, dtype=torch.int64, device=device)
    buffers.dense_opacities, buffers.starts = dense.data_ptr(), starts.data_ptr()
    m = _count(buffers, starts, library)
    rows = torch.empty(m, dtype=torch.int64, device=device)
    means, scales, quats, opacities, colors = empty(m, 3), empty(m, 3), empty(m, 4), empty(m), empty(m, 3)
    outputs = AnchorOutputs(rows, means, scales, quats, opacities, colors, starts, dense)
    for name in ("rows", "means", "scales", "quats", "opacities", "colors"):
        setattr(buffers, name, getattr(outputs, name).data_ptr())
    _run("forward", buffers, device, library)
    return outputs


def _library_of(inputs: AnchorInputs, library: CudaLibrary | None) -> CudaLibrary | None:
    """The CUDA library for tensors on a GPU, None for the CPU's own."""
    return cuda_library() if library is None and inputs.positions.is_cuda else library


def _count(buffers: _abi.AnchorBuffers, starts: Tensor, library: CudaLibrary | None) -> int:
    """Fills dense_opacities and starts; how many offsets live."""
    live = ctypes.c_int64()
    if library is None:
        call("gsb_anchor_count", ctypes.byref(buffers), ctypes.byref(live))
        return live.value
    queue = library.queue(starts.device)
    library.call("gsb_cuda_anchor_bytes", queue, buffers.anchors, ctypes.byref(live))
    workspace = torch.empty(live.value, dtype=torch.uint8, device=starts.device)
    library.call("gsb_cuda_anchor_count", queue, ctypes.byref(buffers), workspace.data_ptr(), live.value)
    return int(starts[-1])


def _run(stage: str, buffers: _abi.AnchorBuffers, device: torch.device, library: CudaLibrary | None) -> None:
    if library is None:
        call(f"gsb_anchor_{stage}", ctypes.byref(buffers))
    else:
        library.call(f"gsb_cuda_anchor_{stage}", library.queue(device), ctypes.byref(buffers))


def anchor_gradients(
    inputs: AnchorInputs,
    rows: Tensor,
    starts: Tensor,
    grad_means: Tensor,
    grad_scales: Tensor,
    grad_quats: Tensor,
    grad_opacities: Tensor,
    grad_colors: Tensor,
    *,
    threads: int | None = None,
    library: CudaLibrary | None = None,
) -> AnchorGradients:
    """The gradients to the inputs of `anchor_gaussians` from those to what it returned, float32, shaped like that;
    `rows` and `starts` are what it returned under these names.

    Raises:
        ValueError: if a tensor is not as stated.
    """
    library = _library_of(inputs, library)
    buffers, n, k = _buffers(inputs, threads, library)
    m, device = rows.shape[0], inputs.positions.device
    kind = "cpu" if library is None else library.place(inputs.positions.device)
    given = {"means": grad_means, "scales": grad_scales, "quats": grad_quats, "colors": grad_colors}
    for name, gradient in given.items():
        shape = (m, 4 if name == "quats" else 3)
        setattr(buffers, f"grad_{name}", pointer(f"grad_{name}", gradient, torch.float32, shape, kind))
    buffers.grad_opacities = pointer("grad_opacities", grad_opacities, torch.float32, (m,), kind)
    buffers.starts = pointer("starts", starts, torch.int64, (n + 1,), kind)
    buffers.rows = pointer("rows", rows, torch.int64, (m,), kind)
    gradients = AnchorGradients(
        offsets=torch.empty(n, k, 3, device=device),
        scales=torch.empty(n, 6, device=device),
        opacities=torch.empty(n, k, device=device),
        shapes=torch.empty(n, k, 7, device=device),
        colors=torch.empty(n, k, 3, device=device),
        masks=None if inputs.masks is None else torch.empty(n, k, device=device),
    )
    for name in ("offsets", "scales", "opacities", "shapes", "colors"):
        setattr(buffers, f"grad_{_NAMES.get(name, name)}", getattr(gradients, name).data_ptr())
    if gradients.masks is not None:
        buffers.grad_masks = gradients.masks.data_ptr()
    _run("backward", buffers, device, library)
    return gradients


def _buffers(
    inputs: AnchorInputs, threads: int | None, library: CudaLibrary | None
) -> tuple[_abi.AnchorBuffers, int, int]:
    if inputs.offsets.ndim != 3:
        raise ValueError(f"offsets: expected shape [n, K, 3], got {list(inputs.offsets.shape)}")
    n, k = (int(size) for size in inputs.offsets.shape[:2])
    kind = "cpu" if library is None else library.place(inputs.positions.device)
    buffers = _abi.AnchorBuffers(
        threads=torch.get_num_threads() if threads is None else threads, anchors=n, per_anchor=k
    )
    shapes: dict[str, tuple[int, ...]] = {name: (n, *rest) for name, rest in _PER_ANCHOR.items()}
    shapes |= {name: (n, k, *rest) for name, rest in _PER_OFFSET.items()}
    for name, shape in shapes.items():
        setattr(buffers, _NAMES.get(name, name), pointer(name, getattr(inputs, name), torch.float32, shape, kind))
    if inputs.masks is not None:
        buffers.masks = pointer("masks", inputs.masks, torch.float32, (n, k), kind)
    return buffers, n, k
