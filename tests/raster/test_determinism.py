"""The same bytes for any number of threads; next to the same for any instruction set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsbench import native
from gsbench.raster import rasterization
from gsbench.testing.raster_case import HEIGHT, WIDTH, Case, Outcome, cameras, random_scene, run
from gsbench.testing.reference import PER_GAUSSIAN, PER_PIXEL

EVERYTHING = (*PER_GAUSSIAN, "sensitivity", "grad_abs", *PER_PIXEL)

#: Calls that between them take every path: RGB alone, features, all outputs, covariances, several cameras.
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("sh", {"sh_degree": 3}),
    ("sh", {"sh_degree": 1, "rasterize_mode": "antialiased", "render_mode": "RGB+ED", "outputs": EVERYTHING}),
    ("features", {"render_mode": "RGB+D", "outputs": ("distortion", "hits", "fisher", "sensitivity")}),
    ("covars", {"render_mode": "ED", "outputs": ("normal", "median_depth", "weight", "grad_abs")}),
    ("per camera", {"outputs": ("dominant", "max_weight", "depth")}),
]


def scene(kind: str, n: int = 5000) -> dict[str, torch.Tensor]:
    """Several chunks of Gaussians, tiles with long lists."""
    found = random_scene(
        n,
        seed=11,
        sh_degree=3 if kind == "sh" else None,
        channels=17 if kind == "features" else 3,
        per_camera=2 if kind == "per camera" else 0,
    )
    found |= cameras(2)
    g = torch.Generator().manual_seed(3)
    found["masks"] = torch.rand(2, HEIGHT, WIDTH, generator=g) > 0.1
    if kind == "covars":
        root = torch.randn(n, 3, 3, generator=g)
        found["covars"] = 0.02 * root @ root.mT
        del found["quats"], found["scales"]
    else:
        found["backgrounds"] = torch.rand(2, 17 if kind == "features" else 3, generator=g)
    return found


def every_tensor(outcome: Outcome) -> dict[str, torch.Tensor]:
    named = {"image": outcome.images, "row": outcome.rows, "gradient": outcome.gradients}
    return {f"{kind} {name}": value for kind, values in named.items() for name, value in values.items()}


@pytest.mark.parametrize(("kind", "options"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("packed", [True, False])
def test_same_bytes_for_any_number_of_threads(backend: Any, kind: str, options: dict[str, Any], packed: bool) -> None:
    case = Case(scene(kind), options)
    outcomes = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        outcomes.append(every_tensor(backend.run(case, packed=packed)))
    for other in outcomes[1:]:
        for name, value in outcomes[0].items():
            assert torch.equal(value, other[name]), name
    assert all(value.isfinite().all() for value in outcomes[0].values())


@pytest.mark.parametrize("kind", ["features", "covars"])
def test_large_tensors_give_the_same_bytes_too(kind: str) -> None:
    """So large that torch's own operations around the native stages are split between threads."""
    width, height = 240, 160
    tensors = scene(kind, 20_000) | cameras(1, width, height)
    tensors["masks"] = torch.ones(1, height, width, dtype=torch.bool)
    tensors["scales" if "scales" in tensors else "covars"] *= 0.1
    if "backgrounds" in tensors:
        tensors["backgrounds"] = tensors["backgrounds"][:1]
    options = {"width": width, "height": height, "render_mode": "RGB+ED", "outputs": ("normal", "sensitivity")}
    outcomes = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        outcomes.append(every_tensor(run(Case(tensors, options))))
    for other in outcomes[1:]:
        for name, value in outcomes[0].items():
            assert torch.equal(value, other[name]), name


def test_sorting_by_several_threads_keeps_the_order_of_equal_depths() -> None:
    """So many Gaussians that their depths are sorted by all threads, on 50 planes: equal ones stay in their order."""
    n, width, height = 300_000, 80, 48
    g = torch.Generator().manual_seed(5)
    means = torch.rand(n, 3, generator=g) * torch.tensor([4.0, 2.4, 0.0]) - torch.tensor([2.0, 1.2, 0.0])
    means[:, 2] = 2.0 + torch.randint(0, 50, (n,), generator=g) / 25
    means[:, :2] *= means[:, 2:] / 4  # all in view
    scene = (means, torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(n, -1), torch.full((n, 3), 0.005))
    drawn = (torch.rand(n, generator=g) * 0.2 + 0.01, torch.rand(n, 3, generator=g))
    K = torch.tensor([[[60.0, 0.0, 40.0], [0.0, 60.0, 24.0], [0.0, 0.0, 1.0]]])
    images = {}
    for threads in (1, 2, 3, 4, 7):
        torch.set_num_threads(threads)
        image, _, meta = rasterization(*scene, *drawn, torch.eye(4)[None], K, width, height)
        assert len(meta["depths"]) == n
        images[threads] = image
    assert all(torch.equal(images[1], other) for other in images.values())
    turned = [t.flip(0) for t in (*scene, *drawn)]
    assert not torch.equal(rasterization(*turned, torch.eye(4)[None], K, width, height)[0], images[1])


