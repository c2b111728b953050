"""The views of the demo and its sparse model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gsbench.protocols import GS1600
from gsbench.scenes.demo import keypoints, sparse
from gsbench.scenes.demo.cameras import FOCAL, HEIGHT, VIEWS, WIDTH, look_at, poses
from gsbench.scenes.demo.still_life import CEILING, FLOOR, WALL


def test_views_look_at_the_table_from_inside_the_room() -> None:
    views = poses()
    assert len(views) == VIEWS >= 48
    assert GS1600.split == "every8"
    for pose in views:
        r = pose.rotation
        np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(r) == pytest.approx(1.0)
        np.testing.assert_allclose(r @ pose.center + pose.translation, 0, atol=1e-12)
        assert np.abs(pose.center[:2]).max() < WALL - 0.3
        assert FLOOR < pose.center[2] < CEILING - 0.3
        to_middle = np.array([0.0, 0.0, 0.2]) - pose.center
        assert r[2] @ to_middle / np.linalg.norm(to_middle) > 0.98  # +z looks at the objects
        assert r[1, 2] < -0.4  # +y points down
        assert abs(r[0, 2]) < 1e-12  # +x is level


def test_held_out_views_have_neighbors_on_both_sides() -> None:
    """None of them lies at an end of the arcs, where nothing could be interpolated."""
    views = poses()
    angle = np.array([np.arctan2(v.center[1], v.center[0]) for v in views])
    angle = np.unwrap(np.sort(angle))[np.argsort(np.argsort(angle))] if np.ptp(angle) > np.pi else angle
    held_out = np.arange(0, len(views), 8)
    train = np.setdiff1d(np.arange(len(views)), held_out)
    centers = np.array([v.center for v in views])
    for k in held_out:
        near = train[np.argsort(np.linalg.norm(centers[train] - centers[k], axis=1))[:6]]
        sides = np.cross(centers[near], centers[k])[:, 2]
        assert (sides > 0).any()
        assert (sides < 0).any()


def test_rays_and_projection_are_inverse() -> None:
    pose = poses()[5]
    rng = np.random.default_rng(1)
    u, v = rng.uniform(0, WIDTH, 100).astype(np.float32), rng.uniform(0, HEIGHT, 100).astype(np.float32)
    rays = pose.rays(u, v)
    np.testing.assert_allclose(rays.direction.length(), 1.0, atol=1e-6)
    p = rays.point(rng.uniform(1, 5, 100).astype(np.float32)).array().astype(float)
    found_u, found_v, depth = pose.project(p)
    np.testing.assert_allclose(found_u, u, atol=2e-3)
    np.testing.assert_allclose(found_v, v, atol=2e-3)
    assert (depth > 0).all()
    # And against the matrix form.
    q = p @ pose.rotation.T + pose.translation
    np.testing.assert_allclose(found_u, FOCAL * q[:, 0] / q[:, 2] + WIDTH / 2, atol=1e-9)


def test_quaternions() -> None:
    eyes = [(2.0, 0.3, 0.4), (-2.0, 0.1, 3.0), (0.1, 2.0, -1.0), (0.1, -2.0, 0.5), (-1.0, -1.0, 0.0)]
    for pose in [look_at(eye, (0.0, 0.0, 0.0)) for eye in eyes] + poses():
        w, x, y, z = sparse.quaternion(pose)
        assert w >= 0
        np.testing.assert_allclose(Rotation.from_quat([x, y, z, w]).as_matrix(), pose.rotation, atol=1e-12)


def test_quaternions_of_half_turns() -> None:
    for axis in np.eye(3):
        rotation = Rotation.from_rotvec(axis * (np.pi - 1e-4)).as_matrix()
        w, x, y, z = sparse.quaternion(type(poses()[0])(rotation, np.zeros(3)))
        np.testing.assert_allclose(Rotation.from_quat([x, y, z, w]).as_matrix(), rotation, atol=1e-12)


def test_triangulation_finds_points_from_exact_observations() -> None:
    views = poses()[::7]
    rng = np.random.default_rng(2)
    xyz = rng.uniform(-0.5, 0.5, (20, 3))
    view, point = (a.ravel() for a in np.meshgrid(np.arange(len(views)), np.arange(20)))
    places = [v.project(xyz) for v in views]
    xy = np.array([[places[k][0][p], places[k][1][p]] for k, p in zip(view, point, strict=True)])
    found = keypoints._triangulate(views, 20, point, view, xy)
    np.testing.assert_allclose(found, xyz, atol=1e-9)
    # Half a pixel of error is about two millimeters at two meters.
    noisy = keypoints._triangulate(views, 20, point, view, xy + rng.normal(scale=0.5, size=xy.shape))
    assert 1e-4 < np.abs(noisy - xyz).mean() < 8e-3


def test_corners_are_where_edges_cross() -> None:
    photo = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    photo[50:100, 60:120] = 200
    rows, columns, strength = keypoints.corners(photo)
    assert (strength > 0).all()
    found = set(zip((rows // 4).tolist(), (columns // 4).tolist(), strict=True))
    at_corner = [
        min(abs(r - y) + abs(c - x) for y in (50, 100) for x in (60, 120)) for r, c in zip(rows, columns, strict=True)
    ]
    assert max(at_corner) <= 6  # none on an edge or on plain ground
    assert len(found) >= 4
    assert len(keypoints.corners(np.full_like(photo, 90))[0]) == 0
