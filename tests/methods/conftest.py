"""Methods of the installed plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gsbench import registry
from gsbench.hooks import load_plugins, method_class, unload_plugins


@pytest.fixture
def find_method() -> Iterator[Callable[[str], Any]]:
    """The class of a method by its name; skips where no plugin has it."""

    def find(name: str) -> Any:
        if name not in registry.methods:
            pytest.skip(f"the plugin with {name} is not installed")
        return method_class(name)

    load_plugins()
    try:
        yield find
    finally:
        unload_plugins()
