"""The rasterizer's Python for tensors on a GPU, on a simulated one (`gsbench.testing.simulated_cuda`): where the host
waits, what is refused, and that nothing is added in no fixed order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gsbench import DefaultStrategy, MCMCStrategy, native, rasterization
from gsbench.native._check import pointer
from gsbench.native.cuda import CudaLibrary
from gsbench.native.cuda.training import adam_step
from gsbench.native.hashgrid import hashgrid_backward
from gsbench.native.optim import AdamUpdate
from gsbench.raster import OUTPUTS
from gsbench.testing.raster_case import HEIGHT, WIDTH, Case, cameras, random_scene, run
from gsbench.testing.simulated_cuda import Log, simulated_cuda
from gsbench.training.hashgrid import HashGrid, HashLayout
from gsbench.training.losses import l1_dssim_loss

PROJECTION = "native/cuda/raster.py:CudaRasterizer.project: tolist"


@pytest.fixture
def gpu(cuda_twin: CudaLibrary) -> Iterator[Log]:
    try:
        native.set_cpu_isa("avx2")  # the bits of the twin
    except ValueError as error:
        pytest.skip(str(error))
    with simulated_cuda(cuda_twin) as log:
        yield log
    native.set_cpu_isa("auto")


def tensors(n: int = 60, c: int = 1) -> dict[str, Any]:
    scene = {name: t.to("cuda").requires_grad_() for name, t in random_scene(n).items()}
    return {**scene, **{name: t.to("cuda") for name, t in cameras(c).items()}, "width": WIDTH, "height": HEIGHT}


def test_it_refuses_what_cuda_refuses(gpu: Log) -> None:
    """Else the tests below would say nothing."""
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    for mixed in (lambda: here + there, lambda: there.add_(here), lambda: here.add_(there), lambda: here[there > 0]):
        with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
            mixed()
    with pytest.raises(TypeError, match=r"Use Tensor\.cpu\(\)"):
        there.numpy()
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        torch.rand(3, device="cuda", generator=torch.Generator())
    assert not gpu.waits
    assert there.sum().item() == 3.0
    assert there.cpu().tolist() == [1.0] * 3
    assert (there[there > 0] * torch.tensor(2.0)).tolist() == [2.0] * 3
    assert sum(gpu.waits.values()) == 4
    there.index_add_(0, torch.tensor([0, 0], device="cuda"), torch.ones(2, device="cuda"))
    assert sum(gpu.racing.values()) == 1


@pytest.mark.parametrize("packed", [True, False])
def test_a_step_waits_once(gpu: Log, packed: bool) -> None:
    """For the numbers of visible Gaussians and pairs; the loss and the gradients wait for nothing."""
    given, background = tensors(), torch.ones(1, 3, device="cuda")
    image, _, _ = rasterization(**given, packed=packed, backgrounds=background)
    loss, _, _ = l1_dssim_loss(image[0], torch.zeros(HEIGHT, WIDTH, 3, device="cuda"))
    loss.backward()  # type: ignore[no-untyped-call]
    assert gpu.waits == {PROJECTION: 1}
    assert not gpu.racing
    assert given["means"].grad.is_cuda


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("sh_degree", [None, 2])
def test_all_outputs_are_those_of_the_cpu(gpu: Log, packed: bool, sh_degree: int | None) -> None:
    scene = random_scene(80, seed=4, **({} if sh_degree is None else {"sh_degree": sh_degree}))
    options = {"outputs": tuple(OUTPUTS), "render_mode": "RGB+ED", "rasterize_mode": "antialiased"}
    case = Case({**scene, **cameras(2)}, {**options, **({} if sh_degree is None else {"sh_degree": sh_degree})})
    ours = run(case, "cuda", device="cuda", packed=packed, absgrad=True)
    theirs = run(case, "cpu", packed=packed, absgrad=True)
    assert not gpu.racing
    for part in ("images", "rows", "gradients"):
        found, expected = getattr(ours, part), getattr(theirs, part)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            error = float((found[name].double() - value.double()).norm())
            assert error <= 5e-4 * float(value.double().norm()) + 1e-6, f"{name}: off by {error:.3g}"


def test_backgrounds_must_be_finite(gpu: Log) -> None:
    background = torch.tensor([[0.0, torch.nan, 1.0]], device="cuda")
    with pytest.raises(ValueError, match="backgrounds: expected finite numbers"):
        rasterization(**tensors(), backgrounds=background)
    assert gpu.waits == {PROJECTION: 1}


def test_inputs_that_are_refused_are_named(gpu: Log) -> None:
    given = tensors()
    given["opacities"] = given["opacities"].detach().clone()
    given["opacities"][7] = 1.5
    with pytest.raises(ValueError, match=r"opacities: row 7 is 1\.5, expected a number in \[0, 1\]"):
        rasterization(**given)
    given["Ks"] = given["Ks"].cpu()
    with pytest.raises(ValueError, match="Ks: expected a tensor on cuda:0 like means, got one on cpu"):
        rasterization(**given)


def test_tensors_of_one_call_are_on_one_device(gpu: Log) -> None:
    """A pointer to another device's memory would end the process's use of both."""
    there = torch.zeros(3, device="cuda")
    assert pointer("x", there, torch.float32, (3,), "cuda") == pointer("x", there, torch.float32, (3,), "cuda:0")
    with pytest.raises(ValueError, match="x: expected a tensor on cuda:1, got one on cuda:0"):
        pointer("x", there, torch.float32, (3,), "cuda:1")
    with pytest.raises(ValueError, match="gradient: expected a tensor on cuda:0, got one on cpu"):
        adam_step(AdamUpdate(there, torch.zeros(3), there, there, lr=0.1, betas=(0.9, 0.9), eps=1e-8, step=1))
    with pytest.raises(ValueError, match="parameter: expected a tensor on cuda, got one on cpu"):
        adam_step(AdamUpdate(torch.zeros(3), there, there, there, lr=0.1, betas=(0.9, 0.9), eps=1e-8, step=1))


def test_hash_grids_wait_for_nothing(gpu: Log) -> None:
    grid = HashGrid(HashLayout(space=(4, 9), planes=(7,), space_entries=300, plane_entries=40))
    grid.reset(torch.Generator().manual_seed(0))
    points = torch.randint(0, 50, (70, 3), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    results = []
    for device in ("cpu", "cuda"):
        here = HashGrid(grid.layout).to(device)
        with torch.no_grad():
            here.table.copy_(grid.table)
        gpu.clear()
        features, share = here(points.to(device), (50, 50, 50))
        (features.square().sum() + 3.0 * share).backward()
        assert not gpu.waits
        assert here.table.grad is not None
        results.append([features.detach().cpu(), share.detach().cpu(), here.table.grad.cpu()])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    table, features = grid.table.detach(), results[0][0]
    levels = grid.levels
    expected = hashgrid_backward(points, (50, 50, 50), levels, table, features, grad_signs=0.25, binary=True)
    on_device = (t.to("cuda") for t in (table, features))
    table, features = on_device
    found = hashgrid_backward(points.to("cuda"), (50, 50, 50), levels, table, features, grad_signs=0.25, binary=True)
    assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("strategy", [DefaultStrategy(refine_start_iter=4, refine_every=6), MCMCStrategy()])
@pytest.mark.parametrize("packed", [True, False])
def test_strategies(gpu: Log, strategy: Any, packed: bool) -> None:
    """A loop of one's own, with two cameras at a time."""
    if isinstance(strategy, MCMCStrategy):
        strategy.refine_start_iter, strategy.refine_every, strategy.cap_max = 4, 6, 100
    else:
        strategy.reset_every, strategy.grow_grad2d = 9, 1e-6
    given = tensors(60, 2)
    scene = random_scene(60)
    params = torch.nn.ParameterDict(
        {
            "means": scene["means"].to("cuda"),
            "scales": scene["scales"].log().to("cuda"),
            "quats": scene["quats"].to("cuda"),
            "opacities": scene["opacities"].logit().to("cuda"),
            "colors": scene["colors"].to("cuda"),
        }
    )
    optimizers = {name: torch.optim.Adam([p], lr=1e-3, eps=1e-15) for name, p in params.items()}
    state = strategy.initialize_state()
    for step in range(15):
        image, _, info = rasterization(
            params["means"],
            params["quats"],
            params["scales"].exp(),
            params["opacities"].sigmoid(),
            params["colors"],
            given["viewmats"],
            given["Ks"],
            WIDTH,
            HEIGHT,
            packed=packed,
        )
        strategy.step_pre_backward(params, optimizers, state, step, info)
        image.square().mean().backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        extra = {"lr": 1e-3} if isinstance(strategy, MCMCStrategy) else {}
        strategy.step_post_backward(params, optimizers, state, step, info, **extra)
    assert len(params["means"]) != 60
    assert all(p.is_cuda for p in params.values())
    assert not gpu.racing
