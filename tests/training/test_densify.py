from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gsbench.training import densify
from gsbench.training.optim import FusedAdam

SHAPES: dict[str, tuple[int, ...]] = {
    "means": (3,),
    "scales": (3,),
    "quats": (4,),
    "opacities": (),
    "colors": (25, 3),
    "features1": (128,),
}


def make(n: int = 12, shared: bool = False, steps: int = 3, seed: int = 0) -> tuple[Any, Any, dict[str, Any]]:
    """Random parameters, Adam optimizers that have taken a few steps, and statistics."""
    g = torch.Generator().manual_seed(seed)
    params = {k: torch.nn.Parameter(torch.randn(n, *s, generator=g)) for k, s in SHAPES.items()}
    if shared:
        one = torch.optim.Adam([{"params": [p], "name": k} for k, p in params.items()], lr=0.01)
        optimizers: dict[str, torch.optim.Optimizer] = dict.fromkeys(params, one)
        distinct: list[torch.optim.Optimizer] = [one]
    else:
        optimizers = {k: torch.optim.Adam([p], lr=0.01) for k, p in params.items()}
        distinct = list(optimizers.values())
    for _ in range(steps):
        for p in params.values():
            p.grad = torch.randn(p.shape, generator=g)
        for o in distinct:
            o.step()
    state = {
        "grad2d": torch.rand(n, generator=g),
        "history": torch.rand(n, 2, 2, generator=g),
        "flags": torch.rand(n, generator=g) > 0.5,
        "scale": torch.tensor(3.0),
        "note": "kept",
    }
    return params, optimizers, state


def snapshot(params: Any, optimizers: Any, state: Any) -> Any:
    values = {k: p.detach().clone() for k, p in params.items()}
    moments = {
        k: {s: optimizers[k].state[p][s].clone() for s in ("step", "exp_avg", "exp_avg_sq")} for k, p in params.items()
    }
    return values, moments, {k: v.clone() for k, v in state.items() if isinstance(v, Tensor)}


def check_held(params: Any, optimizers: Any) -> None:
    """The optimizers hold exactly the new parameters, and no state of the old ones."""
    for name, p in params.items():
        assert isinstance(p, torch.nn.Parameter)
        held = [q for group in optimizers[name].param_groups for q in group["params"]]
        assert any(q is p for q in held)
        assert all(any(q is r for r in held) for q in optimizers[name].state)


@pytest.mark.parametrize("shared", [False, True])
def test_duplicate(shared: bool) -> None:
    params, optimizers, state = make(shared=shared)
    values, moments, stats = snapshot(params, optimizers, state)
    mask = torch.zeros(12, dtype=torch.bool)
    mask[[2, 5, 11]] = True
    densify.duplicate(params, optimizers, state, mask)
    rows = [*range(12), 2, 5, 11]
    for name, p in params.items():
        torch.testing.assert_close(p.detach(), values[name][rows], rtol=0, atol=0)
        new = optimizers[name].state[p]
        assert new["step"] == moments[name]["step"] == 3
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(new[key][:12], moments[name][key], rtol=0, atol=0)
            assert not new[key][12:].any()
    for key in ("grad2d", "history", "flags"):
        assert torch.equal(state[key], stats[key][rows])
    assert state["scale"] == 3.0
    assert state["note"] == "kept"
    check_held(params, optimizers)


@pytest.mark.parametrize("shared", [False, True])
def test_remove(shared: bool) -> None:
    params, optimizers, state = make(shared=shared)
    values, moments, stats = snapshot(params, optimizers, state)
    mask = torch.zeros(12, dtype=torch.bool)
    mask[[0, 7]] = True
    densify.remove(params, optimizers, state, mask)
    rows = [i for i in range(12) if i not in (0, 7)]
    for name, p in params.items():
        assert torch.equal(p.detach(), values[name][rows])
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizers[name].state[p][key], moments[name][key][rows])
        assert optimizers[name].state[p]["step"] == 3
    for key in ("grad2d", "history", "flags"):
        assert torch.equal(state[key], stats[key][rows])
    check_held(params, optimizers)


