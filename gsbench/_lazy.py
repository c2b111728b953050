"""Names of a package that are imported when they are first used.

A package that holds heavy parts beside light ones lists where its names live:

    if TYPE_CHECKING:
        from gsbench.scenes.scene import Scene as Scene

    _EXPORTS: Final = {"Scene": "gsbench.scenes.scene"}
    __all__ = sorted(_EXPORTS)
    __getattr__, __dir__ = lazy_names(__name__, _EXPORTS)

The imports for type checkers repeat the table, because they read no tables; a test compares the two.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, exports: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of `package` (PEP 562).

    Args:
        package: the package's full name.
        exports: from names to the modules, by full name, that hold them under the same name.

    A name is imported on first use and then stays an attribute of the package. `dir` lists the package's `__all__`.
    """

    def get(name: str) -> Any:
        module = exports.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        names: list[str] = sys.modules[package].__all__
        return names

    return get, listed
