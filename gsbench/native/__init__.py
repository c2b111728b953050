"""The native library: the only place in gsbench that uses ctypes.

Every public function here checks its tensors (dtype, shape, contiguity, device) before a pointer crosses, and holds
them until the call returns.
"""

from gsbench.native._library import build_id, cpu_isa, library_path, set_cpu_isa

__all__ = ["build_id", "cpu_isa", "library_path", "set_cpu_isa"]
