"""The method: colored points, if it gets that far."""

import ctypes
import dataclasses
import os
import subprocess
import sys
import time

import numpy as np
import torch

from gsbench import Method, Splats, SplatsModel


@dataclasses.dataclass
class Config:
    way: str = "well"


def hoard():
    """Take memory, 40 MB at a time; at most 2 GB, should nothing stop this."""
    held = []
    for _ in range(50):
        held.append(np.ones(5_000_000))
        time.sleep(0.02)
    time.sleep(120)


class Wreck(Method):
    Config = Config
    model_class = SplatsModel

    def fit(self, scene, config, context):
        print(f"about to {config.way}", flush=True)  # noqa: T201 (goes to the log)
        if config.way == "raise":
            raise RuntimeError("no convergence")
        if config.way == "leave":
            sys.exit(5)
        if config.way == "exit":
            os._exit(0)
        if config.way == "segfault":
            ctypes.string_at(0)
        if config.way == "hang":
            time.sleep(3600)
        if config.way == "leak":
            hoard()
        if config.way == "grandchild":
            code = "from gsbench_wreckers.method import hoard; hoard()"
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            subprocess.run([sys.executable, "-c", code], start_new_session=True, env=environment)
        n = len(scene.points)
        return SplatsModel(
            Splats(
                scene.points.xyz.float(), torch.full((n, 3), -2.0), torch.ones(n, 4), torch.zeros(n),
                torch.zeros(n, 1, 3),
            )
        )  # fmt: skip

    def encode(self, model, config, out, context):
        splats = model.splats()
        out.section("means", splats.means.numpy().astype("<f4").tobytes())

    @classmethod
    def decode(cls, artifact, context):
        means = torch.from_numpy(np.frombuffer(artifact.read("means"), "<f4").reshape(-1, 3).copy())
        n = len(means)
        return SplatsModel(
            Splats(means, torch.full((n, 3), -2.0), torch.ones(n, 4), torch.zeros(n), torch.zeros(n, 1, 3))
        )
