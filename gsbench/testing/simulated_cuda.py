"""Tensors that say they are on a GPU, on a machine without one.

    with simulated_cuda(twin):
        model = Trainer(MyModel(), scene, device="cuda").train()

Their numbers lie in the host's memory and are computed there; what is asked of them is what torch asks of CUDA tensors.
Operations that mix devices, `Tensor.numpy()`, and random numbers from a generator of the CPU raise as they do on a GPU,
native functions take the path for CUDA tensors, and every wait of the host for the device is counted. For tests:
nothing here is fast. Asynchronous errors, streams and memory are not simulated.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from gsbench.native.cuda import _library
from gsbench.native.cuda._library import CudaLibrary

DEVICE: Final = torch.device("cuda", 0)

_aten = torch.ops.aten
#: Operations that take indices or values from the host.
_TAKES_HOST_INDICES: Final = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
#: Operations whose results' sizes the host waits for.
_WAITS: Final = {
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "_local_scalar_dense",
    "equal",
    "bincount",
    "repeat_interleave",
}
#: Operations that draw random numbers.
_RANDOM: Final = {"rand", "randn", "randint", "randperm", "uniform_", "normal_", "random_", "bernoulli", "multinomial"}

#: Operations that add floats in no fixed order on a GPU (torch.use_deterministic_algorithms names them).
RACING: Final = frozenset(
    {
        "index_add",
        "index_add_",
        "scatter_add",
        "scatter_add_",
        "scatter_reduce",
        "put_",
        "cumsum",
        "histc",
        "embedding_dense_backward",
        "index_select_backward",
        "upsample_bilinear2d_backward",
        "grid_sampler_2d_backward",
        "_segment_reduce_backward",
        "median",
        "kthvalue",
    }
)


class Log:
    """What happened on the simulated device.

    Fields:
        waits: how often the host waited for it, by the place in the program that made it wait.
        racing: operations on floats whose results differ from run to run, by place.
    """

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.racing: Counter[str] = Counter()

    def clear(self) -> None:
        """Forget it."""
        self.waits.clear()
        self.racing.clear()


_log: Final = Log()


def _place(what: str) -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None and ("/torch/" in frame.f_code.co_filename or frame.f_code.co_filename == __file__):
        frame = frame.f_back
    name = frame.f_code.co_filename.rpartition("gsbench/")[2]
    return f"{name}:{frame.f_code.co_qualname}: {what}"


def _wait(what: str) -> None:
    _log.waits[_place(what)] += 1


class DeviceTensor(Tensor):
    """A tensor that says it is on `DEVICE`. They are in `numbers`."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> DeviceTensor:
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=torch.device("cpu")
        )
        made.numbers = inner
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def __repr__(self) -> str:  # type: ignore[override]
        return f"DeviceTensor({self.numbers!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.detach().clone().requires_grad_(self.requires_grad)

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        _check(name, args, kwargs)
        if name in _WAITS or (name == "index" and _by_masks(args)):
            _wait(name)
        if name in RACING and args[0].is_floating_point():
            _log.racing[_place(name)] += 1
        kwargs.pop("device", None)
        if kwargs.get("generator") is not None:
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        if name in ("set_", "resize_"):
            raise NotImplementedError(f"simulated device: {name}")
        result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if name == "copy_":
            return args[0]
        return return_and_correct_aliasing(  # type: ignore[no-untyped-call]
            func, args, kwargs, tree_map(_wrapped, result)
        )


def _inner(value: Any) -> Any:
    return value.numbers if isinstance(value, DeviceTensor) else value


def _wrapped(value: Any) -> Any:
    return DeviceTensor(value) if isinstance(value, Tensor) and not isinstance(value, DeviceTensor) else value


def _on_device(value: Any) -> bool:
    return isinstance(value, DeviceTensor)


def _by_masks(args: tuple[Any, ...]) -> bool:
    return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])


def _check(name: str, args: Any, kwargs: Any) -> None:
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    if name in _TAKES_HOST_INDICES and _on_device(args[0]):
        return
    if name == "copy_":
        if not all(_on_device(t) for t in tensors):
            _wait("copy_")
        return
    odd = [t for t in tensors if not _on_device(t) and t.ndim > 0]
    written = tensors and not _on_device(tensors[0]) and (name.endswith("_") and not name.endswith("__"))
    if (odd or written) and any(_on_device(t) for t in tensors):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"(when checking arguments of aten::{name})"
        )


