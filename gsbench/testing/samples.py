"""Small data made on the spot: a scene of a few tiny photographs, cameras, random Gaussians."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gsbench.protocols import Protocol
from gsbench.scenes import PointCloud, Scene, View
from gsbench.splats import Camera, Splats
from gsbench.splats.splats import SH_BASES

Array = npt.NDArray[np.float64]

#: The ball of `tiny_scene` and the floor under it, scene units.
_BALL_RADIUS = 0.7
_FLOOR = -_BALL_RADIUS
_FLOOR_RADIUS = 2.0
_LIGHT = np.array([0.4, 0.5, 0.77])


def orbit_cameras(
    count: int, width: int = 32, height: int = 24, *, radius: float = 3.0, fov: float = 50.0
) -> list[Camera]:
    """Cameras on a rising circle around the z axis, all looking at the origin.

    Args:
        count: how many; they are called view_000, view_001, ...
        width: of the images, pixels.
        height: of the images, pixels.
        radius: distance from the origin, scene units.
        fov: horizontal field of view, degrees.
    """
    focal = width / (2.0 * math.tan(math.radians(fov) / 2.0))
    intrinsics = torch.tensor([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])
    cameras = []
    for i in range(count):
        azimuth = 2.0 * math.pi * i / count
        elevation = math.radians(20.0 + 25.0 * (i % 3) / 2.0)
        eye = radius * np.array(
            [math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)]
        )
        forward = -eye / np.linalg.norm(eye)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        viewmat = np.eye(4)
        viewmat[:3, :3] = np.stack([right, np.cross(forward, right), forward])
        viewmat[:3, 3] = -viewmat[:3, :3] @ eye
        cameras.append(Camera(f"view_{i:03d}", torch.from_numpy(viewmat).float(), intrinsics.clone(), width, height))
    return cameras


def random_splats(count: int, seed: int = 0, *, sh_degree: int = 3, extent: float = 1.0) -> Splats:
    """Gaussians scattered in a ball, of the sizes and opacities that trained ones have.

    Args:
        count: number of Gaussians, 0 included.
        seed: equal seeds give equal Gaussians.
        sh_degree: 0 to 4.
        extent: radius of the ball, scene units.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    directions = torch.nn.functional.normalize(normal(count, 3), dim=1)
    distances = torch.rand(count, 1, generator=generator) ** (1.0 / 3.0)
    # Neighbors of `count` points in the ball lie about this far apart.
    spacing = extent / max(count, 1) ** (1.0 / 3.0)
    sh = 0.05 * normal(count, SH_BASES[sh_degree], 3)
    sh[:, 0] = 0.6 * normal(count, 3)
    return Splats(
        means=extent * distances * directions,
        log_scales=math.log(0.5 * spacing) + 0.4 * normal(count, 3),
        quats=normal(count, 4),
        opacity_logits=1.0 + 2.0 * normal(count),
        sh=sh,
    )


def tiny_scene(views: int = 10, width: int = 32, height: int = 24, *, points: int = 200) -> Scene:
    """A striped ball on a checkered floor, ray-traced in memory in milliseconds; no file is involved.

    Args:
        views: number of photographs; every eighth, beginning with the first, is held out.
        width: of the photographs, pixels.
        height: of the photographs, pixels.
        points: number of colored starting points, which lie on the surfaces.

    Returns:
        The scene of data set "testing"; photographs of held-out views can be opened (see `Scene.for_training`).
    """
    photographs = [_photograph(camera) for camera in orbit_cameras(views, width, height)]
    digest = hashlib.sha256()
    for view in photographs:
        digest.update(view.pixels.numpy().tobytes())
    cloud = _surface_points(points)
    digest.update(cloud.xyz.numpy().tobytes())
    return Scene(
        dataset="testing",
        name="tiny",
        protocol=Protocol("testing"),
        train=[view for i, view in enumerate(photographs) if i % 8 != 0],
        test=[view for i, view in enumerate(photographs) if i % 8 == 0],
        points=cloud,
        hash=digest.hexdigest(),
    )


