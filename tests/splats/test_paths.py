"""Camera paths against geometry that can be said without them, and scipy's rotations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gsbench.errors import UsageError
from gsbench.splats import Camera, Splats
from gsbench.splats.paths import (
    Orbit,
    _quaternion,
    camera_path,
    orbit_of_cameras,
    orbit_of_splats,
    pinhole,
    resized,
    turntable,
)
from gsbench.testing import orbit_cameras, random_splats


def vector(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


ORBIT = Orbit(vector(1, 2, 3), vector(0, 0, 1), 4.0, 30.0, vector(1, 0, 0))
CAMERA = pinhole(80, 60, math.radians(50))


def center_of(camera: Camera) -> np.ndarray:
    matrix = camera.viewmat.double().numpy()
    return -matrix[:3, :3].T @ matrix[:3, 3]


def project(camera: Camera, point: np.ndarray) -> tuple[float, float, float]:
    matrix = camera.viewmat.double().numpy()
    x, y, z = matrix[:3, :3] @ point + matrix[:3, 3]
    K = camera.K.double().numpy()
    return K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2], z


def is_rotation(camera: Camera) -> bool:
    r = camera.viewmat[:3, :3].double().numpy()
    return bool(np.allclose(r @ r.T, np.eye(3), atol=1e-6) and np.linalg.det(r) > 0)


def at(x: float, y: float, z: float, angle: float = 0.0, *, focal: float = 50.0, name: str = "key") -> Camera:
    """A camera at a place, turned about y."""
    rotation = Rotation.from_euler("y", angle, degrees=True).as_matrix()
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ [x, y, z]
    K = torch.tensor([[focal, 0.0, 40.0], [0.0, focal, 30.0], [0.0, 0.0, 1.0]])
    return Camera(name, torch.tensor(viewmat, dtype=torch.float32), K, 80, 60)


def test_a_turntable_looks_at_its_center_from_where_it_should() -> None:
    cameras = turntable(ORBIT, CAMERA, 8)
    assert [camera.name for camera in cameras] == [f"{i:04d}" for i in range(8)]
    for index, camera in enumerate(cameras):
        assert is_rotation(camera)
        angle, height = 2 * math.pi * index / 8, math.radians(30)
        arm = [math.cos(height) * math.cos(angle), math.cos(height) * math.sin(angle), math.sin(height)]
        np.testing.assert_allclose(center_of(camera), np.array([1, 2, 3]) + 4 * np.array(arm), atol=1e-5)
        x, y, z = project(camera, np.array([1.0, 2.0, 3.0]))
        assert (x, y, z) == pytest.approx((40, 30, 4), abs=1e-4)
        above = project(camera, np.array([1.0, 2.0, 3.5]))
        assert above[0] == pytest.approx(40, abs=1e-3), "the horizon is level"
        assert above[1] < 30, "up is up"


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    st.tuples(*[st.floats(-1, 1)] * 3),
    st.floats(-89, 89),
    st.integers(1, 7),
)
def test_turntables_of_every_kind(
    up: tuple[float, float, float], front: tuple[float, float, float], elevation: float, frames: int
) -> None:
    orbit = Orbit(vector(0, 0, 0), vector(*up), 2.0, elevation, vector(*front))
    unit = np.array(up) / np.linalg.norm(up)
    for camera in turntable(orbit, CAMERA, frames):
        assert is_rotation(camera)
        place = center_of(camera)
        assert np.linalg.norm(place) == pytest.approx(2.0, abs=1e-5)
        assert math.degrees(math.asin(np.clip(place @ unit / 2, -1, 1))) == pytest.approx(elevation, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elevation": 90.0}, "elevation 90: expected -89 to 89 degrees"),
        ({"elevation": math.nan}, "elevation nan"),
        ({"radius": 0.0}, "radius 0: expected a positive number"),
        ({"radius": math.inf}, "radius inf"),
        ({"up": vector(0, 0, 0)}, "expected three finite numbers"),
        ({"up": vector(math.nan, 0, 1)}, "expected three finite numbers"),
    ],
)
def test_impossible_turntables(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        turntable(replace(ORBIT, **changes), CAMERA, 4)  # type: ignore[arg-type]


def test_the_orbit_of_a_turntable_is_found_again() -> None:
    """Cameras that turn around a point tell where it is."""
    cameras = turntable(ORBIT, CAMERA, 9)
    found = orbit_of_cameras(cameras)
    np.testing.assert_allclose(found.center, [1, 2, 3], atol=1e-4)
    np.testing.assert_allclose(found.up, [0, 0, 1], atol=1e-4)
    assert found.radius == pytest.approx(4, abs=1e-4)
    assert found.elevation == pytest.approx(30, abs=1e-3)
    again = turntable(found, CAMERA, 9)
    for one, other in zip(cameras, again, strict=True):
        np.testing.assert_allclose(one.viewmat, other.viewmat, atol=1e-4)


@pytest.mark.parametrize("elevation", [-20.0, 10.0, 60.0])
def test_cameras_on_one_side_know_what_is_up(elevation: float) -> None:
    """All of them look down, and the mean of what is up in their images leans; the horizon does not."""
    up = vector(0.3, -0.9, 0.2)
    orbit = Orbit(vector(1, 2, 3), up, 4.0, elevation, vector(1, 0, 0))
    found = orbit_of_cameras(turntable(orbit, CAMERA, 40)[:9])
    np.testing.assert_allclose(found.up, up / up.norm(), atol=1e-4)
    assert found.elevation == pytest.approx(elevation, abs=0.01)


def test_cameras_that_look_the_same_way_still_have_an_orbit() -> None:
    """Parallel axes meet nowhere: what they leave open stays at the mean of the cameras."""
    found = orbit_of_cameras([at(-1, 0, 0), at(1, 0, 0), at(0, 1, 0)])
    np.testing.assert_allclose(found.center, [0, 1 / 3, 0], atol=1e-5)


def test_what_has_no_orbit_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="no cameras"):
        orbit_of_cameras([])
    upright, turned = at(0, 0, 1), at(0, 0, -1)
    flip = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    upside_down = Camera("b", flip @ turned.viewmat, turned.K, 80, 60)
    with pytest.raises(UsageError, match="--up X,Y,Z"):
        orbit_of_cameras([upright, upside_down])
    with pytest.raises(UsageError, match="--radius R"):
        orbit_of_cameras([at(0, 0, 0), at(0, 0, 0, 90)])


def test_a_model_is_in_view_whatever_flies_around_it() -> None:
    splats = random_splats(2000)
    means = splats.means / splats.means.norm(dim=1, keepdim=True) + torch.tensor([10.0, -5.0, 2.0])
    means[:20] = 1e6  # one in a hundred is far away
    orbit = orbit_of_splats(replace(splats, means=means), math.radians(50))
    np.testing.assert_allclose(orbit.center, [10, -5, 2], atol=0.1)
    np.testing.assert_allclose(orbit.up, [0, -1, 0])
    camera = turntable(orbit, CAMERA, 1)[0]
    shown = [project(camera, mean) for mean in means[20:].double().numpy()]
    inside = [0 <= x <= 80 and 0 <= y <= 60 and z > 0 for x, y, z in shown]
    assert np.mean(inside) > 0.9
    assert center_of(camera)[2] < 2, "the first camera looks along +z"


def test_opacity_decides_what_counts() -> None:
    splats = random_splats(100)
    means = torch.zeros(100, 3)
    means[50:] = 100.0
    logits = torch.where(torch.arange(100) < 50, 5.0, -torch.inf)
    orbit = orbit_of_splats(replace(splats, means=means, opacity_logits=logits), 1.0)
    assert orbit.center.tolist() == [0, 0, 0]
    for nothing in (Splats.empty(), replace(splats, opacity_logits=torch.full((100,), -torch.inf))):
        with pytest.raises(UsageError, match="no visible Gaussian"):
            orbit_of_splats(nothing, 1.0)


@pytest.mark.parametrize("up", [(0, 1, 0), (0, 0, 1), (1, 0, 0), (1, 1, 1), (0, 0.6, 0.8)])
def test_up_may_be_anywhere(up: tuple[float, float, float]) -> None:
    orbit = orbit_of_splats(random_splats(50), 1.0, vector(*up))
    np.testing.assert_allclose(orbit.up, np.array(up) / np.linalg.norm(up), atol=1e-12)
    assert abs(float(orbit.front @ orbit.up)) < 1e-12
    assert all(is_rotation(camera) for camera in turntable(orbit, CAMERA, 3))


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.01))
def test_quaternions_are_those_of_scipy(q: tuple[float, float, float, float]) -> None:
    rotation = Rotation.from_quat(q)
    viewmat = torch.eye(4)
    viewmat[:3, :3] = torch.tensor(rotation.as_matrix())
    ours = _quaternion(Camera("a", viewmat, CAMERA.K, 80, 60)).numpy()
    theirs = rotation.as_quat()[[3, 0, 1, 2]]
    assert abs(float(ours @ theirs)) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(ours) == pytest.approx(1)


@pytest.mark.parametrize("closed", [False, True])
def test_a_path_goes_through_every_camera(closed: bool) -> None:
    """Sampled densely, it comes to each; the frames that are a camera's are it to the last bit."""
    keys = [at(0, 0, 0), at(1, 0, 0, 20), at(3, 1, 0, 90), at(3, 2, 1, 200), at(0, 2, 1, 355, focal=90)]
    frames = camera_path(keys, 2001, closed=closed)
    assert len(frames) == 2001
    assert all(is_rotation(frame) for frame in frames)
    assert torch.equal(frames[0].viewmat, keys[0].viewmat)
    assert torch.equal(frames[0].K, keys[0].K)
    if not closed:
        assert torch.equal(frames[-1].viewmat, keys[-1].viewmat)
        assert torch.equal(frames[-1].K, keys[-1].K)
    places = np.array([center_of(frame) for frame in frames])
    order = []
    for key in keys:
        distances = np.linalg.norm(places - center_of(key), axis=1)
        nearest = int(distances.argmin())
        assert distances[nearest] < 0.01
        order.append(nearest)
        off = (
            Rotation.from_matrix(frames[nearest].viewmat[:3, :3].double().numpy().copy())
            * Rotation.from_matrix(key.viewmat[:3, :3].double().numpy().copy()).inv()
        )
        assert math.degrees(off.magnitude()) < 1
        assert float(frames[nearest].K[0, 0]) == pytest.approx(float(key.K[0, 0]), rel=0.01)
    assert order == sorted(order), "in their order"


