"""`Protocol`: the ground truth, the split and the background of an evaluation, with an id and a hash."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from gsbench.errors import PluginError, UsageError

#: Ids become parts of the paths of records.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
#: Widest and highest ground truth: as large as a JPEG can be.
_MAX_SIDE: Final = 65535


@dataclass(frozen=True)
class Protocol:
    """One way of preparing ground truth and choosing held-out views. Results compare only within a protocol.

    Fields:
        id: short name, part of every record and of its path.
        images: folder of the ground truth relative to the scene, or None for the data set's own rule
            (``images`` for gs1600 and png4, ``images_4``/``images_2`` for shipped).
        max_width: images wider than this are reduced to it (Pillow bicubic, the new height truncated).
        downscale: factor by which images are reduced, or "dataset" for the data set's own factor.
        split: "every8": sorted by name, index % 8 == 0 is held out; "first31": sorted by name, the first 31 are held
            out; "given": the data set's own lists.
        background: RGB in [0, 1] behind the Gaussians and behind transparent pixels.
        undistorted: the ground truth was resampled to an undistorted camera by gsbench; see `with_undistortion`.

    Raises:
        PluginError: if a field is malformed.
    """

    id: str
    images: str | None = "images"
    max_width: int | None = None
    downscale: float | Literal["dataset"] = 1.0
    split: Literal["every8", "first31", "given"] = "every8"
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    undistorted: bool = False

    def __post_init__(self) -> None:
        problem = None
        if not _ID.fullmatch(self.id):
            problem = "id: expected letters, digits and . _ + -, beginning with a letter or digit"
        elif self.images is not None and self.images != _folder(self.images):
            problem = f"images {self.images!r}: expected a folder inside the scene, such as images_2"
        elif self.downscale != "dataset" and not _is_factor(self.downscale):
            problem = f"downscale {self.downscale!r}: expected a factor of 1 or more"
        elif self.max_width is not None and not _is_width(self.max_width):
            problem = f"max_width {self.max_width!r}: expected 1 to {_MAX_SIDE} pixels"
        elif self.split not in ("every8", "first31", "given"):
            problem = f"split {self.split!r}: expected every8, first31 or given"
        elif not _is_color(self.background):
            problem = f"background {self.background!r}: expected three numbers in [0, 1]"
        if problem:
            raise PluginError(f"protocol {self.id!r}: {problem}")
        # Equal values hash equally, whether they were written as 1 or 1.0.
        if self.downscale != "dataset":
            object.__setattr__(self, "downscale", float(self.downscale))
        object.__setattr__(self, "background", tuple(float(c) + 0.0 for c in self.background))

    @property
    def hash(self) -> str:
        """SHA-256 (16 hex digits) over everything that changes the pixels or the split, the id included."""
        fields = asdict(self)
        if not self.undistorted:
            del fields["undistorted"]  # came later than hashes that were published
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
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

        An option that changes nothing leaves no mark.

        Raises:
            UsageError: for values without meaning (a factor below 1, a width of 0, a color outside [0, 1]).
        """
        changed = self
        marks: list[str] = []
        if images is not None:
            folder = _folder(images)
            if folder is None:
                raise UsageError(f"--images {images!r}: expected a folder inside the scene, such as images_2")
            if folder != self.images:
                changed, marks = replace(changed, images=folder), [*marks, re.sub(r"[^A-Za-z0-9._+-]+", "-", folder)]
        if downscale is not None:
            if not _is_factor(downscale):
                raise UsageError(f"--downscale {downscale}: expected a factor of 1 or more")
            if downscale != self.downscale:
                changed, marks = replace(changed, downscale=downscale), [*marks, f"d{_number(downscale)}"]
        if max_width is not None:
            if not _is_width(max_width):
                raise UsageError(f"--max-width {max_width}: expected 1 to {_MAX_SIDE} pixels")
            if max_width != self.max_width:
                changed, marks = replace(changed, max_width=max_width), [*marks, f"w{max_width}"]
        if background is not None:
            if not _is_color(background):
                raise UsageError(f"--background {background}: expected three numbers in [0, 1]")
            if tuple(background) != self.background:
                mark = "bg" + "-".join(_number(c) for c in background)
                changed, marks = replace(changed, background=background), [*marks, mark]
        identifier = "+".join([self.id, *marks])
        if not _ID.fullmatch(identifier):
            raise UsageError(f"--images {images!r}: expected a shorter name")
        return replace(changed, id=identifier)

    def with_undistortion(self) -> Protocol:
        """The protocol for a scene whose cameras have lens distortion: ``gs1600+undistorted``.

        Its photos are resampled, before anything else is done to them, to the pinhole camera that COLMAP's
        ``image_undistorter`` chooses by default: the focal lengths stay, the size becomes the largest without blank
        pixels (between 0.2 and 2 times the photo's), interpolation is bilinear.
        """
        if self.undistorted:
            return self
        return replace(self, id=f"{self.id}+undistorted", undistorted=True)


def _folder(images: str) -> str | None:
    """`images` without a slash at its end if it is a relative path that stays inside the scene, else None."""
    folder = images.rstrip("/")
    inside = not images.startswith("/") and "\\" not in images and images.isprintable()
    return folder if inside and all(part not in ("", ".", "..") for part in folder.split("/")) else None


def _is_factor(value: float) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value >= 1.0


def _is_width(value: int) -> bool:
    return isinstance(value, int) and 1 <= value <= _MAX_SIDE


def _is_color(value: Sequence[float]) -> bool:
    return len(value) == 3 and all(0.0 <= c <= 1.0 for c in value)


def _number(value: float) -> str:
    """Short where that is exact, so that ids differ where values do."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


#: Full-resolution images, wider ones reduced to 1600 pixels: Scaffold-GS, HAC, the 3DGS.zip survey.
GS1600: Final = Protocol("gs1600", max_width=1600)
#: The data set's own reduced images: the original 3DGS, nerfbaselines.
SHIPPED: Final = Protocol("shipped", images=None)
#: Full resolution reduced by the data set's factor and kept lossless: gsplat, 3DGS-MCMC.
PNG4: Final = Protocol("png4", downscale="dataset")
#: BungeeNeRF as HAC and Scaffold-GS evaluate it: gs1600, but the first 31 views are held out.
BUNGEE: Final = Protocol("gs1600+first31", max_width=1600, split="first31")
#: NeRF-Synthetic: given splits on white.
BLENDER: Final = Protocol("blender", images=None, split="given", background=(1.0, 1.0, 1.0))
