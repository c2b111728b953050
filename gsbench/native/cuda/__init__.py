"""The native library for GPUs. What it offers are the functions of `gsbench.native` for tensors on a CUDA device, which
those call themselves; `cuda_library` says whether it is there.
"""

from __future__ import annotations

from gsbench.native.cuda._library import CudaLibrary, cuda_library, cuda_library_path

__all__ = ["CudaLibrary", "cuda_library", "cuda_library_path"]
