"""The code of a plugin with good and bad methods; `test_conformance` installs this file. Not imported by tests."""

import contextlib
import dataclasses
import os
import random
from pathlib import Path

import numpy as np
import torch

import gsbench
from gsbench import ArtifactError, Splats


@dataclasses.dataclass
class Config:
    factor: float = 1.0
    level: int = gsbench.field(default=1, stage="encode")


class Points(gsbench.Model):
    """Colored points, painted into the pixel that each falls in."""

    def __init__(self, xyz: torch.Tensor, rgb: torch.Tensor) -> None:
        self.xyz, self.rgb = xyz, rgb

    def render(self, camera, background):
        image = background.expand(camera.height, camera.width, 3).clone()
        local = self.xyz @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        pixel = (local @ camera.K.T)[:, :2] / local[:, 2:]
        column, row = pixel.floor().unbind(1)
        seen = (local[:, 2] > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        order = torch.argsort(local[seen, 2], descending=True, stable=True)
        image[row[seen][order].long(), column[seen][order].long()] = self.rgb[seen][order].float() / 255.0
        return image

    def splats(self):
        n = len(self.xyz)
        return Splats(self.xyz, torch.zeros(n, 3), torch.ones(n, 4), torch.zeros(n), torch.zeros(n, 1, 3))

    def state(self):
        return {"xyz": self.xyz, "nested": {"rgb": self.rgb, "note": "kept"}}

    @classmethod
    def from_state(cls, state, config):
        assert state["nested"]["note"] == "kept"
        return cls(state["xyz"], state["nested"]["rgb"])


class Good(gsbench.Method):
    Config = Config
    model_class = Points

    def fit(self, scene, config, context):
        assert list(context.workdir.iterdir()) == []
        return self.model_class(scene.points.xyz * config.factor, scene.points.rgb)

    def encode(self, model, config, out, context):
        out.header["count"] = len(model.xyz)
        out.section("xyz", model.xyz.numpy().astype("<f4").tobytes(), coder="deflate")
        out.section("rgb", model.rgb.numpy().tobytes())

    @classmethod
    def decode(cls, artifact, context):
        n = artifact.header["count"]
        xyz = np.frombuffer(artifact.read("xyz", max_bytes=12 * n), "<f4").reshape(n, 3)
        rgb = np.frombuffer(artifact.read("rgb", max_bytes=3 * n), np.uint8).reshape(n, 3)
        return cls.model_class(torch.from_numpy(xyz.copy()), torch.from_numpy(rgb.copy()))


class GoodNative(Good):
    """A format without checksums: a flipped bit decodes to something else, a length that is wrong does not."""

    def encode(self, model, config, out, context):
        data = np.concatenate([model.xyz.numpy(), model.rgb.numpy().astype("f4")], axis=1).astype("<f4")
        out.native(".raw").write_bytes(b"RAW1" + len(data).to_bytes(4, "little") + data.tobytes())

    @classmethod
    def decode(cls, artifact, context):
        data = artifact.path.read_bytes()
        if data[:4] != b"RAW1" or len(data) != 8 + 24 * int.from_bytes(data[4:8], "little"):
            raise ArtifactError(f"{artifact.path}: not a RAW1 file of the length that it states")
        values = torch.from_numpy(np.frombuffer(data[8:], "<f4").reshape(-1, 6).copy())
        return cls.model_class(values[:, :3].contiguous(), values[:, 3:].clamp(0, 255).nan_to_num().to(torch.uint8))


class GoodBase(Good):
    """Compresses the Gaussians of a base; sees them when encoding, too."""

    def fit(self, scene, config, context):
        return self.model_class(context.base.means, torch.full_like(context.base.means, 200).to(torch.uint8))

    def encode(self, model, config, out, context):
        assert torch.equal(context.base.means, model.xyz)
        super().encode(model, config, out, context)


class NeedsGradients(Good):
    """Trains, as most do."""

    def fit(self, scene, config, context):
        assert torch.is_grad_enabled()
        return super().fit(scene, config, context)


class Nondeterministic(Good):
    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.section("salt", os.urandom(8))


class HashOrder(Good):
    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.header["words"] = list({"some", "words", "in", "the", "order", "of", "their", "hashes"})


class ThreadCount(Good):
    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.header["threads"] = context.threads


class WorkFolder(Good):
    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.header["made in"] = str(context.workdir)


#: Where the test wants it.
SIDE_FILE = Path("@SIDE_FILE@")


class SideFile(Good):
    """Keeps half of what decoding needs in a file of its own."""

    def encode(self, model, config, out, context):
        SIDE_FILE.write_bytes(model.rgb.numpy().tobytes())
        super().encode(model, config, out, context)

    @classmethod
    def decode(cls, artifact, context):
        decoded = super().decode(artifact, context)
        rgb = np.frombuffer(SIDE_FILE.read_bytes(), np.uint8).reshape(-1, 3).copy()
        return cls.model_class(decoded.xyz, torch.from_numpy(rgb))


MEMORY = {}


class Remembers(Good):
    """Keeps what decoding needs in the process that encoded."""

    def encode(self, model, config, out, context):
        MEMORY["rgb"] = model.rgb
        super().encode(model, config, out, context)

    @classmethod
    def decode(cls, artifact, context):
        decoded = super().decode(artifact, context)
        return cls.model_class(decoded.xyz, MEMORY.get("rgb", torch.zeros_like(decoded.rgb)))


class Extra(Good):
    """Leaves a second file beside the artifact, whose size nobody counts."""

    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        (Path(out.path).parent / "codebook.bin").write_bytes(b"x" * 1000)


class Peeks(Good):
    """Looks at held-out photographs, and hides that it failed."""

    def fit(self, scene, config, context):
        for view in scene.test:
            with contextlib.suppress(Exception):
                view.pixels  # noqa: B018
        return super().fit(scene, config, context)


class LossyModel(Points):
    def state(self):
        return {"xyz": self.xyz.half().float(), "nested": {"rgb": self.rgb, "note": "kept"}}


class LossyState(Good):
    model_class = LossyModel


class ConsumesModel(Good):
    def encode(self, model, config, out, context):
        model.xyz.mul_(0.5)
        super().encode(model, config, out, context)


class ValueErrorNative(GoodNative):
    """Leaves damage to numpy, which raises ValueError."""

    @classmethod
    def decode(cls, artifact, context):
        values = np.frombuffer(artifact.path.read_bytes(), "<f4", offset=8).reshape(-1, 6).copy()
        return cls.model_class(torch.from_numpy(values[:, :3]), torch.from_numpy(values[:, 3:]).to(torch.uint8))


class AcceptsTruncation(GoodNative):
    """Takes as many points as there are."""

    @classmethod
    def decode(cls, artifact, context):
        data = artifact.path.read_bytes()[8:]
        values = np.frombuffer(data[: len(data) // 24 * 24], "<f4").reshape(-1, 6).copy()
        return cls.model_class(torch.from_numpy(values[:, :3]), torch.from_numpy(values[:, 3:]).to(torch.uint8))


class TrustsLength(GoodNative):
    """Takes memory for as many points as the file promises, before it looks how many there are."""

    @classmethod
    def decode(cls, artifact, context):
        data = artifact.path.read_bytes()
        values = np.ones((int.from_bytes(data[4:8], "little"), 6), "f4")
        if data[:4] != b"RAW1" or len(data) != 8 + values.nbytes:
            raise ArtifactError("not a RAW1 file of the length that it states")
        return super().decode(artifact, context)


class Crashes(GoodNative):
    """Ends the process on damage."""

    @classmethod
    def decode(cls, artifact, context):
        if len(artifact.path.read_bytes()) % 24 != 8:
            os.abort()
        return super().decode(artifact, context)


class UnreadSection(Good):
    """Stores what it never reads."""

    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.section("padding", bytes(100))


class DoubleModel(Points):
    def render(self, camera, background):
        return super().render(camera, background).double()


class WrongType(Good):
    model_class = DoubleModel


class TransposedModel(Points):
    def render(self, camera, background):
        return super().render(camera, background).transpose(0, 1)


class WrongShape(Good):
    model_class = TransposedModel


class NanModel(Points):
    def render(self, camera, background):
        return super().render(camera, background) / 0.0 * 0.0


class NotFinite(Good):
    model_class = NanModel


class CountsWrong(Good):
    @classmethod
    def counts(cls, decoded):
        return {"gaussians": 2 * len(decoded.xyz)}


class CountsStrangely(Good):
    @classmethod
    def counts(cls, decoded):
        return {"gaussians": len(decoded.xyz), "wheels": 4}


class GlobalRandom(Good):
    """Uses the global generators, which the stages of a job seed: repeatable."""

    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.header["start"] = [torch.rand(()).item(), np.random.rand(), random.random()]


class FailsToFit(Good):
    def fit(self, scene, config, context):
        with (context.workdir.parent / "fits").open("a") as notes:
            notes.write("x")
        raise RuntimeError("no convergence")
