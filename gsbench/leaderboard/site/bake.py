"""Gaussians for the viewer in the page: what an artifact decodes to, re-encoded as a ``.splat`` file.

The file (antimatter15/splat's format: 32 bytes per Gaussian) has no spherical harmonics, 8-bit colors, opacities and
rotations, and at most some number of Gaussians; methods whose Gaussians depend on the view give those of one camera.
How much of the quality that costs at this camera is measured and shown beside the viewer.
"""

from __future__ import annotations

import base64
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gsbench.artifact import open_artifact
from gsbench.bench.sealed_work import hash_decoded
from gsbench.errors import GsbenchError
from gsbench.hooks import load_plugins, method_class
from gsbench.leaderboard.board import Entry, Result, SceneEntry, Section
from gsbench.leaderboard.site.names import entry_slug, href, number, script, slug
from gsbench.leaderboard.site.options import SiteOptions
from gsbench.leaderboard.site.scenes import FoundScene
from gsbench.methods import Context, Renderable
from gsbench.metrics import psnr
from gsbench.raster import Gaussians, RenderOptions, render
from gsbench.scenes import Scene
from gsbench.splats import Camera, Splats, sh_dc_to_rgb
from gsbench.training.anchors.neural import AnchorRenderable, neural_gaussians, visible_anchors

ROW: Final = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


@dataclass(frozen=True)
class Bake:
    """Gaussians as the viewer gets them.

    Fields:
        rows: of dtype `ROW`, those that contribute most first.
        total: how many there were before the least important were left out.
        view_dependent: whether they are those that one camera sees.
        psnr: of a render of `rows` against the true render at the camera, dB; infinite if they are equal.
    """

    rows: npt.NDArray[np.void]
    total: int
    view_dependent: bool
    psnr: float


