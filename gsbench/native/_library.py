"""Finding, loading and calling the shared library."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
from functools import cache
from pathlib import Path
from typing import Any, Final

from gsbench.errors import ArtifactError, NativeError
from gsbench.native import _abi

DISTRIBUTION: Final = "gsbench-core"
LIBRARY: Final = "gsbench/native/libgsbench_cpu.so"

#: Overrides the choice of the instruction set: auto, baseline, avx2 or avx512.
ISA_VARIABLE: Final = "GSBENCH_ISA"


def library_path() -> Path:
    """Where the installed distribution keeps the library: right for a wheel, for an editable install, and with the
    repository as working directory (where this package is imported from the sources).

    Raises:
        NativeError: if gsbench-core is not installed or came without the library.
    """
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise NativeError(f"{DISTRIBUTION} is not installed here; install it with: pip install .") from None
    path = Path(str(distribution.locate_file(LIBRARY)))
    if not path.is_file():
        raise NativeError(f"the native library is missing: expected {path}; reinstall {DISTRIBUTION}")
    return path


@cache
def library() -> ctypes.CDLL:
    """The loaded library, with its ABI checked and its functions typed.

    Raises:
        NativeError: if it does not load, is of another ABI version, or GSBENCH_ISA names an unusable instruction set.
    """
    path = library_path()
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"the native library {path} does not load: {error}") from error
    loaded.gsb_abi_version.restype = ctypes.c_int32
    loaded.gsb_abi_version.argtypes = []
    version = loaded.gsb_abi_version()
    if version != _abi.ABI_VERSION:
        raise NativeError(
            f"{path} has ABI version {version}, this gsbench expects {_abi.ABI_VERSION}; reinstall {DISTRIBUTION}"
        )
    for name, (result, arguments) in _abi.FUNCTIONS.items():
        function = getattr(loaded, name, None)
        if function is None:
            raise NativeError(f"{path} is older than this gsbench, it lacks {name}; reinstall {DISTRIBUTION}")
        function.restype = result
        function.argtypes = list(arguments)
    wanted = os.environ.get(ISA_VARIABLE, "auto")
    if loaded.gsb_cpu_set_isa(wanted.encode()) != _abi.OK:
        raise NativeError(f"{ISA_VARIABLE}: {loaded.gsb_last_error().decode()}")
    return loaded


def call(name: str, *arguments: Any) -> None:
    """Call a function that returns a status.

    Raises:
        ValueError: if the library refused a value.
        ArtifactError: if it found a stream damaged.
        NativeError: if it failed.
    """
    loaded = library()
    status = getattr(loaded, name)(*arguments)
    if status != _abi.OK:
        text = loaded.gsb_last_error().decode()
        if status == _abi.INVALID_ARGUMENT:
            raise ValueError(text)
        if status == _abi.DAMAGED:
            raise ArtifactError(text)
        raise NativeError(f"{name}: {text}")


def build_id() -> str:
    """Hash of the native sources and the compiler the library was built with."""
    value: bytes = library().gsb_build_id()
    return value.decode()


def cpu_isa() -> str:
    """The instruction set in use: "avx512", "avx2" or "baseline"."""
    value: bytes = library().gsb_cpu_isa()
    return value.decode()


def set_cpu_isa(name: str) -> None:
    """Choose the instruction set ("auto" for the best); for tests and benchmarks.

    Raises:
        ValueError: if it is unknown or this machine lacks it.
    """
    call("gsb_cpu_set_isa", name.encode())
