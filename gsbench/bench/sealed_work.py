"""What the sealed child does once it is sealed: decode, time, render, hash. Imports torch."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from gsbench.artifact import open_artifact
from gsbench.bench.memory import peak_gpu_bytes, peak_host_bytes
from gsbench.hooks import load_plugins, method_class
from gsbench.methods import Context, Renderable
from gsbench.splats import Camera, cameras_from_json

#: For how long views are rendered before those whose times count, unless all were rendered once before that.
WARM_UP_SECONDS: Final = 0.5


def decode_and_render(request: Mapping[str, Any], folder: Path, progress: list[str]) -> None:
    """Restore ``input/<artifact>``, render the views of ``input/cameras.json``, and write the results to ``output``:
    ``frames/NNNN.npy`` (float32 [H, W, 3]), then ``timing.json``.

    Args:
        request: the sealed child's request.
        folder: the sealed child's folder.
        progress: the stage is appended as it begins, "decode" and then "render".

    Raises:
        ArtifactError: if the artifact is damaged.
    """
    torch.set_num_threads(request["threads"])
    device = torch.device(request["device"])
    synchronize = torch.cuda.synchronize if device.type == "cuda" else _nothing
    load_plugins()
    method = method_class(request["method"])
    output = folder / "output"
    cameras = [camera.to(device) for camera in cameras_from_json((folder / "input" / "cameras.json").read_text())]
    background = torch.tensor(request["background"], dtype=torch.float32, device=device)
    workdir = folder / "scratch" / "work"
    workdir.mkdir()
    context = Context(device=device, threads=request["threads"], seed=0, workdir=workdir)

    progress.append("decode")
    with torch.no_grad():
        synchronize()
        begin = time.perf_counter()
        decoded = method.decode(open_artifact(folder / "input" / request["artifact"], request["method"]), context)
        synchronize()
        decode_seconds = time.perf_counter() - begin
        counts = _counts(method.counts, decoded)
        decoded_sha256 = hash_decoded(decoded)

        progress.append("render")
        frames = output / "frames"
        frames.mkdir()
        render_ms: list[float] = []
        _warm_up(decoded, cameras, background)
        # One view at a time, each with all threads, and nothing else meanwhile: these are also the timings.
        for index, camera in enumerate(cameras):
            synchronize()
            begin = time.perf_counter()
            image = _render(decoded, camera, background)
            synchronize()
            render_ms.append(1000.0 * (time.perf_counter() - begin))
            np.save(frames / f"{index:04d}.npy", image.cpu().contiguous().numpy(), allow_pickle=False)
    result = {
        "job_protocol": request["job_protocol"],
        "decode_seconds": decode_seconds,
        "render_ms": render_ms,
        "counts": counts,
        "decoded_sha256": decoded_sha256,
        "peak_host_bytes": peak_host_bytes(),
        "peak_gpu_bytes": peak_gpu_bytes(device),
    }
    (output / "timing.json").write_text(json.dumps(result))


def _warm_up(decoded: Renderable, cameras: Sequence[Camera], background: Tensor) -> None:
    """Render views that are not timed: one at least, and further ones until memory and caches are as they stay."""
    begin = time.perf_counter()
    for camera in cameras:
        _render(decoded, camera, background)
        if time.perf_counter() - begin > WARM_UP_SECONDS:
            break


def _nothing() -> None:
    pass


def _render(decoded: Renderable, camera: Camera, background: Tensor) -> Tensor:
    """One image, checked to be what the protocol of `Renderable.render` promises."""
    image = decoded.render(camera, background)
    shape = [camera.height, camera.width, 3]
    if not isinstance(image, Tensor) or image.dtype != torch.float32 or list(image.shape) != shape:
        what = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(f"rendering view {camera.name!r}: expected a float32 tensor of shape {shape}, got {what}")
    return image


def _counts(count: Callable[[Renderable], dict[str, int]], decoded: Renderable) -> dict[str, int]:
    try:
        return {name: int(value) for name, value in count(decoded).items()}
    except NotImplementedError:  # no Gaussians to count
        return {}


def hash_decoded(decoded: Renderable) -> str | None:
    """SHA-256 over the tensors that decoding gave: what two machines must agree on.

    The Gaussians where the representation has them; else what the object's own ``decoded_tensors()`` returns (a
    mapping of names to tensors); else None.
    """
    try:
        splats = decoded.splats()
        tensors: Mapping[str, Tensor] = vars(splats)
    except NotImplementedError:
        own = getattr(decoded, "decoded_tensors", None)
        if own is None:
            return None
        tensors = own()
    return hash_tensors(tensors)


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and little-endian values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
