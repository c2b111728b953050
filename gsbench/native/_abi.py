"""The mirror of csrc/capi/gsbench.h in ctypes. A test compares the two."""

from __future__ import annotations

from ctypes import c_char_p, c_int32
from typing import Any, Final

ABI_VERSION: Final = 1

OK: Final = 0
INVALID_ARGUMENT: Final = 1
INTERNAL: Final = 2

#: name -> (result type, argument types)
FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "gsb_build_id": (c_char_p, ()),
    "gsb_last_error": (c_char_p, ()),
    "gsb_cpu_isa": (c_char_p, ()),
    "gsb_cpu_set_isa": (c_int32, (c_char_p,)),
}
