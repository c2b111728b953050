"""The method: 3DGS trained with this plugin's rasterizer, its colors coded by this plugin's coder."""

import dataclasses

import numpy as np
import torch

from gsbench import ArtifactError, PipelineParams, Splats, TrainedMethod, registry, setting
from gsbench.coding.api import TOTAL
from gsbench.methods import SplatsRenderable

#: A table that gives all of 256 symbols the same probability.
TABLE = np.arange(0, TOTAL + 1, TOTAL // 256, dtype=np.uint32)[None]
FIELDS = {"means": (3,), "log_scales": (3,), "quats": (4,), "opacity_logits": ()}


@dataclasses.dataclass
class AnyPipeline(PipelineParams):
    backend: str = setting("any-raster", "rasterizer backend")


class AnyPoints(TrainedMethod):
    pipeline_params = AnyPipeline

    def encode(self, model, config, out, context):
        splats = model.splats()
        out.header["count"] = len(splats)
        for name in FIELDS:
            out.section(name, getattr(splats, name).numpy().astype("<f4").tobytes(), coder="deflate")
        colors = splats.sh[:, 0].clamp(-4.0, 4.0)
        symbols = ((colors + 4.0) * (255.0 / 8.0)).round().to(torch.int32).reshape(-1).numpy()
        encoder = registry.entropy_coders.get("any-coder")().encoder()
        encoder.put(symbols, TABLE, np.zeros(len(symbols), np.int32))
        out.section("colors", encoder.finish())

    @classmethod
    def decode(cls, artifact, context):
        n = artifact.header.get("count")
        if type(n) is not int or not 0 <= n < 1 << 24:
            raise ArtifactError("count is missing")
        tensors = {}
        for name, shape in FIELDS.items():
            values = np.frombuffer(artifact.read(name, max_bytes=1 << 28), "<f4").copy()
            tensors[name] = torch.from_numpy(values.reshape(n, *shape))
        decoder = registry.entropy_coders.get("any-coder")().decoder(artifact.read("colors"))
        symbols = decoder.get(TABLE, np.zeros(3 * n, np.int32))
        decoder.finish()
        sh = torch.from_numpy(symbols.astype(np.float32) * np.float32(8.0 / 255.0) - np.float32(4.0))
        return SplatsRenderable(Splats(sh=sh.reshape(n, 1, 3), **tensors).to(context.device))
