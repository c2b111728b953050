"""docs/strategies.md: its loop runs as it stands, packed or not, with either strategy; its model class resumes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gsbench import OptimizationParams
from gsbench.testing import tiny_scene
from gsbench.training import Trainer
from gsbench.training.optim import FusedAdam


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Images this small are not worth sharing; the fixture of all tests restores the number."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def blocks(repository: Path) -> list[str]:
    text = (repository / "docs" / "strategies.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(found) == 2
    return found


def run(source: str, changes: Mapping[str, str]) -> dict[str, Any]:
    for old, new in changes.items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    # What the loop has at the end, and the loss of every step.
    source = source.replace("    loss.backward()\n", "    loss.backward()\n    losses.append(float(loss.detach()))\n")
    names: dict[str, Any] = {"losses": [], "FusedAdam": FusedAdam}
    exec(compile(source, "docs/strategies.md", "exec"), names)
    return names


DEFAULT = """DefaultStrategy(
    refine_start_iter=50, refine_every=50, reset_every=150, refine_stop_iter=250, grow_grad2d=5e-5
)"""
MCMC = "MCMCStrategy(refine_start_iter=50, refine_every=25, refine_stop_iter=250, cap_max=270, noise_lr=5e3)"
TO_MCMC = {
    "import DefaultStrategy": "import MCMCStrategy",
    DEFAULT: MCMC,
    # As in gsplat, the state of the chain needs no size.
    "initialize_state(scene_scale=scene.extent)": "initialize_state()",
}
TO_SHARED_EXTRAS = {
    '"colors": torch.zeros(n, 25, 3),': '"features1": torch.ones(n, 128), "colors": torch.zeros(n, 25, 3),',
    '"colors": 1e-2}': '"colors": 1e-2, "features1": 1e-3}',
}
PACKED = {"sh_degree=4,": "sh_degree=4, packed=True,"}
UNPACKED = {"sh_degree=4,": "sh_degree=4, packed=False,"}


@pytest.mark.parametrize("layout", [{}, PACKED, UNPACKED], ids=["as it stands", "packed", "unpacked"])
@pytest.mark.parametrize("strategy", [{}, TO_MCMC], ids=["default", "mcmc"])
def test_the_loop(blocks: list[str], strategy: dict[str, str], layout: dict[str, str]) -> None:
    names = run(blocks[0], {**strategy, **layout, **TO_SHARED_EXTRAS})
    params, optimizers, losses = names["params"], names["optimizers"], names["losses"]
    n = len(params["means"])
    assert n != 200
    assert {k: tuple(p.shape) for k, p in params.items()} == {
        "means": (n, 3),
        "scales": (n, 3),
        "quats": (n, 4),
        "opacities": (n,),
        "colors": (n, 25, 3),
        "features1": (n, 128),
    }
    for name, p in params.items():
        assert torch.isfinite(p).all()
        state = optimizers[name].state[p]
        # features1 is not rendered, so it is never stepped.
        assert ("exp_avg" in state) == (name != "features1")
        if state:
            assert state["exp_avg"].shape == p.shape
            assert state["step"] == 300
    assert (params["features1"] == 1.0).all()
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])
    if strategy:
        assert n == 270
    if not layout:
        # Another time, the same.
        again = run(blocks[0], {**strategy, **TO_SHARED_EXTRAS})
        assert all(torch.equal(params[k], again["params"][k]) for k in params)


@pytest.mark.parametrize("layout", [PACKED, UNPACKED], ids=["packed", "unpacked"])
def test_the_loop_with_absolute_gradients(blocks: list[str], layout: dict[str, str]) -> None:
    changes = {"grow_grad2d=5e-5\n)": "grow_grad2d=5e-5, absgrad=True\n)", **layout}
    changes["sh_degree=4,"] = layout["sh_degree=4,"] + " absgrad=True,"
    absolute = run(blocks[0], {**changes, "range(300)": "range(50)"})["strategy_state"]
    signed = run(blocks[0], {**layout, "range(300)": "range(50)"})["strategy_state"]
    # Before the first refinement the two runs are the same, except for what they collect.
    assert torch.equal(absolute["count"], signed["count"])
    assert (absolute["grad2d"] >= signed["grad2d"] * (1 - 1e-4)).all()
    assert absolute["grad2d"].sum() > 1.2 * signed["grad2d"].sum()
    names = run(blocks[0], changes)
    assert len(names["params"]["means"]) > 200
    assert sum(names["losses"][-20:]) < 0.7 * sum(names["losses"][:20])


@pytest.mark.parametrize("strategy", [{}, TO_MCMC], ids=["default", "mcmc"])
def test_packed_or_not_is_the_same(blocks: list[str], strategy: dict[str, str]) -> None:
    # Past the first refinements.
    short = {"range(300)": "range(120)"}
    packed, unpacked = (run(blocks[0], {**strategy, **layout, **short})["params"] for layout in (PACKED, UNPACKED))
    assert len(packed["means"]) > 200
    assert all(torch.equal(packed[k], unpacked[k]) for k in packed)


@pytest.mark.parametrize("strategy", [{}, TO_MCMC], ids=["default", "mcmc"])
def test_the_loop_with_fused_adam(blocks: list[str], strategy: dict[str, str]) -> None:
    names = run(blocks[0], {**strategy, "torch.optim.Adam": "FusedAdam"})
    assert len(names["params"]["means"]) > 210
    assert sum(names["losses"][-20:]) < 0.7 * sum(names["losses"][:20])
    for name, p in names["params"].items():
        state = names["optimizers"][name].state[p]
        assert state["exp_avg"].shape == p.shape
        assert state["step"] == 300


def test_the_model_class_trains_and_resumes(blocks: list[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks[1], "docs/strategies.md", "exec"), names)

    def strategy_setup(self: Any, opt: OptimizationParams) -> None:
        setup(self, opt)
        self.strategy = replace(self.strategy, refine_start_iter=10, refine_every=10, grow_grad2d=5e-5)

    cls = names["WithStrategy"]
    setup, cls.training_setup = cls.training_setup, strategy_setup
    scene, opt = tiny_scene(views=6), OptimizationParams(iterations=70, densify_until_iter=60)
    whole = Trainer(cls(), scene, opt)
    for _ in range(37):
        whole.train_step()
    saved = whole.state_dict()
    model = whole.train()
    assert len(model) != 200
    resumed = Trainer(cls(), scene, opt, seed=9)
    resumed.load_state_dict(saved)
    other = resumed.train()
    assert all(torch.equal(a, b) for a, b in zip(model.tensors().values(), other.tensors().values(), strict=True))