def test_same_bytes_packed_or_not(backend: Any) -> None:
    case = Case(scene("sh"), CALLS[1][1])
    packed, unpacked = every_tensor(backend.run(case)), every_tensor(backend.run(case, packed=False))
    for name, value in packed.items():
        assert torch.equal(value, unpacked[name]), name


#: Share of the pixels that may differ by more: a Gaussian at a threshold is drawn by one set and not by another.
FLIPS = 2e-3


@pytest.mark.parametrize(("kind", "options"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
def test_instruction_sets_agree(isas: list[str], kind: str, options: dict[str, Any]) -> None:
    outcomes = []
    for name in isas:
        native.set_cpu_isa(name)
        outcomes.append(run(Case(scene(kind, 400), options)))
    native.set_cpu_isa("auto")
    for other in outcomes[1:]:
        for name, image in other.images.items():
            scale = max(1.0, float(image.abs().max()))  # depths and SH colors are larger than one
            error = (image - outcomes[0].images[name]).abs().amax(dim=-1) / scale
            if name == "expected_depth" or (name == "colors" and "ED" in options.get("render_mode", "")):
                error = error * other.images["alphas"][..., 0]  # it is a quotient by alpha
            assert float((error > 1e-6).float().mean()) < FLIPS, name
        for name, rows in other.rows.items():
            if name in ("means2d", "radii", "depths", "conics"):  # nothing in the projection is contracted
                assert torch.equal(rows, outcomes[0].rows[name]), name
            if name in ("hits", "dominant"):
                assert int((rows - outcomes[0].rows[name]).abs().max()) <= 2, name
        for name, gradient in other.gradients.items():
            error = (gradient - outcomes[0].gradients[name]).norm()
            assert float(error) <= 1e-2 * float(outcomes[0].gradients[name].norm()), name


PROGRAM = """
import sys
import numpy as np
import torch
from gsbench.raster import rasterization
with np.load(sys.argv[1]) as stored:
    call = {name: torch.from_numpy(stored[name]) for name in stored.files}
call["means"].requires_grad_()
image, alpha, _ = rasterization(**call, width=%d, height=%d, sh_degree=3, render_mode="RGB+D")
image.square().sum().backward()
np.savez(sys.argv[2], image=image.detach().numpy(), alpha=alpha.detach().numpy(), gradient=call["means"].grad.numpy())
"""


def test_instruction_set_from_the_environment(isas: list[str], tmp_path: Path) -> None:
    """A process that is told which set to use draws the same bytes as this one when it switches to it."""
    call = random_scene(300, seed=8, sh_degree=3) | cameras(1)
    np.savez(tmp_path / "call.npz", **{name: value.numpy() for name, value in call.items()})
    program = PROGRAM % (WIDTH, HEIGHT)
    running = {
        name: subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "call.npz", tmp_path / f"{name}.npz"],
            env={**os.environ, "GSBENCH_ISA": name},
        )
        for name in isas
    }
    assert all(process.wait(timeout=120) == 0 for process in running.values())
    drawn: dict[str, Any] = {}
    for name in isas:
        with np.load(tmp_path / f"{name}.npz") as stored:
            drawn[name] = {key: torch.from_numpy(stored[key]) for key in stored.files}
        native.set_cpu_isa(name)
        means = call["means"].clone().requires_grad_()
        image, alpha, _ = rasterization(
            **{**call, "means": means}, width=WIDTH, height=HEIGHT, sh_degree=3, render_mode="RGB+D"
        )
        image.square().sum().backward()
        native.set_cpu_isa("auto")
        assert torch.equal(drawn[name]["image"], image.detach())
        assert torch.equal(drawn[name]["alpha"], alpha.detach())
        assert means.grad is not None
        assert torch.equal(drawn[name]["gradient"], means.grad)
