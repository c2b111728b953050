"""States on disk: nested values with tensors in them, as tensors by name and plain JSON.

No pickle: what comes from a file is data and never code.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from gsbench.errors import JobError

#: Keys of the objects that stand for what JSON lacks.
_TENSOR: Final = "$tensor"
_FLOAT: Final = "$float"
_TUPLE: Final = "$tuple"
_ITEMS: Final = "$items"
_ARRAY: Final = "$array"
_TORCH_GENERATOR: Final = "$torch_generator"
_NUMPY_GENERATOR: Final = "$numpy_generator"
_RESERVED: Final = frozenset({_TENSOR, _FLOAT, _TUPLE, _ITEMS, _ARRAY, _TORCH_GENERATOR, _NUMPY_GENERATOR})

_NUMPY_GENERATORS: Final = {
    cls.__name__: cls
    for cls in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
}
_MAX_DEPTH: Final = 100


def pack(value: Any, what: str, *, root: str = "state", plain: bool = False) -> tuple[Any, dict[str, Tensor]]:
    """Take a state apart.

    Args:
        value: tensors and plain values (None, bool, int, float, str), in dicts and lists. Unless `plain`, also tuples,
            dicts with keys that are numbers, NumPy arrays of numbers, and random generators of torch and NumPy.
        what: names the state in messages, "a model's state".
        root: begins the names of places in it.
        plain: dicts have text keys, and tuples come back as lists.

    Returns:
        Plain JSON values, and the tensors by the names that occur in them: contiguous, on the CPU, no two of them in
        the same memory. A tensor that was so already is not copied.

    Raises:
        JobError: if something else is in it; the message says where.
    """
    packer = _Packer(what, plain)
    return packer.pack(value, root, 0), packer.tensors


def unpack(value: Any, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> Any:
    """Inverse of `pack`. Tensors that were not on the CPU go to `device`, and so do generators.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: if `value` is not what `pack` made.
    """
    if isinstance(value, list):
        return [unpack(item, tensors, device) for item in value]
    if not isinstance(value, dict):
        return value
    if not _RESERVED & value.keys():
        return {key: unpack(item, tensors, device) for key, item in value.items()}
    if _TENSOR in value:
        tensor = tensors[value[_TENSOR]]
        return tensor if value.get("on", "cpu") == "cpu" else tensor.to(device)
    if _FLOAT in value:
        return float(value[_FLOAT])
    if _TUPLE in value:
        return tuple(unpack(value[_TUPLE], tensors, device))
    if _ITEMS in value:
        return {key: unpack(item, tensors, device) for key, item in value[_ITEMS]}
    if _ARRAY in value:
        dtype = np.dtype(value["dtype"])
        if dtype.kind not in "biufc":
            raise ValueError(f"an array of {dtype}")
        # A copy, because the memory belongs to torch.
        return tensors[value[_ARRAY]].numpy().view(dtype).reshape(value["shape"]).copy()
    if _TORCH_GENERATOR in value:
        generator = torch.Generator("cpu" if value["on"] == "cpu" else device)
        return generator.set_state(tensors[value[_TORCH_GENERATOR]])
    bits = _NUMPY_GENERATORS[value[_NUMPY_GENERATOR]]()
    bits.state = unpack(value["state"], tensors, device)
    return np.random.Generator(bits)


def to_json(value: Any) -> str:
    """The packed values as the text of a file."""
    return json.dumps(value, indent=1, allow_nan=False)


class _Packer:
    def __init__(self, what: str, plain: bool) -> None:
        self._what = what
        self._plain = plain
        self._memory: set[int] = set()
        self.tensors: dict[str, Tensor] = {}

    def pack(self, value: Any, where: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise JobError(f"{where}: nested more than {_MAX_DEPTH} deep")
        if isinstance(value, Tensor):
            device = value.device.type
            return {_TENSOR: self._keep(value, where), **({} if self._plain or device == "cpu" else {"on": device})}
        if isinstance(value, Mapping):
            return self._mapping(value, where, depth)
        if isinstance(value, list | tuple):
            items = self._sequence(value, where, depth)
            return {_TUPLE: items} if isinstance(value, tuple) and not self._plain else items
        if isinstance(value, float) and not math.isfinite(value):
            return {_FLOAT: repr(float(value))}
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, bool | int | float | str):  # a subclass: an enumeration of ints, a float64 of NumPy
            return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))
        special = None if self._plain else self._special(value, where, depth)
        if special is not None:
            return special
        kinds = "tensors and plain values" if self._plain else "tensors, arrays, random generators and plain values"
        raise JobError(
            f"{where} of {self._what} is a {type(value).__module__}.{type(value).__qualname__}; expected {kinds}"
        )

    def _sequence(self, values: Iterable[Any], where: str, depth: int) -> list[Any]:
        return [self.pack(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(values)]

    def _mapping(self, value: Mapping[Any, Any], where: str, depth: int) -> Any:
        if all(isinstance(key, str) and key not in _RESERVED for key in value):
            return {str(key): self.pack(item, _inside(where, key), depth + 1) for key, item in value.items()}
        for key in value:
            if self._plain or type(key) not in (int, str):
                expected = "text that is not reserved" if self._plain else "text or a whole number"
                raise JobError(f"{where}: key {key!r} of {self._what}; expected {expected}")
        return {_ITEMS: [[key, self.pack(item, _inside(where, key), depth + 1)] for key, item in value.items()]}

    def _special(self, value: Any, where: str, depth: int) -> dict[str, Any] | None:
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            content = torch.from_numpy(np.frombuffer(value.tobytes(), np.uint8).copy())
            return {_ARRAY: self._keep(content, where), "dtype": value.dtype.str, "shape": list(value.shape)}
        if isinstance(value, torch.Generator):
            return {_TORCH_GENERATOR: self._keep(value.get_state(), where), "on": value.device.type}
        if isinstance(value, np.random.Generator):
            name = type(value.bit_generator).__name__
            if name in _NUMPY_GENERATORS:
                return {_NUMPY_GENERATOR: name, "state": self.pack(value.bit_generator.state, where, depth + 1)}
        return None

    def _keep(self, tensor: Tensor, where: str) -> str:
        name = where.removeprefix("state.")
        while name in self.tensors:  # {"a.b": t, "a": {"b": t}}
            name += "'"
        kept = tensor.detach().cpu().contiguous()
        storage = kept.untyped_storage()
        # safetensors refuses tensors that share memory.
        if storage.data_ptr() in self._memory or storage.nbytes() != kept.numel() * kept.element_size():
            kept = kept.clone()
            storage = kept.untyped_storage()
        if storage.nbytes():
            self._memory.add(storage.data_ptr())
        self.tensors[name] = kept
        return name


def _inside(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a new safetensors file.

    Raises:
        OSError: if it cannot be written.
    """
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error
