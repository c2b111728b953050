"""The data set ``demo``: made once per version of its source, kept in the user's cache, verified on every use."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from gsbench.errors import SceneError
from gsbench.fetch.places import cache_root as cache_root
from gsbench.scenes.datasets import DEMO
from gsbench.scenes.folder import load_folder
from gsbench.scenes.manifest import file_digests
from gsbench.scenes.scene import Scene
from gsbench.scenes.spec import SceneOptions

_GENERATOR: Final = "gsbench.scenes.demo"
#: Modules whose source decides what the files hold: the generator and the writer of the model.
_SOURCES: Final = (_GENERATOR, "gsbench.scenes.colmap")
_MANIFEST: Final = "manifest.json"
_SCHEMA: Final = 1
#: Called with (views done, views in all).
Progress = Callable[[int, int], None]

#: How long to wait for another process that makes the demo, in seconds: it takes it far less.
_PATIENCE: Final = 900.0


def load(scene: str, options: SceneOptions) -> Scene:
    """Load the demo, after making it if the cache has none: the loader of the data set `demo`.

    Raises:
        SceneError: if the cache cannot be written.
    """
    protocol = options.effective_protocol(DEMO.protocol)
    folder = demo_folder(options.cache)
    return load_folder(folder, protocol, options, dataset=DEMO.name, name=scene)


def demo_folder(cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder of the demo (``images/``, ``sparse/0/``), made if it is not there or not as it was made.

    It is keyed by the generator's source, so that another version of gsbench makes its own. Several processes may
    call this at once: one makes the scene, the others wait for it. Making it takes seconds; to show that, call this
    with `progress` before `load_scene`.

    Raises:
        SceneError: if the cache cannot be written, or another process has held its lock for a long time.
    """
    parent = cache_root(cache).absolute() / "demo"
    folder = parent / _source_digest()[:16]
    if _intact(folder):
        return folder
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / f"{folder.name}.lock", timeout=_PATIENCE):
            if not _intact(folder):  # another process may have made it meanwhile
                _remove_leftovers(folder)
                _make(folder, progress)
    except Timeout as error:
        raise SceneError(
            f"another process has been making the demo in {folder} for {_PATIENCE:g} s; if there is none, "
            f"remove {folder.name}.lock beside it"
        ) from error
    except OSError as error:
        raise SceneError(
            f"the demo cannot be kept in {parent}: {error.strerror or error}; "
            "expected a folder that can be written, set GSBENCH_CACHE to one"
        ) from error
    return folder


def _source_digest() -> str:
    """SHA-256 over the .py files of `_SOURCES`, each a module or a package; the generator is not imported."""
    digest = hashlib.sha256()
    for module in _SOURCES:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise SceneError(f"{module} is not installed")
        origin = Path(spec.origin)
        files = sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]
        for name, value in file_digests({p.relative_to(origin.parent).as_posix(): p for p in files}).items():
            digest.update(f"{value} {module} {name}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    """The files of a made scene by relative name, but for the manifest."""
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    found.pop(_MANIFEST, None)
    return dict(sorted(found.items()))


def _intact(folder: Path) -> bool:
    """Whether `folder` holds exactly the files that were made, with the contents that they had."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest == {"schema": _SCHEMA, "sha256": file_digests(_files(folder))})
    except (OSError, ValueError, SceneError):
        return False


def _make(folder: Path, progress: Progress | None) -> None:
    """Make the scene under a temporary name, then put it in its place. The caller holds the lock."""
    generate: Callable[..., None] = importlib.import_module(_GENERATOR).generate
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        generate(temporary, progress=progress)
        manifest = json.dumps({"schema": _SCHEMA, "sha256": file_digests(_files(temporary))}, indent=1)
        (temporary / _MANIFEST).write_text(manifest, encoding="utf-8")
        if folder.exists():  # damaged: moved away first, as a folder with files cannot be replaced in one step
            folder.rename(folder.with_name(temporary.name.replace(".tmp-", ".old-")))
        temporary.rename(folder)
    finally:
        _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed left behind, and damaged scenes. The caller holds the lock."""
    for pattern in (f"{folder.name}.tmp-*", f"{folder.name}.old-*"):
        for leftover in folder.parent.glob(pattern):
            with contextlib.suppress(OSError):
                shutil.rmtree(leftover)
