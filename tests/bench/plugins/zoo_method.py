"""Small methods whose every step is known. Installed by the fixture `zoo`; never imported from here."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from gsbench.errors import ArtifactError
from gsbench.methods import Method, Model, field
from gsbench.splats import Splats


def trace(path, text):
    """Note that something was done."""
    if path:
        with Path(path).open("a") as file:
            file.write(text + "\n")


@dataclasses.dataclass
class Inner:
    depth: int = 3
    shade: float = field(stage="encode", default=0.5)


class DotsModel(Model):
    """Renders the mean color of its dots."""

    def __init__(self, means, colors):
        self.means, self.colors = means, colors

    def render(self, camera, background):
        color = self.colors.mean(dim=0) if len(self.colors) else background
        ramp = torch.linspace(0.0, 1e-3, camera.width).reshape(1, -1, 1)
        return color.reshape(1, 1, 3) + ramp + torch.zeros(camera.height, camera.width, 3)

    def splats(self):
        n = len(self.means)
        return Splats(self.means, torch.zeros(n, 3), torch.ones(n, 4), torch.zeros(n), self.colors.reshape(n, 1, 3))

    def state(self):
        return {"dots": {"means": self.means, "colors": self.colors}, "kind": "dots", "limits": (1, 2.5, None)}

    @classmethod
    def from_state(cls, state, config):
        assert state["kind"] == "dots"
        assert state["limits"] == [1, 2.5, None]
        return cls(state["dots"]["means"], state["dots"]["colors"])


class Dots(Method):
    """Dots at the scene's points with the colors of the training views, quantized."""

    @dataclasses.dataclass
    class Config:
        bits: int = field(stage="encode", default=8)
        gain: float = 1.0
        name: str = "x"
        flag: bool = False
        limit: int | None = None
        size: tuple[int, int] = (1, 2)
        weights: tuple[float, ...] = ()
        mode: Literal["fast", "good"] = "fast"
        inner: Inner = dataclasses.field(default_factory=Inner)
        trace: str = ""
        hold: str = ""

        def __post_init__(self):
            if self.bits < 1:
                raise ValueError(f"bits: expected at least 1, got {self.bits}")

    model_class = DotsModel

    def fit(self, scene, config, context):
        trace(config.trace, f"fit {os.getpid()}")
        print("fitting dots")  # noqa: T201 (goes to the log)
        assert len(scene.test) == 0, "held-out views must not be here"
        assert not list(context.workdir.iterdir()), "the working directory is empty"
        (context.workdir / "scratch").write_text("gone afterwards")
        means = scene.points.xyz + 0.01 * torch.randn_like(scene.points.xyz)
        colors = torch.stack([view.pixels.float().mean(dim=(0, 1)) / 255 for view in scene.train]).mean(dim=0)
        steps = 10
        for step in range(steps):
            while config.hold and Path(config.hold).exists():
                time.sleep(0.02)
            context.progress(step + 1, steps, {"loss": 1.0 / (step + 1), "odd": float("nan")})
        return DotsModel(means, config.gain * colors.expand(len(means), 3).contiguous())

    def encode(self, model, config, out, context):
        trace(config.trace, f"encode {os.getpid()}")
        levels = 2**config.bits - 1
        out.header["levels"] = levels
        out.section("means", model.means.numpy().tobytes(), kind="float32")
        out.section(
            "colors", (model.colors.clamp(0, 1) * levels).round().numpy().astype("<u2").tobytes(), coder="deflate"
        )

    @classmethod
    def decode(cls, artifact, context):
        colors = np.frombuffer(artifact.read("colors"), dtype="<u2").reshape(-1, 3)
        means = np.frombuffer(artifact.read("means"), dtype="<f4").reshape(-1, 3)
        if len(colors) != len(means):
            raise ArtifactError("means and colors differ in number")
        return DotsModel(
            torch.from_numpy(means.copy()), torch.from_numpy(colors.astype("float32")) / artifact.header["levels"]
        )


class Fewer(Dots):
    """Every second dot of the base."""

    def fit(self, scene, config, context):
        trace(config.trace, f"fit fewer {os.getpid()}")
        return DotsModel(context.base.means[::2], context.base.sh[::2, 0])


class Broken(Dots):
    """Fails in the stage that `where` names."""

    @dataclasses.dataclass
    class Config(Dots.Config):
        where: str = "fit"

    def fit(self, scene, config, context):
        if config.where == "fit":
            raise RuntimeError("fit went wrong")
        if config.where == "exit":
            raise SystemExit(5)
        if config.where == "crash":
            os._exit(9)
        if config.where == "kill":
            os.kill(os.getpid(), 9)
        if config.where == "model":
            return "not a model"
        return super().fit(scene, config, context)

    def encode(self, model, config, out, context):
        if config.where == "encode":
            raise ValueError("encode went wrong")
        super().encode(model, config, out, context)
        out.header["where"] = config.where

    @classmethod
    def decode(cls, artifact, context):
        where = artifact.header["where"]
        if where == "decode":
            raise ArtifactError("decode went wrong")
        if where == "hang":
            time.sleep(1000)
        if where == "abort":
            os.abort()
        model = super().decode(artifact, context)
        if where == "shape":
            model.render = lambda camera, background: torch.zeros(3, 3, 3)
        if where == "nan":
            model.render = lambda camera, background: torch.full((camera.height, camera.width, 3), float("nan"))
        if where == "render":
            model.render = None
        return model