def rotation_matrix(q: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@pytest.mark.parametrize("parts", [2, 3])
def test_split(parts: int) -> None:
    params, optimizers, state = make()
    values, moments, stats = snapshot(params, optimizers, state)
    chosen, others = [1, 4, 9], [0, 2, 3, 5, 6, 7, 8, 10, 11]
    mask = torch.zeros(12, dtype=torch.bool)
    mask[chosen] = True
    generator = torch.Generator().manual_seed(7)
    densify.split(params, optimizers, state, mask, generator=generator, parts=parts)

    noise = torch.randn(parts, 3, 3, generator=torch.Generator().manual_seed(7)).double().numpy()
    rows = others + chosen * parts
    for name, p in params.items():
        expected = values[name][rows].double().numpy()
        if name == "means":
            for part in range(parts):
                for i, c in enumerate(chosen):
                    scale = np.exp(values["scales"][c].double().numpy())
                    r = rotation_matrix(values["quats"][c].double().numpy())
                    expected[9 + 3 * part + i] += r @ (scale * noise[part, i])
        if name == "scales":
            expected[9:] -= math.log(0.8 * parts)
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=2e-6, atol=2e-6)
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizers[name].state[p][key][:9], moments[name][key][others])
            assert not optimizers[name].state[p][key][9:].any()
        assert optimizers[name].state[p]["step"] == 3
    for key in ("grad2d", "history", "flags"):
        assert torch.equal(state[key], stats[key][rows])
    check_held(params, optimizers)


def test_revised_opacity_lets_the_same_light_through() -> None:
    params, optimizers, state = make(n=2000)
    with torch.no_grad():
        params["opacities"].copy_(torch.linspace(-12, 12, 2000))
    before = params["opacities"].detach().double().sigmoid()
    mask = torch.ones(2000, dtype=torch.bool)
    densify.split(params, optimizers, state, mask, generator=torch.Generator(), revised_opacity=True)
    after = params["opacities"].detach().double().sigmoid()
    first, second = after[:2000], after[2000:]
    assert torch.equal(first, second)
    torch.testing.assert_close((1 - first) * (1 - second), 1 - before, rtol=1e-5, atol=1e-9)


def test_append() -> None:
    params, optimizers, state = make()
    values, moments, stats = snapshot(params, optimizers, state)
    rows = {k: torch.full((2, *s), 0.5) for k, s in SHAPES.items()}
    densify.append(params, optimizers, state, rows)
    for name, p in params.items():
        assert torch.equal(p.detach(), torch.cat([values[name], rows[name]]))
        assert torch.equal(optimizers[name].state[p]["exp_avg"][:12], moments[name]["exp_avg"])
        assert not optimizers[name].state[p]["exp_avg"][12:].any()
    assert torch.equal(state["grad2d"][:12], stats["grad2d"])
    assert not state["grad2d"][12:].any()
    check_held(params, optimizers)


