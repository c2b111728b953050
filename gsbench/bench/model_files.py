"""A trained model on disk, between training and encoding: ``model.safetensors`` and ``model.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gsbench.errors import JobError
from gsbench.training.packing import pack, to_json, unpack, write_tensors

TENSORS: Final = "model.safetensors"
VALUES: Final = "model.json"
FILES: Final = (TENSORS, VALUES)


def save_state(state: Mapping[str, Any], folder: Path) -> None:
    """Write what `gsbench.Model.state` returned.

    Args:
        state: tensors and plain values (None, bool, int, float, str), in dicts with text keys and in lists; tuples
            come back as lists.
        folder: existing folder.

    Raises:
        JobError: if something else is in it (the message says where), or the files cannot be written.
    """
    values, tensors = pack(state, "a model's state", plain=True)
    try:
        write_tensors(tensors, folder / TENSORS)
        (folder / VALUES).write_text(to_json(values))
    except OSError as error:
        raise JobError(f"the trained model cannot be written to {folder}: {error.strerror or error}") from error


def load_state(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save_state` wrote, tensors to `device`.

    Raises:
        JobError: if a file is missing or damaged.
    """
    try:
        tensors = load_file(folder / TENSORS, device=str(device))
        state = unpack(json.loads((folder / VALUES).read_text()), tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise JobError(f"the trained model in {folder} cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise JobError(f"the trained model in {folder} cannot be read: expected an object in {VALUES}")
    return state
