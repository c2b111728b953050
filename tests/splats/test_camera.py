from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsbench.errors import UsageError
from gsbench.splats import Camera, cameras_from_json, cameras_to_json


def camera(**changes: Any) -> Camera:
    values: dict[str, Any] = {
        "name": "a.png",
        # A quarter turn about y, then a shift: world x becomes depth, world z becomes -x.
        "viewmat": torch.tensor([[0.0, 0, -1, 1], [0, 1, 0, 2], [1, 0, 0, 3], [0, 0, 0, 1]]),
        "K": torch.tensor([[100.0, 0, 60], [0, 200, 30], [0, 0, 1]]),
        "width": 100,
        "height": 80,
    }
    return Camera(**{**values, **changes})


def test_fields_of_view() -> None:
    # tan(FoV / 2) = half the size over the focal length.
    assert camera().FoVx == pytest.approx(2 * math.atan(0.5), abs=1e-15)
    assert camera().FoVy == pytest.approx(2 * math.atan(0.2), abs=1e-15)
    assert camera(K=torch.tensor([[50.0, 0, 50], [0, 40, 40], [0, 0, 1]])).FoVx == pytest.approx(math.pi / 2)
    assert camera(K=torch.tensor([[50.0, 0, 50], [0, 40, 40], [0, 0, 1]])).FoVy == pytest.approx(math.pi / 2)


def test_camera_center() -> None:
    # Solving viewmat @ c = 0 by hand: -cz + 1 = 0, cy + 2 = 0, cx + 3 = 0.
    assert camera().camera_center.tolist() == [-3, -2, 1]
    assert camera().camera_center.dtype == torch.float32