def test_append_refuses_what_does_not_fit() -> None:
    params, optimizers, state = make()
    rows = {k: torch.zeros(2, *s) for k, s in SHAPES.items()}
    with pytest.raises(ValueError, match=r"rows\['quats'\]: expected shape \[2, 4\], got \[2, 3\]"):
        densify.append(params, optimizers, state, {**rows, "quats": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match="rows: expected the names"):
        densify.append(params, optimizers, state, {"means": torch.zeros(2, 3)})
    assert len(params["means"]) == 12


@pytest.mark.parametrize("shape", [(), (1,)])
def test_reset_opa(shape: tuple[int, ...]) -> None:
    params, optimizers, state = make()
    if shape:
        params["opacities"] = torch.nn.Parameter(params["opacities"].detach()[:, None])
        optimizers["opacities"] = torch.optim.Adam([params["opacities"]], lr=0.01)
        params["opacities"].grad = torch.ones(12, 1)
        optimizers["opacities"].step()
    values, moments, _ = snapshot(params, optimizers, state)
    densify.reset_opa(params, optimizers, state, 0.01)
    low = values["opacities"].sigmoid() <= 0.01
    after = params["opacities"].detach()
    assert torch.equal(after[low], values["opacities"][low])
    torch.testing.assert_close(after[~low].sigmoid(), torch.full_like(after[~low], 0.01))
    new = optimizers["opacities"].state[params["opacities"]]
    assert not new["exp_avg"].any()
    assert not new["exp_avg_sq"].any()
    assert new["step"] == moments["opacities"]["step"]
    assert torch.equal(optimizers["means"].state[params["means"]]["exp_avg"], moments["means"]["exp_avg"])
    check_held(params, optimizers)


def test_frozen_parameters_are_edited_without_an_optimizer() -> None:
    params, optimizers, state = make()
    params["label"] = torch.nn.Parameter(torch.arange(12.0), requires_grad=False)
    densify.remove(params, optimizers, state, torch.arange(12) < 4)
    assert params["label"].tolist() == list(range(4, 12))
    assert not params["label"].requires_grad


def test_training_goes_on_after_every_edit() -> None:
    params, optimizers, state = make()
    pd = torch.nn.ParameterDict(params)
    mask = torch.arange(12) % 3 == 0
    densify.duplicate(pd, optimizers, state, mask)
    densify.split(pd, optimizers, state, torch.cat([mask, ~mask[:4]]), generator=torch.Generator())
    densify.remove(pd, optimizers, state, torch.arange(len(pd["means"])) < 5)
    densify.reset_opa(pd, optimizers, state, 0.01)
    before = {k: p.detach().clone() for k, p in pd.items()}
    sum((p**2).sum() for p in pd.values()).backward()
    for name, optimizer in optimizers.items():
        optimizer.step()
        assert not torch.equal(pd[name].detach(), before[name])


def test_what_does_not_fit_is_refused_by_name() -> None:
    params, optimizers, state = make()
    ok = torch.zeros(12, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"mask: expected bool \[12\], got torch.bool \[11\]"):
        densify.duplicate(params, optimizers, state, ok[:11])
    with pytest.raises(ValueError, match=r"mask: expected bool \[12\], got torch.float32"):
        densify.remove(params, optimizers, state, torch.zeros(12))
    with pytest.raises(ValueError, match=r"state\['radii'\]: expected 12 rows, got shape \[5\]"):
        densify.duplicate(params, optimizers, {"radii": torch.zeros(5)}, ok)
    with pytest.raises(ValueError, match=r"optimizers: expected one for params\['colors'\]"):
        densify.duplicate(params, {k: v for k, v in optimizers.items() if k != "colors"}, state, ok)
    with pytest.raises(ValueError, match=r"optimizers\['quats'\] does not hold params\['quats'\]"):
        densify.duplicate({**params, "quats": torch.nn.Parameter(torch.zeros(12, 4))}, optimizers, state, ok)
    with pytest.raises(ValueError, match=r"params\['quats'\]: expected 12 rows as in params\['means'\], got 3"):
        densify.duplicate({**params, "quats": torch.nn.Parameter(torch.zeros(3, 4))}, optimizers, state, ok)


def test_edits_do_not_depend_on_the_number_of_threads() -> None:
    n = 50_000
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        params, optimizers, state = make(n=n, steps=0)
        densify.split(
            params, optimizers, state, torch.ones(n, dtype=torch.bool), generator=torch.Generator().manual_seed(1)
        )
        results.append({k: p.detach() for k, p in params.items()})
    for other in results[1:]:
        assert all(torch.equal(results[0][k], other[k]) for k in results[0])


def test_rotate_with_a_known_rotation() -> None:
    # A quarter turn around z takes x to y; the length of the quaternion does not matter.
    quats = torch.tensor([[3.0, 0.0, 0.0, 3.0]])
    torch.testing.assert_close(densify.rotate(quats, torch.tensor([[1.0, 0.0, 2.0]])), torch.tensor([[0.0, 1.0, 2.0]]))


def sparse_gradient(shape: torch.Size, g: torch.Generator) -> Tensor:
    rows = torch.randperm(shape[0], generator=g)[:5]
    return torch.sparse_coo_tensor(rows[None], torch.randn(5, *shape[1:], generator=g), shape, check_invariants=True)


#: Optimizers, the per-Gaussian state that each keeps, and whether it takes sparse gradients.
KINDS: dict[str, tuple[Any, set[str], bool]] = {
    "SGD": (lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9), {"momentum_buffer"}, False),
    "SparseAdam": (lambda p: torch.optim.SparseAdam([p], lr=0.1), {"exp_avg", "exp_avg_sq"}, True),
    "AMSGrad": (
        lambda p: torch.optim.Adam([p], lr=0.1, amsgrad=True),
        {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
        False,
    ),
    "FusedAdam": (lambda p: FusedAdam([p], lr=0.1), {"exp_avg", "exp_avg_sq"}, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_optimizers(kind: str) -> None:
    make_optimizer, keys, sparse = KINDS[kind]
    params, _, state = make(steps=0)
    optimizers = {k: make_optimizer(p) for k, p in params.items()}
    g = torch.Generator().manual_seed(1)

    def step() -> None:
        for name, p in params.items():
            p.grad = sparse_gradient(p.shape, g) if sparse else torch.randn(p.shape, generator=g)
            optimizers[name].step()

    step()
    before = {k: {s: optimizers[k].state[p][s].clone() for s in keys} for k, p in params.items()}
    counts = {k: optimizers[k].state[p].get("step") for k, p in params.items()}
    mask = torch.arange(12) % 4 == 1
    densify.duplicate(params, optimizers, state, mask)
    densify.remove(params, optimizers, state, torch.arange(15) < 2)
    for name, p in params.items():
        new = optimizers[name].state[p]
        assert {k for k, v in new.items() if isinstance(v, Tensor) and v.ndim > 0} == keys
        assert new.get("step") == counts[name]
        for key in keys:
            assert torch.equal(new[key][:10], before[name][key][2:])
            assert new[key].shape == p.shape
            assert not new[key][10:].any()
    step()
    densify.relocate(params, optimizers, state, torch.arange(13) == 0, generator=g)
    densify.sample_add(params, optimizers, state, 2, generator=g)
    step()
    assert all(len(p) == 15 and torch.isfinite(p).all() for p in params.values())
    check_held(params, optimizers)


def test_state_with_a_row_per_gaussian_is_edited_whatever_its_shape() -> None:
    params, optimizers, state = make()
    held = optimizers["quats"].state[params["quats"]]
    held.update(
        step=torch.full((12,), 3.0),
        row=torch.arange(12.0),
        factor=torch.arange(24.0).reshape(12, 2),
        columns=torch.ones(4),
        note="kept",
    )
    mask = torch.arange(12) % 2 == 0
    densify.remove(params, optimizers, state, mask)
    held = optimizers["quats"].state[params["quats"]]
    assert held["step"].tolist() == [3.0] * 12
    assert held["row"].tolist() == [1, 3, 5, 7, 9, 11]
    assert held["factor"][:, 0].tolist() == [2, 6, 10, 14, 18, 22]
    assert held["columns"].tolist() == [1, 1, 1, 1]
    assert held["note"] == "kept"


def test_what_is_drawn_comes_from_the_generator_in_reach() -> None:
    def split(seed: int, state: dict[str, Any], **arguments: Any) -> Tensor:
        params, optimizers, _ = make()
        torch.manual_seed(seed)
        densify.split(params, optimizers, state, torch.ones(12, dtype=torch.bool), **arguments)
        means: Tensor = params["means"].detach()
        return means

    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    expected = split(7, {})
    assert torch.equal(split(8, {"generator": seeded(7)}), expected)
    assert torch.equal(split(8, {"generator": seeded(9)}, generator=seeded(7)), expected)
    assert not torch.equal(split(8, {}), expected)


def test_revised_opacity_is_for_two_parts() -> None:
    params, optimizers, state = make()
    with pytest.raises(ValueError, match="revised_opacity: expected 2 parts, got 3"):
        densify.split(params, optimizers, state, torch.ones(12, dtype=torch.bool), True, parts=3)


def test_a_refused_edit_changes_nothing() -> None:
    params, optimizers, state = make()
    before, held = dict(params), dict(state)
    stray = {**optimizers, "features1": optimizers["means"]}
    with pytest.raises(ValueError, match=r"optimizers\['features1'\] does not hold params\['features1'\]"):
        densify.remove(params, stray, state, torch.arange(12) < 4)
    assert all(params[k] is p for k, p in before.items())
    assert all(state[k] is v for k, v in held.items())
    check_held(params, optimizers)