class _ToDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return DeviceTensor(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        inner: Tensor = _inner(grad)
        return inner.clone()


class _ToHost(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        inner: Tensor = _inner(tensor)
        return inner.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return DeviceTensor(grad.clone())


def _is_device(value: Any) -> bool:
    return value is not None and torch.device(value).type == "cuda"


def _move(tensor: Tensor, device: Any) -> Tensor:
    if _is_device(device) and not _on_device(tensor):
        moved: Tensor = _ToDevice.apply(tensor)  # type: ignore[no-untyped-call]
        return moved
    if not _is_device(device) and _on_device(tensor):
        _wait("copy to the host")
        moved = _ToHost.apply(tensor)  # type: ignore[no-untyped-call]
        return moved
    return tensor


def _no_numpy(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    raise TypeError(
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )


def _to(tensor: Tensor, args: list[Any], kwargs: dict[str, Any]) -> Tensor:
    """``tensor.to(...)`` in all its forms."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    for value in [*args, *([kwargs["other"]] if "other" in kwargs else [])]:
        if isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, str | torch.device):
            device = value
        elif isinstance(value, torch.dtype):
            dtype = value
    if device is not None:
        tensor = _move(tensor, device)
    copy = bool(kwargs.get("copy", False))
    return tensor.to(dtype=tensor.dtype if dtype is None else dtype, copy=copy) if copy or dtype is not None else tensor


class _Simulation(TorchFunctionMode):
    #: How many calls of torch from Python are under way.
    depth = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.depth += 1
        try:
            return self._call(func, args, dict(kwargs or {}))
        finally:
            self.depth -= 1

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first = args[0] if args else None
        if func is Tensor.to:
            return _to(args[0], list(args[1:]), kwargs)
        if func is Tensor.cuda:
            return _move(args[0], DEVICE)
        if func is Tensor.cpu:
            return _move(args[0], "cpu")
        if _on_device(first):
            handler = _HANDLERS.get(func)
            if handler is not None:
                return handler(*args, **kwargs)
        if _is_device(kwargs.get("device")):
            if kwargs.get("generator") is not None:
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            kwargs["device"] = "cpu"
            wants_grad = kwargs.pop("requires_grad", False)
            made = _wrapped(func(*args, **kwargs))
            return made.requires_grad_() if wants_grad else made
        return func(*args, **kwargs)


class _MadeByAutograd(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The zeros that autograd itself fills in for gradients that nobody gave are on the device."""

    def __init__(self, simulation: _Simulation) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._simulation = simulation

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        ours = self._simulation.depth == 0 and func.overloadpacket.__name__ in ("zeros", "ones", "full", "empty")
        return _wrapped(made) if ours else made


def _tolist(tensor: DeviceTensor) -> Any:
    _wait("tolist")
    return tensor.numbers.tolist()


def _new_tensor(tensor: DeviceTensor, data: Any, **kwargs: Any) -> Tensor:
    if _is_device(kwargs.pop("device", DEVICE)):
        return DeviceTensor(tensor.numbers.new_tensor(data, **kwargs))
    return tensor.numbers.new_tensor(data, **kwargs)


_HANDLERS: Final[dict[Any, Callable[..., Any]]] = {
    Tensor.numpy: _no_numpy,
    Tensor.__array__: _no_numpy,
    Tensor.tolist: _tolist,
    Tensor.new_tensor: _new_tensor,
    Tensor.data_ptr: lambda t: t.numbers.data_ptr(),
    Tensor.untyped_storage: lambda t: t.numbers.untyped_storage(),
}


class _Stream:
    cuda_stream = 0


class _Simulated(CudaLibrary):
    """The twin, as the library for CUDA tensors."""

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        object.__setattr__(self, "device_type", "cuda")


@contextlib.contextmanager
def simulated_cuda(twin: CudaLibrary) -> Iterator[Log]:
    """Within, there is one CUDA device, whose kernels are those of `twin`, run as loops on the host. Yields what
    happens on it.
    """
    importlib.import_module("torch._dynamo")  # torch's optimizers ask for it, and it wants torch.cuda as it is

    def path() -> Any:
        return twin.path

    def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    replaced: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "current_stream": lambda *a: _Stream(),
        "get_device_name": lambda *a: "simulated",
        "synchronize": nothing,
        "reset_peak_memory_stats": nothing,
        "max_memory_allocated": lambda *a: 0,
        "manual_seed": nothing,
        "manual_seed_all": nothing,
        "get_rng_state": lambda *a: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": nothing,
    }
    _log.clear()
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    with contextlib.ExitStack() as stack:
        for name, value in replaced.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("gsbench") and hasattr(module, "cuda_library_path"):
                stack.enter_context(mock.patch.object(module, "cuda_library_path", path))
        stack.enter_context(mock.patch.object(_library, "CudaLibrary", _Simulated))
        _library.cuda_library.cache_clear()
        stack.callback(_library.cuda_library.cache_clear)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        simulation, run_backward = _Simulation(), vars(torch.autograd)["_engine_run_backward"]

        def run_backward_within(roots: Any, *args: Any, **kwargs: Any) -> Any:
            depth, simulation.depth = simulation.depth, 0
            try:
                # A mode is off while it handles a call, as backward() is.
                with contextlib.ExitStack() as modes:
                    modes.enter_context(simulation)
                    if any(_on_device(root) for root in roots):
                        modes.enter_context(_MadeByAutograd(simulation))
                    return run_backward(roots, *args, **kwargs)
            finally:
                simulation.depth = depth

        stack.enter_context(mock.patch.object(torch.autograd, "_engine_run_backward", run_backward_within))
        stack.enter_context(simulation)
        yield _log