@pytest.mark.parametrize("closed", [False, True])
def test_a_path_is_smooth(closed: bool) -> None:
    """No jumps in place or direction, nor in the first derivative; around the loop as well if it is closed."""
    keys = [at(0, 0, 0), at(1, 0, 0, 20), at(3, 1, 0, 90), at(3, 2, 1, 200), at(0, 2, 1, 355)]
    frames = camera_path(keys, 3000, closed=closed)
    axes = np.array([frame.viewmat[2, :3].double().numpy() for frame in frames])
    for track in (np.array([center_of(frame) for frame in frames]), axes):
        if closed:
            track = np.concatenate([track, track[:3]])
        speed = np.diff(track, axis=0)
        lengths = np.linalg.norm(speed, axis=1)
        assert lengths.max() < 20 * np.median(lengths)
        change = np.linalg.norm(np.diff(speed, axis=0), axis=1)
        assert change.max() < 0.1 * lengths.max()


def test_a_straight_path_with_equal_steps_is_walked_evenly() -> None:
    frames = camera_path([at(float(x), 0, 0) for x in range(5)], 41)
    places = np.array([center_of(frame)[0] for frame in frames])
    np.testing.assert_allclose(places, np.linspace(0, 4, 41), atol=1e-5)


def test_the_short_way_around() -> None:
    """Quaternions of neighbors are aligned: from 350 to 10 degrees it is 20 degrees, not 340."""
    frames = camera_path([at(0, 0, 0, 350), at(1, 0, 0, 10)], 11)
    angles = [
        Rotation.from_matrix(f.viewmat[:3, :3].double().numpy().copy()).as_euler("yxz", degrees=True)[0] for f in frames
    ]
    assert all(-10.01 <= angle <= 10.01 for angle in angles)
    assert angles == sorted(angles)


