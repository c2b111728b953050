"""The one module that changes the number of Gaussians: parameters, optimizer state and statistics together.

Strategies and models decide which Gaussians to edit; these functions edit. They take

* `params`: a dict or ParameterDict of per-Gaussian tensors [N, ...], with values before activation: "scales" are
  logarithms, "opacities" logits;
* `optimizers`: for each of these names the optimizer that holds the tensor, one optimizer each or one for all;
* `state`: statistics; every tensor in it (0-dimensional ones and non-tensors aside) has N rows and is edited along.

Optimizer state is treated as in gsplat: new rows start with zero moments, rows that stay keep theirs, `step` is not
touched. Every parameter that is edited is a new one afterwards, without a gradient. All edits are deterministic for any
number of threads; what is drawn comes from a generator of the CPU: the one given, else ``state["generator"]``, else
torch's default one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import Parameter

from gsbench.splats.activation import logistic
from gsbench.training.relocation import draw, relocated

#: Noise on means falls off around this opacity, and this steeply (Kheradmand et al. 2024, section 3.2).
NOISE_OPACITY: Final = 0.005
NOISE_STEEPNESS: Final = 100.0

Params = MutableMapping[str, Any]
Optimizers = Mapping[str, torch.optim.Optimizer]
State = MutableMapping[str, Any]
RowEdit = Callable[[Tensor], Tensor]


def row_count(params: Mapping[str, Any]) -> int:
    """N, the number of Gaussians.

    Raises:
        ValueError: if two tensors disagree about it; both are named.
    """
    first, n = "", -1
    for name, tensor in params.items():
        if n < 0:
            first, n = name, int(tensor.shape[0])
        elif tensor.shape[0] != n:
            raise ValueError(f"params[{name!r}]: expected {n} rows as in params[{first!r}], got {tensor.shape[0]}")
    return n


@torch.no_grad()
def duplicate(params: Params, optimizers: Optimizers, state: State, mask: Tensor) -> None:
    """Append a copy of every Gaussian where `mask` (bool [N]) is true. Copies inherit the statistics.

    `params` are edited with their `optimizers` and the statistics of `state`, as in all functions of this module.
    """
    selected = _rows(mask, row_count(params))
    _edit(
        params,
        optimizers,
        state,
        param_edit=lambda name, p: torch.cat([p, p[selected]]),
        moment_edit=lambda m: torch.cat([m, m.new_zeros((len(selected), *m.shape[1:]))]),
        state_edit=lambda s: torch.cat([s, s[selected]]),
    )


@torch.no_grad()
def split(
    params: Params,
    optimizers: Optimizers,
    state: State,
    mask: Tensor,
    revised_opacity: bool = False,
    *,
    generator: torch.Generator | None = None,
    parts: int = 2,
) -> None:
    """Replace every Gaussian where `mask` (bool [N]) is true by `parts` smaller ones.

    Their means are drawn from the Gaussian itself, their scales divided by 0.8 * `parts` (1.6 for two). The parts come
    after the Gaussians that stay, the first parts of all of them before the second parts; they inherit the statistics.

    Args:
        params: with "means", "scales", "quats" and "opacities" among them.
        optimizers: as for all functions of this module.
        state: as for all functions of this module.
        mask: which Gaussians to split.
        revised_opacity: give each of two parts the opacity 1 - sqrt(1 - o), so that both together let through as much
            light as before (Rota Bulo et al. 2024, "Revising densification", section 4.3); only for two parts.
        generator: drawn from once, as ``randn(parts, n, 3)``.
        parts: how many Gaussians each becomes.

    Raises:
        ValueError: if `revised_opacity` is asked for with another number of parts.
    """
    if revised_opacity and parts != 2:
        raise ValueError(f"revised_opacity: expected 2 parts, got {parts}")
    selected = _rows(mask, row_count(params))
    stay = _rows(mask, len(mask), others=True)
    means, log_scales, quats = (params[k].detach()[selected] for k in ("means", "scales", "quats"))

    # In float64 and rounded, so that the exponential does not depend on how torch divides the work among threads.
    scales = log_scales.double().exp().to(means.dtype)
    source = _generator(state, generator)
    noise = torch.randn(parts, len(selected), 3, generator=source, dtype=means.dtype).to(means.device)
    offsets = rotate(quats, scales * noise)
    shrink = math.log(0.8 * parts)

    def edited(name: str, p: Tensor) -> Tensor:
        old = p[selected]
        if name == "means":
            new = (old + offsets).reshape(-1, 3)
        elif name == "scales":
            new = (old - shrink).repeat(parts, 1)
        elif name == "opacities" and revised_opacity:
            new = _halved_logit(old).repeat(parts, *[1] * (p.ndim - 1))
        else:
            new = old.repeat(parts, *[1] * (p.ndim - 1))
        return torch.cat([p[stay], new])

    added = parts * len(selected)
    _edit(
        params,
        optimizers,
        state,
        param_edit=edited,
        moment_edit=lambda m: torch.cat([m[stay], m.new_zeros((added, *m.shape[1:]))]),
        state_edit=lambda s: torch.cat([s[stay], s[selected].repeat(parts, *[1] * (s.ndim - 1))]),
    )


@torch.no_grad()
def remove(params: Params, optimizers: Optimizers, state: State, mask: Tensor) -> None:
    """Remove every Gaussian where `mask` (bool [N]) is true; the order of the others stays."""
    stay = _rows(mask, row_count(params), others=True)
    _edit(
        params,
        optimizers,
        state,
        param_edit=lambda name, p: p[stay],
        moment_edit=lambda m: m[stay],
        state_edit=lambda s: s[stay],
    )


@torch.no_grad()
def append(params: Params, optimizers: Optimizers, state: State, rows: Mapping[str, Tensor]) -> None:
    """Append new Gaussians: `rows` holds M rows, [M, ...], for every name of `params`. Their statistics are zero.

    Raises:
        ValueError: if `rows` has other names than `params`, or tensors that do not fit.
    """
    if set(rows) != set(params):
        raise ValueError(f"rows: expected the names {sorted(params)}, got {sorted(rows)}")
    added = row_count(rows)
    for name, new in rows.items():
        if new.shape[1:] != params[name].shape[1:]:
            expected = [added, *params[name].shape[1:]]
            raise ValueError(f"rows[{name!r}]: expected shape {expected}, got {list(new.shape)}")

    def with_zeros(t: Tensor) -> Tensor:
        return torch.cat([t, t.new_zeros((added, *t.shape[1:]))])

    _edit(
        params,
        optimizers,
        state,
        param_edit=lambda name, p: torch.cat([p, rows[name].to(p)]),
        moment_edit=with_zeros,
        state_edit=with_zeros,
    )


@torch.no_grad()
def replace(params: Params, optimizers: Optimizers, name: str, tensor: Tensor) -> None:
    """Put `tensor` in the place of ``params[name]`` and zero its moments.

    Args:
        params: as for all functions of this module.
        optimizers: as for all functions of this module.
        name: of the parameter.
        tensor: [N, ...], the new values.
    """
    if tensor.shape[0] != params[name].shape[0]:
        raise ValueError(f"{name}: expected {params[name].shape[0]} rows, got {tensor.shape[0]}")
    shape, values = params[name].shape, tensor.detach().clone()

    def zeros(moment: Tensor) -> Tensor:
        return moment.new_zeros(values.shape if moment.shape == shape else moment.shape)

    _edit({name: params[name]}, optimizers, {}, lambda n, p: values, zeros, zeros, into=params)


@torch.no_grad()
def reset_opa(params: Params, optimizers: Optimizers, state: State, value: float) -> None:
    """Bring all opacities down to at most `value` (in (0, 1)) and zero the opacity moments; `state` plays no part."""
    ceiling = math.log(value / (1.0 - value))
    replace(params, optimizers, "opacities", params["opacities"].detach().clamp(max=ceiling))


@torch.no_grad()
def relocate(
    params: Params,
    optimizers: Optimizers,
    state: State,
    mask: Tensor,
    min_opacity: float = 0.005,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Move the dead Gaussians, where `mask` (bool [N]) is true, to live ones.

    Each dead one draws a live one with a probability proportional to its opacity and becomes a copy of it; then all in
    one place get the opacity and the scales with which they look together as the one did alone
    (`gsbench.training.relocation`). The moments and statistics of the Gaussians that were copied are zeroed; those of
    the dead ones stay, as in gsplat.

    Args:
        params: with "scales" and "opacities" among them.
        optimizers: as for all functions of this module.
        state: as for all functions of this module.
        mask: the dead ones.
        min_opacity: the opacity that is left to them at least.
        generator: drawn from once, as ``rand(dead, dtype=float64)``.

    Raises:
        ValueError: if there are dead Gaussians, and no live one with a positive opacity.
    """
    n = row_count(params)
    dead, alive = _rows(mask, n), _rows(mask, n, others=True)
    if not len(dead):
        return
    opacities = logistic(params["opacities"].detach().reshape(-1))
    sources = alive[draw(opacities[alive], len(dead), _generator(state, generator))]
    shared, values = _shared(params, sources, n, min_opacity)

    def edited(name: str, p: Tensor) -> Tensor:
        new = p.clone()
        if name in values:
            new[shared] = values[name]
        new[dead] = new[sources]
        return new

    def zeroed(rows: Tensor) -> Tensor:
        return rows.index_fill(0, shared, 0)

    _edit(params, optimizers, state, edited, zeroed, zeroed)


