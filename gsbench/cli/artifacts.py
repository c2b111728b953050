"""Which method reads a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.methods import MethodSpec

#: Which method reads a native file, by its suffix, where several could.
_NATIVE_METHODS: Final = {".ply": "3dgs"}


def method_of(artifact: Path, named: str | None = None) -> str:
    """The method that decodes an artifact: the one that is `named`, the one that a container names, or the one whose
    artifacts have the suffix of a native file.

    Raises:
        UsageError: if it cannot be told.
        ArtifactError: if the file is damaged.
    """
    from gsbench import registry
    from gsbench.artifact import open_artifact
    from gsbench.hooks import load_plugins

    load_plugins()
    if named is not None:
        return registry.methods.entry(named).name
    reader = open_artifact(artifact)
    if reader.method is not None:
        return reader.method
    suffix = artifact.suffix.lower()
    specs: list[MethodSpec] = [entry.load() for entry in registry.methods.entries()]
    fitting = [spec.name for spec in specs if spec.suffix == suffix]
    preferred = _NATIVE_METHODS.get(suffix)
    if preferred in fitting and preferred is not None:
        return preferred
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(f"{artifact}: several methods read {suffix} files; choose one: --method {'|'.join(fitting)}")
    needed = f", such as {preferred} (plugin gsbench-{preferred})" if preferred else ""
    raise UsageError(
        f"{artifact} does not say which method wrote it, and no installed method reads {suffix or 'such'} files{needed}"
        "; name one with --method"
    )
