"""The cameras.json of the original 3DGS code."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from gsbench.errors import UsageError
from gsbench.formats.inria_cameras import cameras_from_inria, is_inria
from gsbench.splats import Camera, cameras_to_json
from gsbench.testing import orbit_cameras


def as_written_by_the_original(index: int, camera: Camera) -> dict[str, Any]:
    """Its camera_to_JSON: the inverse of the world-to-camera matrix, in float64, and focal lengths."""
    pose = np.linalg.inv(camera.viewmat.double().numpy())
    return {
        "id": index,
        "img_name": camera.name,
        "width": camera.width,
        "height": camera.height,
        "position": pose[:3, 3].tolist(),
        "rotation": pose[:3, :3].tolist(),
        "fy": camera.height / (2 * math.tan(camera.FoVy / 2)),
        "fx": camera.width / (2 * math.tan(camera.FoVx / 2)),
    }


def test_cameras_come_back(tmp_path: object) -> None:
    cameras = orbit_cameras(6)
    written = [as_written_by_the_original(i, camera) for i, camera in enumerate(cameras)]
    text = json.dumps(written[::-1])
    assert is_inria(text)
    assert not is_inria(cameras_to_json(cameras))
    for ours, theirs in zip(cameras_from_inria(text), cameras, strict=True):
        assert (ours.name, ours.width, ours.height) == (theirs.name, theirs.width, theirs.height)
        torch.testing.assert_close(ours.viewmat, theirs.viewmat, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.K, theirs.K, atol=1e-4, rtol=1e-6)


GOOD = as_written_by_the_original(0, orbit_cameras(1)[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not JSON"),
        ("{}", "expected a list"),
        ("[3]", "camera 0: expected an object"),
        (json.dumps([{k: v for k, v in GOOD.items() if k not in ("fx", "position")}]), "lacks position, fx"),
        (json.dumps([GOOD, {**GOOD, "fx": 0}]), "camera 1: width, height, fx and fy: expected positive"),
        (json.dumps([{**GOOD, "width": 3.5}]), "whole ones of pixels"),
        (json.dumps([{**GOOD, "fy": "9"}]), "fx, fy: expected 2 numbers"),
        (json.dumps([{**GOOD, "fy": 10**400}]), "too large"),
        (json.dumps([{**GOOD, "rotation": [[1, 0, 0], [0, 1, 0]]}]), "rotation: expected 3 rows"),
        (json.dumps([{**GOOD, "rotation": [[1, 0, 0], [0, 1], [0, 0, 1]]}]), "rotation: expected 3 numbers"),
        (json.dumps([{**GOOD, "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}]), "not a rotation"),
        (json.dumps([{**GOOD, "rotation": [[2, 0, 0], [0, 1, 0], [0, 0, 1]]}]), "not a rotation"),
        (json.dumps([{**GOOD, "rotation": [[float("nan"), 0, 0], [0, 1, 0], [0, 0, 1]]}]), "not a rotation"),
        (json.dumps([{**GOOD, "position": [0, 0, 1e60]}]), "finite numbers"),
        (json.dumps([{**GOOD, "position": [0, 0, True]}]), "position: expected 3 numbers"),
        (json.dumps([{**GOOD, "width": 100_000}]), "expected 0 to 65535 pixels"),
    ],
)
def test_what_is_no_such_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cameras_from_inria(text)
