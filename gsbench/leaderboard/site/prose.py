"""What the pages say about protocols and about how far numbers were checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ProtocolText:
    """A protocol in words.

    Fields:
        id: as in records.
        hash: of its definition; "" where no record uses it.
        truth, split, used_by: ground truth, held-out views, and who evaluates like this.
        notes: how the id says that it was changed.
    """

    id: str
    truth: str
    split: str
    used_by: str
    hash: str = ""
    notes: str = ""


_EVERY8: Final = "Views sorted by name; every eighth (index % 8 = 0) is held out."

PROTOCOLS: Final = (
    ProtocolText(
        "gs1600",
        "Full-resolution photos; those wider than 1600 pixels are reduced to that width (Pillow, bicubic, the height "
        "truncated).",
        _EVERY8,
        "Scaffold-GS, HAC, the 3DGS.zip survey",
    ),
    ProtocolText(
        "shipped",
        "The data set's own reduced photos (Mip-NeRF 360: images_4 outdoors, images_2 indoors).",
        _EVERY8,
        "the original 3DGS code, nerfbaselines",
    ),
    ProtocolText(
        "png4",
        "Full-resolution photos, reduced by the data set's factor (bicubic) and kept without loss.",
        _EVERY8,
        "gsplat, 3DGS-MCMC",
    ),
    ProtocolText(
        "blender", "Images as given, transparent pixels over white.", "The data set's own split.", "NeRF-Synthetic"
    ),
    ProtocolText(
        "gs1600+first31",
        "As gs1600.",
        "Views sorted by name; the first 31 are held out.",
        "HAC and Scaffold-GS on BungeeNeRF",
    ),
)

#: How far a number was checked: name -> what it means.
TRUST: Final = {
    "claimed": "The record says so. It names the artifact by its SHA-256, the settings and the versions, so that "
    "anyone can check it.",
    "decoded": "Somebody decoded the artifact again, in a sealed process that sees nothing else, rendered and scored "
    "it, and found the record's numbers within stated tolerances.",
    "reproduced": "Somebody repeated the training as well, and found the record's numbers within stated tolerances.",
}


def protocol_text(identifier: str, hashed: str) -> ProtocolText:
    """The words for a protocol that records use; of one that was changed by options, those of the protocol it came
    from and how its id says what was changed.
    """
    best = max((p for p in PROTOCOLS if _is_of(identifier, p.id)), key=lambda p: len(p.id), default=None)
    if best is None:
        return ProtocolText(identifier, "Defined by a plugin.", "Defined by a plugin.", "", hashed)
    marks = [mark for mark in identifier.removeprefix(best.id).split("+") if mark]
    notes = f"Changed from {best.id}: {', '.join(_mark(mark) for mark in marks)}." if marks else ""
    return ProtocolText(identifier, best.truth, best.split, best.used_by if not marks else "", hashed, notes)


def _is_of(identifier: str, base: str) -> bool:
    return identifier == base or identifier.startswith(f"{base}+")


def _mark(mark: str) -> str:
    """What a mark in a protocol's id means."""
    if mark == "undistorted":
        return "photos resampled by pycolmap to an undistorted camera first"
    for prefix, text in (
        ("bg", "background RGB {}"),
        ("w", "photos at most {} pixels wide"),
        ("d", "photos reduced by {}"),
    ):
        value = mark.removeprefix(prefix)
        if value != mark and value[:1].isdigit():
            return text.format(value)
    return f"photos from the folder {mark}"
