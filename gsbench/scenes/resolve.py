"""From what is typed after ``--scenes`` to a list of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from gsbench import registry
from gsbench.errors import SceneError, UsageError
from gsbench.registry import did_you_mean
from gsbench.scenes.spec import PATH_DATASET, DatasetSpec, SceneRef, safe_name

_PATH_PREFIX: Final = "path:"
_GLOB: Final = frozenset("*?[")


def resolve_scenes(patterns: Sequence[str]) -> list[SceneRef]:
    """The scenes that `patterns` mean, in the order given, each once.

    A pattern is a data set (all its scenes), ``dataset/scene``, either with the wildcards ``* ? [...]``, or
    ``path:/my/scene``. Data sets come from `gsbench.registry.scenes`. Whether their files are there is not looked up.

    Raises:
        UsageError: if a pattern names nothing (similar names are suggested), nothing is asked for, or two folders
            have the same name, which their records could not tell apart.
        SceneError: if a folder does not exist.
    """
    found: dict[SceneRef, None] = {}
    for pattern in patterns:
        text = pattern.strip()
        if not text:
            raise UsageError("an empty scene name; expected a data set such as demo, or path:/my/scene")
        refs = [_folder(text)] if text.startswith(_PATH_PREFIX) else _named(text)
        found.update(dict.fromkeys(refs))
    if not found:
        raise UsageError("no scene is given; expected a data set such as demo, or path:/my/scene")
    _refuse_equal_names(list(found))
    return list(found)


def check_folder(folder: Path) -> None:
    """Check that a scene's folder exists.

    Raises:
        SceneError: if it does not, or is a file.
    """
    try:
        if folder.is_dir():
            return
        exists = folder.exists()
    except OSError as error:  # a name too long, a folder above without permission
        raise SceneError(f"scene folder {folder}: {error.strerror or error}") from error
    found = "is a file" if exists else "does not exist"
    raise SceneError(f"scene folder {folder} {found}; expected a folder with images/ and sparse/0/, or transforms.json")


def _folder(text: str) -> SceneRef:
    name = text.removeprefix(_PATH_PREFIX)
    if not name or "\0" in name:
        raise UsageError(f"{text!r} names no folder; expected path:/my/scene")
    try:
        folder = Path(name).expanduser()
        check_folder(folder)
        folder = folder.resolve()
    except RuntimeError as error:  # a user who does not exist, links in a circle
        raise SceneError(f"scene folder {name}: {error}") from error
    return SceneRef(PATH_DATASET, safe_name(folder.name), folder)


def _named(text: str) -> list[SceneRef]:
    specs: list[DatasetSpec] = [entry.load() for entry in registry.scenes.entries()]
    refs = [SceneRef(spec.name, scene) for spec in specs for scene in spec.scenes]
    dataset, slash, scene = text.partition("/")
    matching = [r for r in refs if fnmatchcase(r.dataset, dataset) and (not slash or fnmatchcase(r.scene, scene))]
    if matching:
        return matching
    raise UsageError(_nothing(text, specs, refs))


def _nothing(text: str, specs: list[DatasetSpec], refs: list[SceneRef]) -> str:
    """Why `text` matches no scene."""
    dataset, slash, scene = text.partition("/")
    if text.startswith((".", "/", "~")) or Path(text).is_dir():
        return f"unknown scene {text!r}; for a folder of your own, write {_PATH_PREFIX}{text}"
    if _GLOB & set(text):
        return f"no scene matches {text!r}{did_you_mean('', [s.name for s in specs])}"
    for spec in specs:
        if slash and spec.name == dataset:
            return f"data set {dataset!r} has no scene {scene!r}{did_you_mean(scene, list(spec.scenes))}"
    owners = [str(ref) for ref in refs if ref.scene == text]
    if owners:
        return f"unknown data set {text!r}; did you mean {' or '.join(map(repr, owners))}?"
    hint = did_you_mean(dataset, [s.name for s in specs])
    return f"unknown data set {dataset!r}{hint} (a folder of your own is written path:/my/scene){registry.scenes.note}"


def _refuse_equal_names(refs: list[SceneRef]) -> None:
    taken: dict[tuple[str, str], SceneRef] = {}
    for ref in refs:
        # Without regard to case: records may lie on a file system that has none.
        other = taken.setdefault((ref.dataset.lower(), ref.scene.lower()), ref)
        if other is not ref and ref.path is not None:
            raise UsageError(
                f"the folders {other.path} and {ref.path} would both be called {ref}, and their records could not be "
                "told apart; rename one of them, or run them with different --out"
            )
