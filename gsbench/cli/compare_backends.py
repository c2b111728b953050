"""``gsbench doctor --compare-backends``: every rasterizer of this machine against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from gsbench.cli.output import print_json, table_width
from gsbench.cli.tables import Column, Row, text_table
from gsbench.errors import GsbenchError

if TYPE_CHECKING:
    from gsbench.testing.raster_case import Case

COMPARE_SCHEMA: Final = "gsbench.compare-backends/1"

#: An image value may be off by this, times the largest of its image if that is above 1; a gradient by this, relative to
#: its norm.
_IMAGE_TOLERANCE: Final = 1e-5
_GRADIENT_TOLERANCE: Final = 1e-4
#: Pixels of an image that may differ because a Gaussian is within rounding of a threshold there.
_MOST_FLIPS: Final = 8


@dataclass(frozen=True)
class Difference:
    """One backend in one case; `note` says why there is no result.

    Fields:
        image: largest difference of the image from the reference.
        pixels: how many differ by more than rounding.
        gradient: largest difference of an input's gradient, relative to the norm of that.
        agrees: whether all this is within the tolerances that backends of the core hold to.
    """

    backend: str
    case: str
    image: float | None = None
    pixels: int | None = None
    gradient: float | None = None
    agrees: bool | None = None
    note: str = ""


def _cases() -> dict[str, Case]:
    from gsbench.testing.raster_case import HEIGHT, WIDTH, Case, cameras, random_scene

    view = cameras(2)
    view["Ks"][:, 0, 2], view["Ks"][:, 1, 2] = WIDTH / 2, HEIGHT / 2  # where every rasterizer can have it
    background = view["Ks"].new_tensor([[0.2, 0.5, 0.9]]).expand(2, 3).contiguous()
    return {
        "RGB": Case({**random_scene(150), **view}),
        "SH, background": Case(
            {**random_scene(150, 1, sh_degree=3), **view, "backgrounds": background}, {"sh_degree": 3}
        ),
        "antialiased": Case({**random_scene(150, 2), **view}, {"rasterize_mode": "antialiased"}),
        "depth": Case({**random_scene(150, 3), **view}, {"render_mode": "RGB+D"}),
    }


def _compare(backend: str, device: str, name: str, case: Case) -> Difference:
    from gsbench.testing.raster_case import run, run_reference

    expected = run_reference(case)
    try:
        found = run(case, backend, device=device, packed=False)
    except (NotImplementedError, ImportError, GsbenchError) as error:
        if backend != "inria" or "viewmats" not in str(error):
            return Difference(backend, name, note=str(error))
        try:  # that one has no gradients to cameras
            tensors = dict(case.tensors)
            fixed = type(case)(tensors, {**case.options, "viewmats": tensors.pop("viewmats")})
            found = run(fixed, backend, device=device, packed=False)
        except (NotImplementedError, ImportError, GsbenchError) as again:
            return Difference(backend, name, note=str(again))
    image, reference = found.images["colors"].double(), expected.images["colors"]
    off = (image - reference).abs().amax(dim=-1)
    pixels = int((off > _IMAGE_TOLERANCE * max(1.0, float(reference.abs().max()))).sum())
    gradients = [
        float((found.gradients[key].double() - expected.gradients[key]).norm())
        / max(float(expected.gradients[key].norm()), 1e-30)
        for key in case.leaves
        if key in found.gradients
    ]
    gradient = max(gradients)
    agrees = pixels <= _MOST_FLIPS and gradient <= _GRADIENT_TOLERANCE
    return Difference(backend, name, float(off.max()), pixels, gradient, agrees)


def differences() -> Iterator[Difference]:
    """Every registered backend, and those of the core, in every case."""
    import torch

    from gsbench import registry
    from gsbench.hooks import load_plugins
    from gsbench.raster.backend import CORE_BACKENDS, ON_GPU

    load_plugins()
    for backend in dict.fromkeys([*CORE_BACKENDS, *registry.rasterizers]):
        device = "cuda" if backend in ON_GPU else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            yield Difference(backend, "-", note="draws on CUDA devices, and torch finds none")
            continue
        for name, case in _cases().items():
            yield _compare(backend, device, name, case)


def report(as_json: bool) -> int:
    """Print the differences. 1 if a backend of the core is further from the reference than it may be, else 0."""
    from gsbench.raster.backend import CORE_BACKENDS

    found = list(differences())
    if as_json:
        print_json({"schema": COMPARE_SCHEMA, "differences": [asdict(d) for d in found]})
    else:
        rows = []
        for d in found:
            if d.image is None or d.gradient is None:
                rows.append(Row([d.backend, d.case, d.note], "yellow"))
                continue
            cells = [
                d.backend,
                d.case,
                f"{d.image:.1e}",
                str(d.pixels),
                f"{d.gradient:.1e}",
                "yes" if d.agrees else "no",
            ]
            rows.append(Row(cells, None if d.agrees else "red"))
        titles = ("largest difference", "pixels that differ", "gradients, relative", "agrees")
        columns = [Column("backend", "<"), Column("case", "<"), *(Column(t) for t in titles)]
        click.echo(text_table(columns, rows, table_width()))
        click.echo("Differences are to a dense rasterizer in float64; see ARCHITECTURE.md, section 3.")
    return 1 if any(d.agrees is False and d.backend in CORE_BACKENDS for d in found) else 0
