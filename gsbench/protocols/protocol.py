"""`Protocol`: the ground truth, the split and the background of an evaluation, with an id and a hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from gsbench.errors import UsageError


@dataclass(frozen=True)
class Protocol:
    """One way of preparing ground truth and choosing held-out views. Results compare only within a protocol.

    Fields:
        id: short name, part of every record and of its path.
        images: folder of the ground truth relative to the scene, or None for the data set's own rule
            (``images`` for gs1600 and png4, ``images_4``/``images_2`` for shipped).
        max_width: images wider than this are reduced to it (Pillow bicubic, the new height truncated).
        downscale: factor by which images are reduced, or "dataset" for the data set's own factor.
        split: "every8": sorted by name, index % 8 == 0 is held out; "given": the data set's own lists.
        background: RGB in [0, 1] behind the Gaussians and behind transparent pixels.
    """

    id: str
    images: str | None = "images"
    max_width: int | None = None
    downscale: float | Literal["dataset"] = 1.0
    split: Literal["every8", "given"] = "every8"
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def hash(self) -> str:
        """SHA-256 (16 hex digits) over everything that changes the pixels or the split, the id included."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def with_overrides(
        self,
        *,
        images: str | None = None,
        downscale: float | None = None,
        max_width: int | None = None,
        background: tuple[float, float, float] | None = None,
    ) -> Protocol:
        """The protocol changed by command-line options. Its id says what was changed: ``gs1600+images_2``.

        Raises:
            UsageError: for values without meaning (a factor below 1, a width of 0, a color outside [0, 1]).
        """
        changed = self
        marks: list[str] = []
        if images is not None and images != self.images:
            if not images or images.startswith("/") or ".." in images.split("/"):
                raise UsageError(f"--images {images!r}: expected a folder inside the scene, such as images_2")
            changed, marks = replace(changed, images=images), [*marks, images.replace("/", "-")]
        if downscale is not None and downscale != self.downscale:
            if not downscale >= 1.0:
                raise UsageError(f"--downscale {downscale}: expected a factor of 1 or more")
            changed, marks = replace(changed, downscale=float(downscale)), [*marks, f"d{downscale:g}"]
        if max_width is not None and max_width != self.max_width:
            if max_width < 1:
                raise UsageError(f"--max-width {max_width}: expected a positive number of pixels")
            changed, marks = replace(changed, max_width=max_width), [*marks, f"w{max_width}"]
        if background is not None and background != self.background:
            if not all(0.0 <= c <= 1.0 for c in background):
                raise UsageError(f"--background {background}: expected three numbers in [0, 1]")
            mark = "bg" + "-".join(f"{c:g}" for c in background)
            changed, marks = replace(changed, background=background), [*marks, mark]
        return replace(changed, id="+".join([self.id, *marks]))


#: Full-resolution images, wider ones reduced to 1600 pixels: Scaffold-GS, HAC, the 3DGS.zip survey.
GS1600: Final = Protocol("gs1600", max_width=1600)
#: The data set's own reduced images: the original 3DGS, nerfbaselines.
SHIPPED: Final = Protocol("shipped", images=None)
#: Full resolution reduced by the data set's factor and kept lossless: gsplat, 3DGS-MCMC.
PNG4: Final = Protocol("png4", downscale="dataset")
#: NeRF-Synthetic: given splits on white.
BLENDER: Final = Protocol("blender", images=None, split="given", background=(1.0, 1.0, 1.0))
