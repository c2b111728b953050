"""A trained model in a folder of its own, as ``gsbench train`` leaves it and ``gsbench encode`` takes it.

    training.json                      what was trained: method, settings, scene, versions
    model.safetensors, model.json      the model's state, from which its method goes on
    point_cloud.ply                    its Gaussians, where the representation has them
    base.ply                           what it started from, where the method has a base

It holds nothing about paths or the machine, and can be moved.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gsbench.bench import model_files
from gsbench.bench.model import JobSpec
from gsbench.errors import FormatError, JobError, StoreError
from gsbench.formats.ply import write_ply
from gsbench.records import BaseInfo, ProtocolInfo, Record
from gsbench.splats import Splats

MODEL_SCHEMA: Final = "gsbench.model/1"
INFO: Final = "training.json"
CLOUD: Final = "point_cloud.ply"
BASE: Final = "base.ply"

#: Larger files are no description of a model.
_MAX_INFO_BYTES: Final = 1 << 24


class ModelInfo(BaseModel):
    """What was trained.

    Fields:
        method, distribution, version, digest: the method, and the distribution that supplied it.
        rate, seed, config, iterations: how.
        dataset, scene, scene_hash, protocol: on what.
        base: what the method started from, for methods that have a base.
        torch, gsbench: versions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal["gsbench.model/1"] = Field(default=MODEL_SCHEMA, alias="schema")
    method: str
    distribution: str
    version: str
    digest: str
    rate: str
    seed: int
    config: dict[str, Any]
    iterations: int | None
    dataset: str
    scene: str
    scene_hash: str
    protocol: ProtocolInfo
    base: BaseInfo | None
    torch: str
    gsbench: str


def describe_training(spec: JobSpec, record: Record) -> ModelInfo:
    """The description of what a job trained; `record` is what became of the job."""
    if record.environment is None:
        raise JobError(f"training of {spec.id} has no environment")
    return ModelInfo(
        method=spec.method,
        distribution=record.method_info.distribution,
        version=record.method_info.version,
        digest=record.method_info.digest,
        rate=spec.rate,
        seed=spec.seed,
        config=spec.config,
        iterations=spec.iterations,
        dataset=spec.dataset,
        scene=spec.scene,
        scene_hash=spec.scene_hash,
        protocol=spec.protocol,
        base=record.base,
        torch=record.environment.torch,
        gsbench=record.environment.gsbench,
    )


def write_model_folder(
    folder: Path, info: ModelInfo, state: Path, splats: Splats | None, base: Splats | None
) -> list[str]:
    """Fill `folder` with a model; returns the names of the files.

    Args:
        folder: existing and empty.
        info: goes into training.json.
        state: folder with the model's state, as the stage "train" left it.
        splats: the model's Gaussians; None where it has none.
        base: what the model started from; None where the method has no base.

    Raises:
        StoreError: if the folder cannot be written.
    """
    try:
        (folder / INFO).write_text(info.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")
        for name in model_files.FILES:
            shutil.copyfile(state / name, folder / name)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error
    names = [INFO, *model_files.FILES]
    for name, cloud in ((CLOUD, splats), (BASE, base)):
        if cloud is not None:
            write_ply(folder / name, cloud)
            names.append(name)
    return names


def read_model_info(folder: Path) -> ModelInfo | None:
    """The description of the model in a folder, None if there is none.

    Raises:
        FormatError: if it is damaged.
    """
    path = folder / INFO
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_INFO_BYTES:
            raise FormatError(f"{path}: has more than {_MAX_INFO_BYTES} bytes; expected the description of a model")
        return ModelInfo.model_validate_json(path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise FormatError(f"{path}: not the description of a model: {where}: {first['msg']}") from None
