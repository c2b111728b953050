"""Methods train, write and restore on a GPU: on a simulated one, which refuses what CUDA refuses (see
`gsbench.testing.simulated_cuda`), and on a real one where there is one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsbench import ArtifactWriter, Context
from gsbench.artifact import open_artifact
from gsbench.bench.sealed_work import decode_and_render, hash_decoded
from gsbench.scenes import Scene
from gsbench.splats.camera import cameras_to_json
from gsbench.testing import tiny_scene
from gsbench.testing.simulated_cuda import Log

METHODS = ("3dgs", "3dgs-mcmc", "scaffold", "hac", "hac++")
STEPS = 48
#: A whole schedule in so many steps, as far as a method has these settings.
SETTINGS: dict[str, Any] = {
    "iterations": STEPS,
    "densify_from_iter": 8,
    "densify_until_iter": 44,
    "densification_interval": 12,
    "densify_grad_threshold": 1e-6,
    "opacity_reset_interval": 20,
    "sh_degree_interval": 10,
    "random_background": True,
    "stat_from_iter": 2,
    "success_threshold": 0.2,
    "noise_from_iter": 14,
    "pause_until_iter": 18,
    "rate_from_iter": 26,
}
#: Where the host may wait for the device in every step: sizes of what comes next, and input checks beside them.
EVERY_STEP = {
    "native/cuda/raster.py:CudaRasterizer.project: tolist": 1,
    "native/cuda/raster.py:visible: _local_scalar_dense": 1,
    "training/anchors/neural.py:visible_anchors: nonzero": 1,
    "native/anchors.py:_count: _local_scalar_dense": 1,
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return tiny_scene(views=6, width=32, height=24, points=150)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest, find_method: Callable[[str], Any]) -> Any:
    return find_method(request.param)


def config_of(method: Any) -> Any:
    names = {field.name for field in dataclasses.fields(method.Config)}
    if "cap_max" in names:  # these it has and does not use
        names -= {"densify_grad_threshold", "opacity_reset_interval"}
    return method.Config(**{name: value for name, value in SETTINGS.items() if name in names})


def written(method: Any, model: Any, folder: Path, context: Context) -> Path:
    suffix = ".ply" if "3dgs" in method.__module__ else ".gsb"
    path = folder / f"{context.device.type}{suffix}"
    with ArtifactWriter(path, "it", "1") as out:
        method().encode(model, config_of(method), out, context)
    return path


def test_the_whole_of_a_method(gpu: Log | None, method: Any, scene: Scene, tmp_path: Path) -> None:
    """What is trained on a GPU looks like what is trained on the CPU; files hold the same numbers on both."""
    device, config = torch.device("cuda"), config_of(method)
    there = Context(device=device, threads=1, seed=3, workdir=tmp_path)
    here = dataclasses.replace(there, device=torch.device("cpu"))
    model = method().fit(scene, config, there)
    if gpu is not None:
        assert not gpu.racing
        often = {place: count for place, count in gpu.waits.items() if count > STEPS // 3}
        assert often.keys() <= EVERY_STEP.keys()
        assert all(count <= STEPS * EVERY_STEP[place] for place, count in often.items())

    view, background = scene.train[0], torch.tensor([0.2, 0.4, 0.6])
    image = model.render(view, background.to(device))
    assert image.device.type == "cuda"
    expected = method().fit(scene, config, here).render(view, background)
    # Both are chaotic; a step that went wrong shows as more.
    assert float((image.cpu() - expected).abs().mean()) < 0.02

    path = written(method, model, tmp_path, there)
    decoded = method.decode(open_artifact(path, "it"), there)
    on_the_cpu = method.decode(open_artifact(path, "it"), here)
    assert hash_decoded(decoded) == hash_decoded(on_the_cpu)
    found = decoded.render(view, background.to(device))
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), on_the_cpu.render(view, background), atol=1e-4, rtol=0)


def test_a_training_goes_on_where_it_was(gpu: Log | None, method: Any, scene: Scene) -> None:
    """From a checkpoint, to the same bytes."""
    from gsbench.training import Trainer
    from gsbench.training.packing import pack, unpack

    config = config_of(method)

    def start() -> Trainer:
        parts = [
            kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(kind) if f.init})
            for kind in (method.model_params, method.optimization_params)
        ]
        return Trainer(method.gaussian_model.construct(parts[0]), scene, parts[1], seed=1, device="cuda")

    whole, halves = start(), start()
    for _ in range(20):
        halves.train_step()
    values, tensors = pack(halves.state_dict(), "a training's state")
    assert not any(t.is_cuda for t in tensors.values())
    resumed = start()
    resumed.load_state_dict(unpack(values, tensors, torch.device("cuda")))
    for trainer, steps in ((whole, 32), (resumed, 12)):
        for _ in range(steps):
            trainer.train_step()
    for name, tensor in whole.model.tensors().items():
        assert tensor.is_cuda
        assert torch.equal(tensor.detach().cpu(), resumed.model.tensors()[name].detach().cpu()), name


def test_the_sealed_decoder(gpu: Log | None, scene: Scene, tmp_path: Path, find_method: Callable[[str], Any]) -> None:
    """What decodes and renders for the scores draws on the device it is told, and measures there."""
    method = find_method("3dgs")
    context = Context(device=torch.device("cuda"), threads=1, seed=0, workdir=tmp_path)
    for name in ("input", "output", "scratch"):
        (tmp_path / name).mkdir()
    config = dataclasses.replace(config_of(method), iterations=3)
    written(method, method().fit(scene, config, context), tmp_path / "input", context)
    (tmp_path / "input" / "cameras.json").write_text(cameras_to_json(scene.test[:1]))
    request = {
        "threads": 1,
        "device": "cuda:0",
        "method": "3dgs",
        "background": [0.0, 0.0, 0.0],
        "artifact": "cuda.ply",
        "job_protocol": 1,
    }
    decode_and_render(request, tmp_path, [])
    timing = json.loads((tmp_path / "output" / "timing.json").read_text())
    assert timing["peak_gpu_bytes"] is not None
    assert timing["render_ms"][0] > 0
    frame = np.load(tmp_path / "output" / "frames" / "0000.npy")
    assert frame.shape == (24, 32, 3)
    assert frame.max() > 0