@torch.no_grad()
def sample_add(
    params: Params,
    optimizers: Optimizers,
    state: State,
    n: int,
    min_opacity: float = 0.005,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Append `n` copies of Gaussians drawn with probabilities proportional to their opacities.

    All in one place get the opacity and the scales with which they look together as the one did alone
    (`gsbench.training.relocation`). Moments and statistics of the new ones are zero; those of the others stay.

    Args:
        params: with "scales" and "opacities" among them.
        optimizers: as for all functions of this module.
        state: as for all functions of this module.
        n: how many.
        min_opacity: the opacity that is left to them at least.
        generator: drawn from once, as ``rand(n, dtype=float64)``.

    Raises:
        ValueError: if all opacities are zero.
    """
    opacities = logistic(params["opacities"].detach().reshape(-1))
    sources = draw(opacities, n, _generator(state, generator))
    shared, values = _shared(params, sources, row_count(params), min_opacity)

    def edited(name: str, p: Tensor) -> Tensor:
        old = p.clone()
        if name in values:
            old[shared] = values[name]
        return torch.cat([old, old[sources]])

    def with_zeros(t: Tensor) -> Tensor:
        return torch.cat([t, t.new_zeros((n, *t.shape[1:]))])

    _edit(params, optimizers, state, edited, with_zeros, with_zeros)


@torch.no_grad()
def inject_noise_to_position(
    params: Params,
    optimizers: Optimizers,
    state: State,
    scaler: float,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Move the means, in place, by random amounts in the shape of each Gaussian, transparent ones further.

    The step of stochastic gradient Langevin dynamics (Kheradmand et al. 2024, equation 8): mean += scaler
    sigmoid(-100 (o - 0.005)) Sigma eta, with eta standard normal and Sigma the covariance.

    Args:
        params: with "means", "scales", "quats" and "opacities" among them.
        optimizers: play no part; moments stay.
        state: only its generator, where it has one.
        scaler: the learning rate of the means times that of the noise.
        generator: drawn from once, as ``randn(N, 3)``.
    """
    means = params["means"]
    noise = torch.randn(means.shape, generator=_generator(state, generator), dtype=means.dtype).to(means.device)
    opacities = logistic(params["opacities"].detach().reshape(-1))
    amount = logistic((opacities - NOISE_OPACITY).mul_(-NOISE_STEEPNESS)).mul_(scaler)
    variances = (2.0 * params["scales"].detach()).exp_()
    quats = params["quats"].detach()
    # Sigma = R diag(variances) R^T, and R^T is the rotation by the conjugate quaternion.
    conjugate = quats * quats.new_tensor([1.0, -1.0, -1.0, -1.0])
    local = rotate(conjugate, noise.mul_(amount[:, None])).mul_(variances)
    means.add_(rotate(quats, local))


def rotate(quats: Tensor, vectors: Tensor) -> Tensor:
    """`vectors` [..., n, 3] rotated by `quats` [n, 4] (wxyz, normalized here).

    v + 2 w (u x v) + 2 u x (u x v) for a unit quaternion (w, u).
    """
    a, b, c, d = quats.unbind(dim=-1)
    norm = (a * a + b * b + c * c + d * d).sqrt().clamp_min(1e-12)
    unit = quats / norm[:, None]
    w, u = unit[:, :1], unit[:, 1:].expand_as(vectors)
    once = 2.0 * torch.linalg.cross(u, vectors)
    rotated: Tensor = vectors + w * once + torch.linalg.cross(u, once)
    return rotated


def _shared(params: Params, sources: Tensor, n: int, min_opacity: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Which Gaussians are copied, int64 [M] ascending, and the values that they and all their copies get."""
    copies = torch.bincount(sources, minlength=n)
    shared = copies.nonzero().squeeze(1)
    opacities, scales = params["opacities"].detach()[shared], params["scales"].detach()[shared]
    opacities, scales = relocated(opacities, scales, copies[shared] + 1, min_opacity)
    return shared, {"opacities": opacities, "scales": scales}


def _generator(state: Mapping[str, Any], generator: torch.Generator | None) -> torch.Generator | None:
    return generator if generator is not None else state.get("generator")


def _halved_logit(logits: Tensor) -> Tensor:
    """logit(1 - sqrt(1 - sigmoid(x))) without cancellation: with t = sqrt(1 - o), it is log((1 - t) / t)."""
    x = logits.double()
    t = torch.sigmoid(-x).sqrt()
    # 1 - t = (1 - t^2) / (1 + t) = o / (1 + t) keeps its digits for small opacities.
    return (torch.sigmoid(x).log() - torch.log1p(t) - t.log()).to(logits.dtype)


def _rows(mask: Tensor, n: int, others: bool = False) -> Tensor:
    """The indices where `mask` is true, or the others, int64, ascending."""
    if mask.dtype != torch.bool or tuple(mask.shape) != (n,):
        raise ValueError(f"mask: expected bool [{n}], got {mask.dtype} {list(mask.shape)}")
    return (~mask if others else mask).nonzero().squeeze(1)


def _edit(
    params: Params,
    optimizers: Optimizers,
    state: State,
    param_edit: Callable[[str, Tensor], Tensor],
    moment_edit: RowEdit,
    state_edit: RowEdit,
    into: Params | None = None,
) -> None:
    """Apply the three edits to every parameter, to its optimizer state and to every statistic."""
    _check_state(state, row_count(params))
    _check_held(params, optimizers)
    target = params if into is None else into
    for name in list(params):
        old = params[name]
        new = Parameter(param_edit(name, old.detach()), requires_grad=old.requires_grad)
        if name in optimizers:
            _swap(optimizers[name], old, new, moment_edit)
        target[name] = new
    for key, value in state.items():
        if isinstance(value, Tensor) and value.ndim > 0:
            state[key] = state_edit(value)


def _swap(optimizer: torch.optim.Optimizer, old: Any, new: Parameter, edit: RowEdit) -> None:
    """Put `new` where the optimizer has `old`, and edit its state."""
    for group in optimizer.param_groups:
        group["params"][:] = [new if held is old else held for held in group["params"]]
    state = optimizer.state.pop(old, None)
    if state:
        for key, value in state.items():
            # What has a row per Gaussian; `step` is a count, whatever its shape.
            if key != "step" and isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == old.shape[0]:
                state[key] = edit(value)
        optimizer.state[new] = state


def _check_held(params: Params, optimizers: Optimizers) -> None:
    """Before anything is edited: every trainable parameter is held by its optimizer."""
    for name, p in params.items():
        if name not in optimizers:
            if p.requires_grad:
                raise ValueError(f"optimizers: expected one for params[{name!r}], got {sorted(optimizers)}")
        elif not any(held is p for group in optimizers[name].param_groups for held in group["params"]):
            raise ValueError(f"optimizers[{name!r}] does not hold params[{name!r}]; was the tensor replaced by hand?")


def _check_state(state: Mapping[str, Any], n: int) -> None:
    for key, value in state.items():
        if isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] != n:
            raise ValueError(f"state[{key!r}]: expected {n} rows, got shape {list(value.shape)}")