def write_scene(scene: Scene, folder: Path) -> Path:
    """Write a scene as photos and a COLMAP model, as a user would have it: ``path:FOLDER`` loads it.

    Args:
        scene: its photographs are written as PNG, so nothing of them is lost.
        folder: must not exist yet.

    Returns:
        The folder.
    """
    from PIL import Image

    from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, write_model

    (folder / "images").mkdir(parents=True)
    cameras, images = {}, {}
    for index, view in enumerate(sorted([*scene.train, *scene.test], key=lambda v: v.name), start=1):
        name = view.name if Path(view.name).suffix == ".png" else f"{view.name}.png"
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(view.pixels.numpy()).save(folder / "images" / name)
        fx, fy, cx, cy = (float(view.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        cameras[index] = ColmapCamera(index, "PINHOLE", view.width, view.height, fx, fy, cx, cy)
        turn = _quaternion(view.viewmat[:3, :3].double().numpy())
        tx, ty, tz = (float(v) for v in view.viewmat[:3, 3])
        images[index] = ColmapImage(index, turn, (tx, ty, tz), index, name)
    model = ColmapModel(cameras, images, scene.points.xyz.double().numpy(), scene.points.rgb.numpy())
    write_model(folder / "sparse" / "0", model)
    return folder


def _quaternion(rotation: Array) -> tuple[float, float, float, float]:
    """The unit quaternion (w, x, y, z) of a rotation matrix: the eigenvector of Bar-Itzhack's symmetric 4x4 matrix."""
    r = rotation
    upper = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], 0.0, 0.0, 0.0],
            [r[2, 1] - r[1, 2], r[0, 0] - r[1, 1] - r[2, 2], 0.0, 0.0],
            [r[0, 2] - r[2, 0], r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0.0],
            [r[1, 0] - r[0, 1], r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    w, x, y, z = (float(v) for v in np.linalg.eigh(upper / 3.0)[1][:, 3])  # eigh reads the lower triangle
    return w, x, y, z


def _photograph(camera: Camera) -> View:
    pixels = _trace(camera)

    def load() -> npt.NDArray[np.uint8]:
        return pixels.copy()

    return View(camera.name, camera.viewmat, camera.K, camera.width, camera.height, load)


def _trace(camera: Camera) -> npt.NDArray[np.uint8]:
    """Four rays per pixel through the analytic scene, uint8 [H, W, 3]."""
    rotation = camera.viewmat[:3, :3].double().numpy()
    eye = -rotation.T @ camera.viewmat[:3, 3].double().numpy()
    fx, fy, cx, cy = (float(camera.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    total = np.zeros((camera.height, camera.width, 3))
    for dy, dx in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        y, x = np.meshgrid(np.arange(camera.height) + dy, np.arange(camera.width) + dx, indexing="ij")
        rays = np.stack([(x - cx) / fx, (y - cy) / fy, np.ones_like(x)], axis=-1) @ rotation
        total += _shade(eye, rays / np.linalg.norm(rays, axis=-1, keepdims=True))
    pixels: npt.NDArray[np.uint8] = np.round(255.0 * total / 4.0).astype(np.uint8)
    return pixels


def _shade(eye: Array, rays: Array) -> Array:
    """Colors in [0, 1] of unit `rays` [H, W, 3] from `eye`; black where nothing is hit."""
    along = rays @ eye
    discriminant = along**2 - (eye @ eye - _BALL_RADIUS**2)
    ball_at = np.where(discriminant > 0.0, -along - np.sqrt(np.maximum(discriminant, 0.0)), np.inf)
    down = np.where(rays[..., 2] < 0.0, rays[..., 2], -1.0)
    floor_at = np.where(rays[..., 2] < 0.0, (_FLOOR - eye[2]) / down, np.inf)
    on_floor = eye + np.where(np.isfinite(floor_at), floor_at, 0.0)[..., None] * rays
    floor_at = np.where(np.hypot(on_floor[..., 0], on_floor[..., 1]) < _FLOOR_RADIUS, floor_at, np.inf)
    on_ball = eye + np.where(np.isfinite(ball_at), ball_at, 0.0)[..., None] * rays
    color = np.where(np.isfinite(floor_at)[..., None], _floor_color(on_floor), 0.0)
    nearer = np.isfinite(ball_at) & (ball_at < floor_at)
    return np.where(nearer[..., None], _ball_color(on_ball), color)


def _ball_color(position: Array) -> Array:
    stripes = 0.5 + 0.5 * np.sin(9.0 * position[..., 2:3] + 3.0 * position[..., 0:1])
    albedo = stripes * np.array([0.9, 0.25, 0.15]) + (1.0 - stripes) * np.array([0.95, 0.85, 0.3])
    lambert = np.maximum((position / _BALL_RADIUS) @ _LIGHT, 0.0)[..., None]
    shaded: Array = albedo * (0.3 + 0.7 * lambert)
    return shaded


def _floor_color(position: Array) -> Array:
    parity = (np.floor(position[..., 0:1] / 0.5) + np.floor(position[..., 1:2] / 0.5)) % 2.0
    # The ball takes light away from the floor below it.
    near = np.hypot(position[..., 0:1], position[..., 1:2]) / _BALL_RADIUS
    light = 0.35 + 0.65 * np.clip(near, 0.0, 1.0)
    checks: Array = light * np.where(parity > 0.0, np.array([0.75, 0.8, 0.85]), np.array([0.15, 0.3, 0.45]))
    return checks


def _surface_points(count: int) -> PointCloud:
    random = np.random.default_rng(0)
    on_ball = count // 2
    ball = random.normal(size=(on_ball, 3))
    ball *= _BALL_RADIUS / np.linalg.norm(ball, axis=1, keepdims=True)
    angle = random.uniform(0.0, 2.0 * math.pi, count - on_ball)
    distance = _FLOOR_RADIUS * np.sqrt(random.uniform(size=count - on_ball))
    floor = np.stack([distance * np.cos(angle), distance * np.sin(angle), np.full(count - on_ball, _FLOOR)], axis=1)
    colors = np.concatenate([_ball_color(ball), _floor_color(floor)])
    return PointCloud(
        xyz=torch.from_numpy(np.concatenate([ball, floor])).float(),
        rgb=torch.from_numpy(np.round(255.0 * colors).astype(np.uint8)),
    )
