"""Gaussians and cameras: the data that every other part passes around."""

from gsbench.splats.camera import Camera, cameras_from_json, cameras_to_json
from gsbench.splats.splats import Splats

__all__ = ["Camera", "Splats", "cameras_from_json", "cameras_to_json"]
