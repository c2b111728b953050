"""Tests of rasterizer backends: calls of `gsbench.rasterization`, run by a backend and by the dense reference.

    case = Case(random_scene(40) | cameras(2), {"render_mode": "RGB+ED", "outputs": ("normal",)})
    compare(run(case, "cpu"), run_reference(case))

compares images, alphas, meta, every requested output, and the gradients of a fixed random loss on all of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.raster import rasterization
from gsbench.testing.reference import PER_GAUSSIAN, PER_PIXEL, absolute_gradients, reference_rasterization

WIDTH: Final = 53  # neither a multiple of a tile nor of a block
HEIGHT: Final = 37

#: Tensors of meta that have a row for every visible combination of Gaussian and camera.
ROWS: Final = ("means2d", "radii", "depths", "conics", "opacities")

#: Decisions nearer to their thresholds than this, relatively, may go either way in float32.
CLEAR: Final = 4e-5


@dataclass(frozen=True)
class Case:
    """A call: float32 tensors (and bool masks) by argument name, and the other arguments but packed and backend."""

    tensors: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def leaves(self) -> list[str]:
        """The arguments that get a gradient."""
        return [name for name, value in self.tensors.items() if value.is_floating_point() and name != "Ks"]

    def arguments(self, dtype: torch.dtype, device: str) -> dict[str, Any]:
        """The arguments by name; new leaves."""
        call: dict[str, Any] = {"quats": None, "scales": None, "width": WIDTH, "height": HEIGHT, **self.options}
        for name, value in self.tensors.items():
            value = value.detach().to(device, dtype if value.is_floating_point() else value.dtype, copy=True)
            call[name] = value.requires_grad_() if name in self.leaves else value
        return call

    @property
    def key(self) -> str:
        """Differs where anything differs."""
        digest = hashlib.sha256(repr(sorted(self.options.items())).encode())
        for name, value in self.tensors.items():
            digest.update(f"{name}{value.dtype}{list(value.shape)}".encode())
            digest.update(value.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Outcome:
    """Results on the CPU, by name.

    Fields:
        images: colors, alphas and the outputs per pixel.
        rows: what meta holds per Gaussian and camera, [C, N, ...]; sensitivity as "sensitivity.means" and so on.
        gradients: of the inputs, of meta's means2d, and grad_abs.
        visible: bool [C, N], which rows of meta are filled.
        hidden: bool [C, N], which need not be (of the reference).
        margin: see `reference_rasterization`.
    """

    images: dict[str, Tensor]
    rows: dict[str, Tensor]
    gradients: dict[str, Tensor]
    visible: Tensor
    hidden: Tensor
    margin: float = math.inf


def loss_of(images: dict[str, Tensor]) -> Tensor:
    """A fixed random linear function of all images."""
    g = torch.Generator().manual_seed(5)
    total = torch.zeros((), dtype=torch.float64)
    for image in images.values():
        weight = torch.randn(image.shape, generator=g, dtype=torch.float64)
        total = total + (image.cpu().double() * weight).sum()
    return total


def _outcome(call: dict[str, Any], draw: Callable[..., Any], rows_of: Callable[[dict[str, Any]], Any]) -> Outcome:
    colors, alphas, meta = draw(**call)
    outputs = call.get("outputs", ())
    images = {"colors": colors, "alphas": alphas} | {name: meta[name] for name in outputs if name in PER_PIXEL}
    if meta["means2d"].requires_grad:
        meta["means2d"].retain_grad()
    loss = loss_of(images)
    if loss.requires_grad:
        torch.autograd.backward(loss)
    leaves = {name: value.grad for name, value in call.items() if isinstance(value, Tensor) and value.requires_grad}
    rows, gradients, visible, hidden, margin = rows_of(meta)
    gradients |= {
        name: torch.zeros_like(call[name]) if gradient is None else gradient for name, gradient in leaves.items()
    }
    return Outcome(
        {name: value.detach().cpu() for name, value in images.items()},
        {name: value.detach().cpu() for name, value in rows.items()},
        {name: value.detach().cpu() for name, value in gradients.items()},
        visible.cpu(),
        hidden.cpu(),
        margin,
    )


def _per_row(meta: dict[str, Any]) -> dict[str, Tensor]:
    names = [name for name in (*ROWS, *PER_GAUSSIAN, "grad_abs") if name in meta]
    rows = {name: meta[name] for name in names}
    return rows | {f"sensitivity.{name}": value for name, value in meta.get("sensitivity", {}).items()}


def run(
    case: Case, backend: str = "cpu", *, device: str = "cpu", packed: bool = True, absgrad: bool = False
) -> Outcome:
    """Draw with gsbench, in float32, and go back."""
    call = case.arguments(torch.float32, device)
    count, cameras = len(call["means"]), len(call["viewmats"])

    def rows_of(meta: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor, float]:
        rows = _per_row(meta)
        rows["means2d.grad"] = (
            torch.zeros_like(meta["means2d"]) if meta["means2d"].grad is None else meta["means2d"].grad
        )
        if absgrad:
            rows["means2d.absgrad"] = meta["means2d"].absgrad
        if packed:
            slots = meta["camera_ids"] * count + meta["gaussian_ids"]
            spread = {}
            for name, value in rows.items():
                assert value.shape[:1] == slots.shape, f"{name}: {list(value.shape)}, for {len(slots)} rows"
                empty = torch.zeros(cameras * count, *value.shape[1:], dtype=value.dtype, device=value.device)
                spread[name] = empty.index_copy(0, slots, value).view(cameras, count, *value.shape[1:])
            visible = torch.zeros(cameras * count, dtype=torch.bool, device=slots.device)
            visible[slots] = True
            rows, visible = spread, visible.view(cameras, count)
        else:
            for name, value in rows.items():
                assert value.shape[:2] == (cameras, count), f"{name}: {list(value.shape)}"
            visible = (rows["radii"] > 0).any(dim=-1)
        gradients = {name: rows.pop(name) for name in list(rows) if name.endswith("grad") or name == "grad_abs"}
        return rows, gradients, visible, torch.zeros_like(visible), math.inf

    extra = {"packed": packed, "backend": backend} | ({"absgrad": True} if absgrad else {})
    return _outcome(call | extra, rasterization, rows_of)


_references: dict[str, Outcome] = {}


def run_reference(case: Case) -> Outcome:
    """Draw with the dense reference, in float64, and go back. Kept, because several backends ask for the same."""
    if case.key not in _references:
        call = case.arguments(torch.float64, "cpu")
        call["outputs"] = (*call.get("outputs", ()), "grad_abs")

        def rows_of(meta: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor, float]:
            rows = _per_row(meta)
            means2d = meta["means2d"]
            gradients = {"means2d.grad": torch.zeros_like(means2d) if means2d.grad is None else means2d.grad}
            gradients["grad_abs"] = gradients["means2d.absgrad"] = absolute_gradients(meta, len(call["means"]))
            return rows, gradients, (rows["radii"] > 0).any(dim=-1), meta["hidden"], meta["margin"]

        _references[case.key] = _outcome(call, reference_rasterization, rows_of)
    return _references[case.key]


def compare(ours: Outcome, theirs: Outcome, *, flips: int = 0, tolerance: float = 1e-4) -> None:
    """`ours`, drawn in float32, is what the reference says.

    Args:
        flips: how many pixels of each camera may lie so near to a threshold that they differ.
        tolerance: of gradients and statistics, relative to their norm.

    Raises:
        AssertionError: if it is not; the message names what differs.
    """
    for name, image in ours.images.items():
        _compare_image(name, image, theirs.images[name], flips)
    certain = ~theirs.hidden
    assert torch.equal(ours.visible & certain, theirs.visible & certain), "visible"
    both = ours.visible & theirs.visible
    for name, rows in ours.rows.items():
        _compare_rows(name, rows[both], theirs.rows[name][both], flips, tolerance)
        assert not rows[~ours.visible].any(), f"{name}: rows of invisible Gaussians are not zero"
    for name, gradient in ours.gradients.items():
        expected = theirs.gradients[name]
        assert gradient.shape == expected.shape, f"gradient of {name}: {list(gradient.shape)}"
        error, norm = float((gradient.double() - expected).norm()), float(expected.norm())
        assert error <= tolerance * norm + 1e-6, f"gradient of {name}: off by {error:.3g} of {norm:.3g}"


def _compare_image(name: str, ours: Tensor, theirs: Tensor, flips: int) -> None:
    assert ours.dtype == torch.float32, f"{name}: {ours.dtype}"
    assert ours.shape == theirs.shape, f"{name}: {list(ours.shape)}, expected {list(theirs.shape)}"
    if theirs.numel() == 0:
        return
    scale = max(1.0, float(theirs.abs().max()))
    error = (ours.double() - theirs).abs().amax(dim=-1)
    wrong = int((error > 1e-5 * scale).sum())
    assert wrong <= flips * len(theirs), (
        f"{name}: {wrong} pixels differ, by up to {float(error.max()):.3g} of {scale:.3g}"
    )
    if name in ("colors", "alphas", "depth", "normal"):  # what a flip changes by one Gaussian's least alpha
        assert float(error.max()) < 2.5 / 255 * scale, f"{name}: off by {float(error.max()):.3g}"


def _compare_rows(name: str, ours: Tensor, theirs: Tensor, flips: int, tolerance: float) -> None:
    assert ours.shape == theirs.shape, f"{name}: {list(ours.shape)}, expected {list(theirs.shape)}"
    if name in ("radii", "hits", "dominant"):
        assert ours.dtype == torch.int32, f"{name}: {ours.dtype}"
        most = 1 if name == "radii" else flips  # a radius may lie within rounding of a whole number
        off = int((ours - theirs).abs().max()) if theirs.numel() > 0 else 0
        assert off <= most, f"{name}: off by {off}"
        return
    assert ours.dtype == torch.float32, f"{name}: {ours.dtype}"
    error, norm = float((ours.double() - theirs).norm()), float(theirs.norm())
    assert error <= tolerance * norm + 1e-6, f"{name}: off by {error:.3g} of {norm:.3g}"


def cameras(count: int, width: int = WIDTH, height: int = HEIGHT) -> dict[str, Tensor]:
    """Viewmats and Ks of cameras around the origin, at distance 4 and looking at it, each with its own intrinsics."""
    viewmats, intrinsics = [], []
    for c in range(count):
        angle = 0.4 + 2 * math.pi * c / count
        forward = torch.tensor([-math.sin(angle), 0.2, -math.cos(angle)], dtype=torch.float64)
        z = forward / forward.norm()
        x = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), z)
        x = x / x.norm()
        view = torch.eye(4, dtype=torch.float64)
        view[:3, :3] = torch.stack([x, torch.linalg.cross(z, x), z])
        view[2, 3] = 4.0
        viewmats.append(view.float())
        focal = 40.0 + 3 * c
        intrinsics.append(torch.tensor([[focal, 0, width / 2 + c], [0, focal + 2, height / 2 - c], [0, 0, 1.0]]))
    if count == 0:
        return {"viewmats": torch.zeros(0, 4, 4), "Ks": torch.zeros(0, 3, 3)}
    return {"viewmats": torch.stack(viewmats), "Ks": torch.stack(intrinsics)}


def random_scene(
    n: int, seed: int = 0, *, sh_degree: int | None = None, channels: int = 3, per_camera: int = 0
) -> dict[str, Tensor]:
    """Gaussians of all sizes, shapes and opacities around the origin; colors for each of `per_camera` cameras."""
    g = torch.Generator().manual_seed(seed)
    leading = (per_camera, n) if per_camera else (n,)
    if sh_degree is None:
        colors = torch.rand(*leading, channels, generator=g)
    else:
        colors = 0.4 * torch.randn(*leading, (sh_degree + 1) ** 2, 3, generator=g)
    return {
        "means": 1.2 * torch.randn(n, 3, generator=g),
        "quats": torch.randn(n, 4, generator=g),
        "scales": 0.02 + 0.4 * torch.rand(n, 3, generator=g) ** 2,
        "opacities": torch.rand(n, generator=g),
        "colors": colors,
    }


def clear_case(make: Callable[[int], Case], seed: int = 0) -> Case:
    """The first of `make(seed)`, `make(seed + 1)`, ... in which no decision is within rounding of its threshold.

    In such a case no pixel may differ, whatever the precision.
    """
    for candidate in range(seed, seed + 50):
        case = make(candidate)
        if run_reference(case).margin > CLEAR:
            return case
    raise AssertionError(f"no seed from {seed} to {seed + 49} keeps clear of thresholds")
