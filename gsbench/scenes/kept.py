"""Ground truth that took work to make, kept losslessly in the cache and verified on every use."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, PngImagePlugin

from gsbench._files import atomic_file
from gsbench.errors import StoreError
from gsbench.scenes.photos import read_bytes

#: Takes part in every key: another way of making pixels gets other files.
_VERSION: Final = 1
#: The PNG text that holds the digest of the pixels.
_DIGEST: Final = "gsbench-sha256"


@dataclass(frozen=True)
class Kept:
    """The place of one image in the cache: a PNG that holds a digest of its pixels.

    Fields:
        path: the file, which need not be there.
        source: SHA-256 of the photograph that it is made from.
    """

    path: Path
    source: str

    @staticmethod
    def of(cache: Path, source: str, recipe: Mapping[str, Any]) -> Kept:
        """The place for what `recipe` (plain values: all that decides the pixels) makes of the file `source`."""
        what = {"version": _VERSION, "pillow": PIL.__version__, "source": source, **recipe}
        text = json.dumps(what, sort_keys=True, separators=(",", ":"))
        key = hashlib.sha256(text.encode()).hexdigest()
        return Kept(cache / "images" / key[:2] / f"{key}.png", source)

    def read(self, size: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
        """The pixels, uint8 [H, W, 3]; None if they are not there, damaged or not what was written."""
        try:
            with Image.open(io.BytesIO(read_bytes(self.path)), formats=("PNG",)) as image:
                if image.size != size or image.mode != "RGB":
                    return None
                pixels = np.array(image, dtype=np.uint8)
                digest = image.text.get(_DIGEST) if isinstance(image, PngImagePlugin.PngImageFile) else None
        except Exception:  # whatever a decoder makes of a damaged file
            return None
        return pixels if digest == _digest(pixels) else None

    def write(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Keep `pixels`. Where the cache cannot be written nothing is kept: it only saves time."""
        text = PngImagePlugin.PngInfo()
        text.add_text(_DIGEST, _digest(pixels))
        with contextlib.suppress(OSError, StoreError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.path) as file:
                Image.fromarray(pixels).save(file, format="PNG", pnginfo=text, compress_level=3)


def _digest(pixels: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()