def to_rows(gaussians: Gaussians) -> npt.NDArray[np.void]:
    """Gaussians with direct colors, as rows of a ``.splat`` file: 8 bits for color, opacity and each part of the unit
    quaternion, rounded.
    """
    assert gaussians.colors is not None
    assert gaussians.scales is not None
    assert gaussians.quats is not None
    rows = np.zeros(gaussians.means.shape[0], ROW)
    rows["mean"] = gaussians.means.cpu().numpy()
    rows["scale"] = gaussians.scales.cpu().numpy()
    rgba = torch.cat([gaussians.colors, gaussians.opacities[:, None]], dim=1).cpu()
    rows["rgba"] = (rgba.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
    unit = torch.nn.functional.normalize(gaussians.quats.cpu(), dim=1)
    rows["quat"] = (unit * 128.0 + 128.0).round().clamp(0.0, 255.0).to(torch.uint8).numpy()
    return rows


def from_rows(rows: npt.NDArray[np.void]) -> Gaussians:
    """What a viewer makes of the rows of a ``.splat`` file."""
    rgba = torch.from_numpy(rows["rgba"].astype(np.float32)) / 255.0
    quats = (torch.from_numpy(rows["quat"].astype(np.float32)) - 128.0) / 128.0
    return Gaussians(
        torch.from_numpy(rows["mean"].copy()), rgba[:, 3], rgba[:, :3], quats, torch.from_numpy(rows["scale"].copy())
    )


def bake(decoded: Renderable, camera: Camera, background: Tensor, limit: int) -> Bake:
    """Re-encode what an artifact decoded to.

    Args:
        decoded: with `splats`, or anchors; or with a method ``gaussians(camera)`` that gives `Gaussians` with direct
            colors as one camera sees them.
        camera: for methods whose Gaussians depend on the view, and where the loss is measured.
        background: RGB, float32 [3].
        limit: Gaussians to keep at most: those of the largest opacity times cross-section.

    Raises:
        NotImplementedError: if the representation has no Gaussians.
    """
    with torch.no_grad():
        found, view_dependent = _gaussians(decoded, camera)
        truth = decoded.render(camera, background)
        rows = to_rows(found)[_by_importance(found)[:limit].numpy()]
        # Quaternions of which all parts round to zero cannot be: one part is 1/2 at least.
        again = render(from_rows(rows), camera, RenderOptions(background=background)).image
    loss = psnr(again, (truth.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8))
    return Bake(rows, int(found.means.shape[0]), view_dependent, loss)


def _gaussians(decoded: Renderable, camera: Camera) -> tuple[Gaussians, bool]:
    """Gaussians with direct colors, and whether they are those of `camera` alone."""
    if isinstance(decoded, AnchorRenderable):
        index = visible_anchors(decoded.anchors.positions, decoded.anchors.scales, camera)
        return neural_gaussians(decoded.anchors.rows(index), decoded.networks, camera).gaussians, True
    own = getattr(decoded, "gaussians", None)
    if callable(own):
        return own(camera), True
    splats: Splats = decoded.splats()
    full = Gaussians.of(splats, 0)
    return replace(full, colors=sh_dc_to_rgb(splats.sh[:, 0]).clamp_min(0.0), sh_degree=None), False


def _by_importance(gaussians: Gaussians) -> Tensor:
    """Indices, the largest opacity times cross-section first; ties by index."""
    assert gaussians.scales is not None
    ordered = gaussians.scales.cpu().sort(dim=1, descending=True).values.double()
    weight = gaussians.opacities.cpu().double() * ordered[:, 0] * ordered[:, 1]
    return torch.argsort(weight, descending=True, stable=True)


class ViewerWriter:
    """Writes what viewers show below ``splats/`` of the site at `root`."""

    def __init__(self, root: Path, options: SiteOptions) -> None:
        self._root, self._options = root, options

    def scene(self, section: Section, scene: str, found: FoundScene) -> dict[str, Any]:
        """Write the viewer files of one scene. Returns entry key -> either a reason why there is none, or what the page
        says of it; and under "" the camera.
        """
        if not self._options.viewer:
            return {}
        if found.scene is None or not found.scene.test:
            return {"": found.reason or "the scene has no held-out views"}
        camera = found.scene.test[len(found.scene.test) // 2]
        result: dict[str, Any] = {"": _camera_json(found.scene, camera)}
        for entry in section.entries:
            for of in entry.scenes:
                if of.scene == scene and of.results:
                    result[entry.key] = self._entry(section, entry, of, found.scene, camera)
        return result

    def _entry(
        self, section: Section, entry: Entry, of: SceneEntry, scene: Scene, camera: Camera
    ) -> dict[str, Any] | str:
        result = of.results[0]
        if result.artifact is None:
            return "the artifact is not on the machine where this page was made"
        self._options.progress(f"re-encoding {result.name} for the viewer")
        try:
            made = self._bake(result, result.artifact, scene, camera)
        except NotImplementedError:
            return "this method does not say which Gaussians it draws"
        except GsbenchError:
            # The message may name folders of this machine.
            return "the artifact could not be decoded on the machine where this page was made"
        if made is None:
            return "the artifact decodes to other values here than its record says"
        path = PurePosixPath("splats", section.slug, slug(of.scene), f"{entry_slug(entry)}.js")
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = base64.b64encode(made.rows.tobytes()).decode("ascii")
        target.write_text(script("GSB_SPLAT", text), encoding="utf-8")
        return {
            "file": href(path),
            "seed": result.seed,
            "bytes": made.rows.nbytes,
            "shown": len(made.rows),
            "total": made.total,
            "baked": made.view_dependent,
            "psnr": number(made.psnr) if math.isfinite(made.psnr) else None,
        }

    def _bake(self, result: Result, artifact: Path, scene: Scene, camera: Camera) -> Bake | None:
        """None if the artifact decodes to something else than the record says."""
        load_plugins()
        record = result.record
        method = method_class(record.method)
        with tempfile.TemporaryDirectory(prefix="gsbench-site-") as folder:
            threads = self._options.threads or torch.get_num_threads()
            context = Context(device=torch.device("cpu"), threads=threads, seed=0, workdir=Path(folder))
            with torch.no_grad():
                decoded = method.decode(open_artifact(artifact, record.method), context)
                if record.decoded_sha256 is not None and hash_decoded(decoded) != record.decoded_sha256:
                    return None
                return bake(decoded, camera, scene.background, self._options.viewer_gaussians)


def _camera_json(scene: Scene, camera: Camera) -> dict[str, Any]:
    """The camera as the viewer needs it: position, camera-to-world rotation (rows), focal lengths and size in pixels;
    the distance to look at, and which way is up on average over the training views.
    """
    views = torch.stack([view.viewmat for view in scene.train]).double()
    up = -views[:, 1, :3].mean(dim=0)
    up = up / up.norm().clamp_min(1e-12)
    viewmat = camera.viewmat.double()
    rotation, position = viewmat[:3, :3].T, -viewmat[:3, :3].T @ viewmat[:3, 3]
    depths = scene.points.xyz.double() @ viewmat[2, :3] + viewmat[2, 3]
    ahead = depths[depths > 0]
    distance = float(ahead.median()) if len(ahead) else 1.0
    return {
        "name": camera.name,
        "width": camera.width,
        "height": camera.height,
        "fx": number(float(camera.K[0, 0])),
        "fy": number(float(camera.K[1, 1])),
        "position": _numbers(position),
        "rotation": _numbers(rotation),
        "up": _numbers(up),
        "distance": number(distance),
        "background": [round(255 * value) for value in scene.protocol.background],
    }


def _numbers(tensor: Tensor) -> list[Any]:
    return [number(float(value)) for value in tensor.reshape(-1)]