def test_matrices_of_the_original_code() -> None:
    c = camera()
    assert c.world_view_transform.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [1, 2, 3, 1]]
    # x: 2 * 100 / 100 and 2 * 60 / 100 - 1; y: 2 * 200 / 80 and 2 * 30 / 80 - 1; z with near 0.01 and far 100.
    far_part = 100 / (100 - 0.01)
    want = torch.tensor([[2, 0, 0, 0], [0, 5, 0, 0], [0.2, -0.25, far_part, 1], [0, 0, -0.01 * far_part, 0]])
    torch.testing.assert_close(c.projection_matrix, want, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(c.full_proj_transform, c.world_view_transform @ want, atol=1e-6, rtol=1e-6)


def test_projection_agrees_with_the_pinhole() -> None:
    c = camera()
    world = torch.tensor([2.0, -1.5, 0.25])
    x, y, z = (c.viewmat[:3, :3] @ world + c.viewmat[:3, 3]).tolist()
    assert (x, y, z) == (0.75, 0.5, 5.0)
    clip = torch.cat([world, torch.ones(1)]) @ c.full_proj_transform
    ndc = clip[:3] / clip[3]
    # From [-1, 1] to pixels.
    assert float((ndc[0] + 1) * 50) == pytest.approx(100 * x / z + 60, abs=1e-4)
    assert float((ndc[1] + 1) * 40) == pytest.approx(200 * y / z + 30, abs=1e-4)
    assert 0 < float(ndc[2]) < 1


@pytest.mark.parametrize(("depth", "clip_z"), [(0.01, 0.0), (100.0, 1.0)])
def test_near_and_far_planes(depth: float, clip_z: float) -> None:
    point = torch.tensor([0.0, 0.0, depth, 1.0], dtype=torch.float64) @ camera().projection_matrix.double()
    assert float(point[2] / point[3]) == pytest.approx(clip_z, abs=1e-5)


def test_names_of_the_original_code() -> None:
    c = camera()
    assert (c.image_name, c.image_width, c.image_height) == ("a.png", 100, 80)
    moved = c.to("cpu")
    assert torch.equal(moved.viewmat, c.viewmat)
    assert (moved.name, moved.width, moved.height) == (c.name, c.width, c.height)


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(
    st.text(),
    st.lists(FINITE, min_size=25, max_size=25),
    st.integers(0, 65535),
    st.integers(0, 65535),
)
def test_json_round_trip_is_exact(name: str, numbers: list[float], width: int, height: int) -> None:
    original = camera(
        name=name,
        viewmat=torch.tensor(numbers[:16]).reshape(4, 4),
        K=torch.tensor(numbers[16:]).reshape(3, 3),
        width=width,
        height=height,
    )
    text = cameras_to_json([original, original])
    for again in cameras_from_json(text):
        assert (again.name, again.width, again.height) == (name, width, height)
        for matrix in ("viewmat", "K"):
            a, b = getattr(again, matrix), getattr(original, matrix)
            assert torch.equal(a.view(torch.int32), b.view(torch.int32))  # -0.0 and denormals too
    assert cameras_to_json(cameras_from_json(text)) == text


def test_no_cameras() -> None:
    assert list(cameras_from_json(cameras_to_json([]))) == []


def test_not_finite_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        cameras_to_json([camera(viewmat=torch.full((4, 4), float("nan")))])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"viewmat": torch.zeros(3, 4)}, r"viewmat of camera 'a.png': expected float32 \[4, 4\], got .*\[3, 4\]"),
        ({"K": torch.zeros(3, 3).double()}, r"K of camera 'a.png': expected float32 \[3, 3\], got torch.float64"),
        ({"width": -1}, "camera 'a.png': negative size -1x80"),
        ({"height": -5}, "camera 'a.png': negative size 100x-5"),
    ],
)
def test_wrong_cameras(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        camera(**changes)


def changed(**changes: Any) -> str:
    value = camera().to_json()
    for name, new in changes.items():
        if new is KeyError:
            del value[name]
        else:
            value[name] = new
    return json.dumps({"schema": 1, "cameras": [value]})


def matrix(n: int, value: Any) -> list[list[Any]]:
    return [[value] * n for _ in range(n)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cameras.json is not JSON"),
        ("{", "cameras.json is not JSON"),
        ("[" * 100000, "cameras.json is not JSON"),
        ('{"schema": 1, "cameras": [' + "9" * 5000 + "]}", "cameras.json is not JSON"),
        ("[]", "expected an object with schema 1"),
        ('{"schema": 2, "cameras": []}', "expected an object with schema 1"),
        ('{"schema": 1}', "cameras: expected a list, got None"),
        ('{"schema": 1, "cameras": {}}', "cameras: expected a list, got {}"),
        ('{"schema": 1, "cameras": [3]}', "malformed camera: expected an object, got 3"),
        (changed(name=KeyError), "malformed camera None: name: expected a string"),
        (changed(name=3), "malformed camera 3: name: expected a string"),
        (changed(width=KeyError), "malformed camera 'a.png': width: expected 0 to 65535 pixels, got None"),
        (changed(width="100"), "width: expected 0 to 65535 pixels, got '100'"),
        (changed(width=100.5), "width: expected 0 to 65535 pixels, got 100.5"),
        (changed(width=True), "width: expected 0 to 65535 pixels, got True"),
        (changed(height=-1), "height: expected 0 to 65535 pixels, got -1"),
        (changed(height=65536), "height: expected 0 to 65535 pixels, got 65536"),
        (changed(viewmat=KeyError), "'a.png': viewmat: expected 4 lists of 4 finite numbers, got None"),
        (changed(viewmat=matrix(3, 0.0)), "viewmat: expected 4 lists of 4 finite numbers"),
        (changed(K=matrix(4, 0.0)), "K: expected 3 lists of 3 finite numbers"),
        (changed(K=[[1.0, 2.0, 3.0], [1.0, 2.0], [1.0, 2.0, 3.0]]), "K: expected 3 lists of 3 finite numbers"),
        (changed(K=matrix(3, "1")), "K: expected 3 lists of 3 finite numbers, got '1'"),
        (changed(K=matrix(3, None)), "K: expected 3 lists of 3 finite numbers, got None"),
        (changed(K=matrix(3, [1])), r"K: expected 3 lists of 3 finite numbers, got \[1\]"),
        (changed(K=matrix(3, True)), "K: expected 3 lists of 3 finite numbers, got True"),
        (changed(K=matrix(3, float("nan"))), "K: expected 3 lists of 3 finite numbers, got nan"),
        (changed(K=matrix(3, float("-inf"))), "K: expected 3 lists of 3 finite numbers, got -inf"),
        (changed(K=matrix(3, 1e39)), r"K: expected 3 lists of 3 finite numbers, got 1e\+39"),
        (changed(K=matrix(3, 10**400)), "K: expected 3 lists of 3 finite numbers, got 1000"),
    ],
)
def test_malformed_json(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cameras_from_json(text)


def test_whole_numbers_are_numbers() -> None:
    (again,) = cameras_from_json(changed(K=[[100, 0, 60], [0, 200, 30], [0, 0, 1]]))
    assert torch.equal(again.K, camera().K)
