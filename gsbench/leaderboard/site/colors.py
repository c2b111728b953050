"""Colors of error maps; free of torch, because pages without images show none."""

from __future__ import annotations

from typing import Final

#: The error (of 255, mean over the three channels) that the map's lightest color stands for.
ERROR_FULL: Final = 64
#: The error map's colors at equal distances from no error to `ERROR_FULL`; lightness rises steadily.
ERROR_COLORS: Final = ((4, 4, 14), (58, 18, 88), (134, 36, 104), (208, 66, 72), (246, 140, 40), (252, 250, 190))
