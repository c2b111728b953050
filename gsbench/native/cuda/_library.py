"""Finding, loading and calling the CUDA library, or its twin for the host that tests build."""

from __future__ import annotations

import ctypes
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gsbench.errors import NativeError
from gsbench.native import _abi as _status
from gsbench.native._library import DISTRIBUTION
from gsbench.native.cuda import _abi

if TYPE_CHECKING:
    import torch

LIBRARY: Final = "gsbench/native/libgsbench_cuda.so"

#: What `targets` says of the twin.
_HOST: Final = "host"


@cache
def cuda_library_path() -> Path | None:
    """Where the installed distribution keeps the CUDA library; None if it was built without."""
    try:
        path = Path(str(importlib.metadata.distribution(DISTRIBUTION).locate_file(LIBRARY)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


class CudaLibrary:
    """A loaded library with the ABI of csrc/cuda/gsbench_cuda.h.

    Fields:
        path: the file.
        targets: what it was compiled for, "75,80,..." or "host".
        device_type: where its tensors are: "cuda", or "cpu" for the twin that runs kernels as loops on the host.

    Raises:
        NativeError: if the file does not load or is of another ABI version.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        try:
            self._loaded = ctypes.CDLL(str(path))
        except OSError as error:
            raise NativeError(f"the CUDA library {path} does not load: {error}") from error
        for name, (result, arguments) in _abi.FUNCTIONS.items():
            function = getattr(self._loaded, name, None)
            if function is None:
                raise NativeError(f"{path} is older than this gsbench, it lacks {name}; reinstall {DISTRIBUTION}")
            function.restype = result
            function.argtypes = list(arguments)
        version = self._loaded.gsb_cuda_abi_version()
        if version != _abi.ABI_VERSION:
            raise NativeError(
                f"{path} has ABI version {version}, this gsbench expects {_abi.ABI_VERSION}; reinstall {DISTRIBUTION}"
            )
        self.targets: Final[str] = self._loaded.gsb_cuda_targets().decode()
        self.device_type: Final = "cpu" if self.targets == _HOST else "cuda"

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a status.

        Raises:
            ValueError: if the library refused a value.
            NativeError: if it failed.
        """
        status = getattr(self._loaded, name)(*arguments)
        if status != _status.OK:
            text = self._loaded.gsb_cuda_last_error().decode()
            if status == _status.INVALID_ARGUMENT:
                raise ValueError(text)
            raise NativeError(f"{name}: {text}")

    def place(self, device: torch.device) -> str:
        """Where all tensors of a call are if one of them is on `device`: "cuda:0", "cpu" with the twin."""
        return str(device) if device.type == self.device_type == "cuda" else self.device_type

    def queue(self, device: torch.device) -> Any:
        """What the ABI calls a queue: a device and its current stream, by reference."""
        stream, index = 0, 0
        if self.device_type == "cuda":
            import torch

            stream = torch.cuda.current_stream(device).cuda_stream
            index = torch.cuda.current_device() if device.index is None else device.index
        return ctypes.byref(_abi.Queue(device=index, stream=stream))

    def device_count(self) -> int:
        """How many devices this library can see; 0 without a driver."""
        count: int = self._loaded.gsb_cuda_device_count()
        return count

    def why_no_device(self) -> str:
        """What the driver says where `device_count` is 0."""
        return "" if self.device_count() else self._loaded.gsb_cuda_last_error().decode() or "the driver names none"

    def build_id(self) -> str:
        """Hash of the native sources and the compilers the library was built with."""
        value: bytes = self._loaded.gsb_cuda_build_id()
        return value.decode()


@cache
def cuda_library() -> CudaLibrary:
    """The installed CUDA library.

    Raises:
        NativeError: if there is none, or it does not load.
    """
    path = cuda_library_path()
    if path is None:
        raise NativeError(
            f"{DISTRIBUTION} was built without CUDA: where nvcc is on the PATH, install it again (pip install .)"
        )
    return CudaLibrary(path)
