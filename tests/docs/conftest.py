"""The documentation's pages and site."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def pages(repository: Path) -> dict[str, str]:
    """Every page of docs/, by name relative to it."""
    docs = repository / "docs"
    found = {path.relative_to(docs).as_posix(): path.read_text(encoding="utf-8") for path in docs.rglob("*.md")}
    return {name: text for name, text in sorted(found.items()) if not name.startswith("assets/")}


@pytest.fixture(scope="session")
def cli_page(repository: Path) -> ModuleType:
    """docs/tools/cli_page.py."""
    path = repository / "docs" / "tools" / "cli_page.py"
    spec = importlib.util.spec_from_file_location("cli_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without warnings; what uses it is skipped where the extra `docs` is not installed."""
    missing = [
        name for name in ("mkdocs", "material", "mkdocstrings", "griffe") if importlib.util.find_spec(name) is None
    ]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; pip install -c constraints.txt '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    # Without -q: it would silence the warnings that --strict counts, too.
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=repository,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder
