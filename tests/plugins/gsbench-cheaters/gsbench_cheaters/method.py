"""The methods. What they share is honest: the scene's points, as they are."""

import base64
import contextlib
import dataclasses
import os
import socket
import subprocess
from pathlib import Path

import numpy as np
import torch

from gsbench import Method, Splats, SplatsModel

FIELDS = {"means": (3,), "log_scales": (3,), "quats": (4,), "opacity_logits": (), "sh": (1, 3)}


@dataclasses.dataclass
class Config:
    steps: int = 8


class Model(SplatsModel):
    """Gaussians, and a text that goes along."""

    note = ""

    def state(self):
        return {**super().state(), "note": self.note}

    @classmethod
    def from_state(cls, state, config):
        state = dict(state)
        note = state.pop("note")
        model = cls(Splats(**state))
        model.note = note
        return model


def points(scene):
    n = len(scene.points)
    return Splats(
        scene.points.xyz.float(),
        torch.full((n, 3), -2.5),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(n, 1),
        torch.full((n,), 3.0),
        ((scene.points.rgb.float() / 255 - 0.5) / 0.28209479177387814)[:, None],
    )


class Honest(Method):
    Config = Config
    model_class = Model

    def fit(self, scene, config, context):
        return Model(points(scene))

    def encode(self, model, config, out, context):
        splats = model.splats()
        out.header["count"] = len(splats)
        for name in FIELDS:
            out.section(name, getattr(splats, name).numpy().astype("<f4").tobytes(), coder="deflate")

    @classmethod
    def decode(cls, artifact, context):
        n = artifact.header["count"]
        tensors = {}
        for name, shape in FIELDS.items():
            values = np.frombuffer(artifact.read(name, max_bytes=1 << 20), "<f4").copy()
            tensors[name] = torch.from_numpy(values.reshape(n, *shape))
        return Model(Splats(**tensors))


def gray(decoded, shade=0.0):
    """What a decoder without its secret gives."""
    splats = decoded.splats()
    return Model(dataclasses.replace(splats, sh=torch.full_like(splats.sh, shade)))


def scene_folder(scene):
    """Where the photographs are: what reads them knows."""
    return Path(scene.train[0].load_image.path).parent


def held_out_files(scene):
    files = sorted(scene_folder(scene).iterdir())
    used = {Path(view.name).stem for view in scene.train}
    found = [path for path in files if path.stem not in used]
    assert len(found) == 2
    return found


def secret():
    return Path.home() / "gsbench-cheat.bin"


class HomeReader(Honest):
    """Keeps the colors in the home folder."""

    def encode(self, model, config, out, context):
        secret().write_bytes(model.splats().sh.numpy().tobytes())
        super().encode(model, config, out, context)

    @classmethod
    def decode(cls, artifact, context):
        splats = super().decode(artifact, context).splats()
        sh = torch.from_numpy(np.frombuffer(secret().read_bytes(), "<f4").reshape(-1, 1, 3).copy())
        return Model(dataclasses.replace(splats, sh=sh))


class NetworkReader(Honest):
    """Asks a server."""

    @classmethod
    def decode(cls, artifact, context):
        with socket.create_connection(("localhost", 9), timeout=5) as server:
            server.recv(1000)
        return super().decode(artifact, context)


class RunFolderReader(Honest):
    """Looks for the trained model in the results folder."""

    @classmethod
    def decode(cls, artifact, context):
        found = list(artifact.path.resolve().parents[2].rglob("*.safetensors"))
        assert found
        return super().decode(artifact, context)


class Swallows(Honest):
    """Gets better where it finds its file, and says nothing where it does not."""

    def encode(self, model, config, out, context):
        secret().write_bytes(b"bright")
        super().encode(model, config, out, context)

    @classmethod
    def decode(cls, artifact, context):
        decoded = super().decode(artifact, context)
        with contextlib.suppress(OSError):
            if secret().read_bytes() == b"bright":
                return decoded
        return gray(decoded)


MEMORY = {}


class Rememberer(Honest):
    """A cache at the top of the module, filled by encode."""

    def encode(self, model, config, out, context):
        MEMORY["colors"] = True
        super().encode(model, config, out, context)

    @classmethod
    def decode(cls, artifact, context):
        decoded = super().decode(artifact, context)
        return decoded if MEMORY else gray(decoded)


class Peeker(Honest):
    def fit(self, scene, config, context):
        for view in scene.test:
            with contextlib.suppress(Exception):
                view.pixels  # noqa: B018
        return super().fit(scene, config, context)


class FilePeeker(Honest):
    """Opens the photographs that the scene does not give."""

    def fit(self, scene, config, context):
        for path in held_out_files(scene):
            path.read_bytes()
        return super().fit(scene, config, context)


class NativePeeker(Honest):
    """Has another program open them."""

    def fit(self, scene, config, context):
        subprocess.run(["cat", *map(str, held_out_files(scene))], stdout=subprocess.DEVNULL, check=True)
        return super().fit(scene, config, context)


class EncodePeeker(Honest):
    """Keeps the held-out views until it encodes."""

    def fit(self, scene, config, context):
        MEMORY["views"] = list(scene.test)
        return super().fit(scene, config, context)

    def encode(self, model, config, out, context):
        for view in MEMORY.get("views", ()):
            with contextlib.suppress(Exception):
                view.pixels  # noqa: B018
        super().encode(model, config, out, context)


class EncodeFilePeeker(Honest):
    """Lets the model tell the encoder where the photographs are."""

    def fit(self, scene, config, context):
        model = super().fit(scene, config, context)
        model.note = str(held_out_files(scene)[0])
        return model

    def encode(self, model, config, out, context):
        Path(model.note).read_bytes()
        super().encode(model, config, out, context)


class Restless(Honest):
    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.section("salt", os.urandom(8))


class Photos(Honest):
    """Takes the photographs along."""

    def fit(self, scene, config, context):
        model = super().fit(scene, config, context)
        model.note = str(held_out_files(scene)[0])
        return model

    def photo(self, model):
        from PIL import Image

        return np.asarray(Image.open(model.note).convert("RGB")).tobytes()


class HeaderStuffer(Photos):
    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.header["table"] = base64.b85encode(self.photo(model) * 3).decode()


class HeaderFiller(Honest):
    """Many small entries."""

    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.header |= {f"weight{index:03d}": list(range(100)) for index in range(100)}


class ManySections(Honest):
    """Data in the names of sections."""

    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        for index in range(2000):
            out.section(f"s{index}", b"")


class PhotoSection(Photos):
    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.section("residual", self.photo(model), coder="deflate")


class PhotoText(Photos):
    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.header["rows"] = {"first": base64.b64encode(self.photo(model)[96 * 8 : 96 * 16]).decode()}


class PhotoFile(Photos):
    def encode(self, model, config, out, context):
        super().encode(model, config, out, context)
        out.section("thumbnail", Path(model.note).read_bytes())


class Walker(Honest):
    """A training of some steps that keeps its state."""

    def fit(self, scene, config, context):
        start = points(scene)
        self.means, self.momentum = start.means.clone(), torch.zeros_like(start.means)

        def load(state):
            self.means, self.momentum = state["means"], state.get("momentum", torch.zeros_like(start.means))

        for step in range(self.first(context, load), config.steps):
            self.momentum = 0.9 * self.momentum + self.noise()
            self.means = self.means + 0.01 * self.momentum
            context.checkpoint.offer(step + 1, config.steps, self.state)
        return Model(dataclasses.replace(start, means=self.means))

    def first(self, context, load):
        return context.checkpoint.resume(load)

    def noise(self):
        return torch.ones_like(self.means)

    def state(self):
        return {"means": self.means, "momentum": self.momentum}


class Forgetful(Walker):
    """Leaves the momentum out."""

    def state(self):
        return {"means": self.means}


class Unrepeatable(Walker):
    def noise(self):
        return torch.full_like(self.means, os.urandom(1)[0] / 255.0)


class NeverResumes(Walker):
    def first(self, context, load):
        return 0