def test_equal_neighbors_count_once() -> None:
    keys = [at(0, 0, 0), at(0, 0, 0), at(1, 0, 0, 30), at(1, 0, 0, 30), at(2, 0, 0)]
    one = camera_path(keys, 17)
    other = camera_path([keys[0], keys[2], keys[4]], 17)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.viewmat, b.viewmat, atol=1e-6)
    closed = camera_path([keys[0], keys[2], keys[0]], 6, closed=True)
    assert all(torch.isfinite(camera.viewmat).all() for camera in closed)
    with pytest.raises(UsageError, match="at least 2 different cameras, got 1"):
        camera_path([keys[0], keys[0]], 5)


def test_cameras_that_only_turn_make_a_path() -> None:
    frames = camera_path([at(1, 2, 3, angle) for angle in (0, 40, 80)], 9)
    for frame in frames:
        np.testing.assert_allclose(center_of(frame), [1, 2, 3], atol=1e-5)


def test_one_frame_is_the_first_camera() -> None:
    (frame,) = camera_path([at(0, 0, 0), at(1, 0, 0)], 1)
    assert torch.equal(frame.viewmat, at(0, 0, 0).viewmat)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.integers(2, 400), st.integers(1, 400), st.integers(1, 400))
def test_resized_cameras_keep_the_vertical_field_of_view(w: int, h: int, width: int, height: int) -> None:
    made = resized(pinhole(w, h, 1.0), width, height)
    assert (made.width, made.height) == (width, height)
    assert made.FoVy == pytest.approx(pinhole(w, h, 1.0).FoVy, rel=1e-5)
    assert made.K[0, 2] == pytest.approx(width / 2, rel=1e-5)


def test_a_smaller_image_shows_the_same() -> None:
    camera = orbit_cameras(1, 81, 61)[0]
    half = resized(camera, 40, 30)
    for corner in ([0.1, 0.2, 0.1], [-0.3, 0.0, 0.2]):
        x, y, _ = project(camera, np.array(corner))
        u, v, _ = project(half, np.array(corner))
        assert (u, v) == pytest.approx((x * 40 / 81, y * 30 / 61), abs=1e-3)
    with pytest.raises(UsageError, match="has no pixels"):
        resized(Camera("empty", torch.eye(4), torch.eye(3), 0, 5), 4, 4)
