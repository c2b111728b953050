"""Methods that keep checkpoints. Installed by the fixture `resumable`; never imported from here."""

import dataclasses
import random
import time
from pathlib import Path

import numpy as np
import torch

from gsbench.methods import Method, SplatsModel, TrainedMethod
from gsbench.splats import Splats


@dataclasses.dataclass
class Config:
    steps: int = 40
    hold: str = ""  # waits while this file exists,
    hold_at: int = 0  # after this step
    trace: str = ""
    seconds: float = 0.0  # how long all steps take
    size: int = 0  # bytes that the model takes besides


class WalkModel(SplatsModel):
    def __init__(self, splats, ballast=None):
        super().__init__(splats)
        self.ballast = ballast

    def render(self, camera, background):
        color = self.splats().sh.mean(dim=(0, 1)).sigmoid().reshape(1, 1, 3)
        return color + torch.zeros(camera.height, camera.width, 3)

    def state(self):
        return {"splats": dict(vars(self.splats())), "ballast": self.ballast}

    @classmethod
    def from_state(cls, state, config):
        return cls(Splats(**state["splats"]), state["ballast"])


class Walk(Method):
    """Colors on a random walk that draws from every source of randomness there is."""

    Config = Config
    model_class = WalkModel

    def fit(self, scene, config, context):
        n = len(scene.points)
        state = {
            "colors": torch.zeros(n, 3),
            "own": torch.Generator().manual_seed(context.seed),
            "numpy": np.random.default_rng(context.seed),
            "order": [],
        }

        def load(kept):
            state.update(kept)
            torch.rand(7)  # restoring may draw numbers, which must not matter

        first = context.checkpoint.resume(load)
        for step in range(first, config.steps):
            if not state["order"]:
                state["order"] = random.sample(range(n), n)
            row = state["order"].pop()
            state["colors"][row] += torch.randn(3) * random.random() + float(np.random.rand())
            state["colors"] += torch.randn(n, 3, generator=state["own"]) * state["numpy"].standard_normal()
            if config.trace:
                with Path(config.trace).open("a") as file:
                    file.write(f"{step}\n")
            print(f"step {step}", flush=True)  # noqa: T201 (goes to the log)
            time.sleep(config.seconds / config.steps)
            context.checkpoint.offer(step + 1, config.steps, lambda: state)
            context.progress(step + 1, config.steps, {"row": row})
            while config.hold and step + 1 == config.hold_at and Path(config.hold).exists():
                time.sleep(0.02)
        zeros = torch.zeros(n)
        splats = Splats(scene.points.xyz, torch.zeros(n, 3), torch.ones(n, 4), zeros, state["colors"][:, None])
        return WalkModel(splats, torch.arange(config.size // 4, dtype=torch.int32))

    def encode(self, model, config, out, context):
        out.section("colors", model.splats().sh.numpy().tobytes())

    @classmethod
    def decode(cls, artifact, context):
        colors = torch.frombuffer(bytearray(artifact.read("colors")), dtype=torch.float32).reshape(-1, 1, 3)
        n = len(colors)
        return WalkModel(Splats(torch.zeros(n, 3), torch.zeros(n, 3), torch.ones(n, 4), torch.zeros(n), colors))


class Busy(TrainedMethod):
    """Plain training: densification, opacity resets and SH degrees within a few steps, if there are few."""


class Forgetful(Walk):
    def fit(self, scene, config, context):
        def load(kept):
            torch.rand(3)
            raise KeyError("momentum")

        resume, context.checkpoint.resume = context.checkpoint.resume, lambda own: resume(load)
        return super().fit(scene, config, context)
