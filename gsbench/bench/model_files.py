"""A trained model on disk, between training and encoding: ``model.safetensors`` and ``model.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gsbench.errors import JobError

TENSORS: Final = "model.safetensors"
VALUES: Final = "model.json"
FILES: Final = (TENSORS, VALUES)

#: Key of the object that stands for a tensor in the JSON.
_TENSOR: Final = "$tensor"
#: Key of the object that stands for a number that JSON lacks.
_FLOAT: Final = "$float"
_MAX_DEPTH: Final = 100


def save_state(state: Mapping[str, Any], folder: Path) -> None:
    """Write what `gsbench.Model.state` returned.

    Args:
        state: tensors and plain values (None, bool, int, float, str), in dicts with text keys and in lists; tuples
            come back as lists.
        folder: existing folder.

    Raises:
        JobError: if something else is in it; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    values = _pack(state, "state", tensors, 0)
    save_file(tensors, folder / TENSORS)
    (folder / VALUES).write_text(json.dumps(values, indent=1, allow_nan=False))


def load_state(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save_state` wrote, tensors to `device`.

    Raises:
        JobError: if a file is missing or damaged.
    """
    try:
        tensors = load_file(folder / TENSORS, device=str(device))
        state = _unpack(json.loads((folder / VALUES).read_text()), tensors)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise JobError(f"the trained model in {folder} cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise JobError(f"the trained model in {folder} cannot be read: expected an object in {VALUES}")
    return state


def _pack(value: Any, where: str, tensors: dict[str, Tensor], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise JobError(f"{where}: nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Tensor):
        return {_TENSOR: _keep(value, where, tensors)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key in (_TENSOR, _FLOAT):
                raise JobError(f"{where}: key {key!r} of a model's state; expected text that is not reserved")
        return {key: _pack(item, f"{where}.{key}", tensors, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{where}[{index}]", tensors, depth + 1) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(float(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise JobError(
        f"{where} of a model's state is a {type(value).__module__}.{type(value).__qualname__}; "
        "expected tensors and plain values"
    )


def _keep(tensor: Tensor, where: str, tensors: dict[str, Tensor]) -> str:
    name = where.removeprefix("state.")
    while name in tensors:  # {"a.b": t, "a": {"b": t}}
        name += "'"
    # A copy: safetensors refuses tensors that share memory.
    tensors[name] = tensor.detach().cpu().contiguous().clone()
    return name


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors[value[_TENSOR]]
        if set(value) == {_FLOAT}:
            return float(value[_FLOAT])
        return {key: _unpack(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value
