"""Gaussians and cameras: the data that every other part passes around."""

from gsbench.splats.camera import Camera, cameras_from_json, cameras_to_json
from gsbench.splats.sh import rgb_to_sh_dc, sh_basis, sh_dc_to_rgb, sh_to_rgb
from gsbench.splats.splats import SH_BASES, Splats

__all__ = [
    "SH_BASES",
    "Camera",
    "Splats",
    "cameras_from_json",
    "cameras_to_json",
    "rgb_to_sh_dc",
    "sh_basis",
    "sh_dc_to_rgb",
    "sh_to_rgb",
]
