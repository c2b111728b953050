"""`write_plugin`: a distribution with a method that works, for an author to change into their own.

The files are made from the templates beside this module (``templates/common`` and one folder per kind). They are
package data and no Python modules, so that nothing takes them for code of gsbench.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from gsbench import __version__
from gsbench.errors import StoreError, UsageError

_TEMPLATES: Final = Path(__file__).with_name("templates")
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MAGIC_BYTES: Final = 8
_LONGEST_NAME: Final = 32


@dataclass(frozen=True)
class _Kind:
    """What is different between the kinds. `files` are the modules besides plugin.py, and what is in each."""

    summary: str
    about: str
    files: dict[str, str]
    needs: tuple[str, ...] = ()


_CODING: Final = "Gaussians as integers and bytes: the part to begin with"

KINDS: Final = {
    "trained": _Kind(
        "3DGS trained for few opaque Gaussians, quantized and entropy coded",
        "As it stands, it trains 3D Gaussian Splatting with a weight on the mean opacity, and stores positions as an\n"
        "octree and the other values as integers, coded by their histograms.",
        {
            "method.py": "model, loss and settings (`gsbench.BaseGaussianModel`), and what is stored",
            "coding.py": _CODING,
        },
    ),
    "post-training": _Kind(
        "a trained model, pruned, quantized and entropy coded",
        "As it stands, it takes the Gaussians of `3dgs` (or of yours: `--base model.ply`), removes those that\n"
        "cover least, and stores positions as an octree and the other values as integers, coded by their histograms.",
        {"method.py": "settings, what is removed, and what is stored", "coding.py": _CODING},
        ("gsbench-3dgs",),
    ),
    "codec": _Kind(
        "a file format for Gaussians, quantized and entropy coded",
        "As it stands, it stores the Gaussians of `3dgs` (or of yours: `--base model.ply`) in a file format of\n"
        "its own: positions as an octree, the other values as integers, coded by their histograms.",
        {"method.py": "settings, and what is stored", "file.py": "the layout of the file", "coding.py": _CODING},
        ("gsbench-3dgs",),
    ),
}


def write_plugin(name: str, kind: str = "trained", parent: Path | None = None) -> list[Path]:
    """Write the distribution ``gsbench-NAME`` into a new folder of that name.

    It brings a method called `name`, whose package is ``gsbench_NAME``, with a test, a README and a file for CI.

    Args:
        name: of the method: lower-case letters and digits, in groups that single ``-`` separate.
        kind: "trained" (trains a model of its own), "post-training" (compresses what 3dgs trained) or "codec" (a file
            format).
        parent: where the folder is made; the working directory by default.

    Returns:
        The files, the folder's first.

    Raises:
        UsageError: if the name or the kind is none, or the folder is there already.
        StoreError: if the folder cannot be written.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind {kind!r}; expected {', '.join(KINDS)}")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"{name!r} cannot name a method and its distribution; expected lower-case letters and digits, in groups "
            f"that single - separate, such as my-method ({_LONGEST_NAME} characters at most)"
        )
    folder = (parent or Path()) / f"gsbench-{name}"
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already; choose another name, or remove it")
    contents = {path: Template(text).substitute(_values(name, kind)) for path, text in _texts(name, kind).items()}
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        temporary.chmod(0o755)
        for relative, text in contents.items():
            path = temporary / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        temporary.rename(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return [folder / relative for relative in contents]


def _texts(name: str, kind: str) -> dict[str, str]:
    """The templates by the file that each becomes."""
    package = f"gsbench_{_identifier(name)}"
    common = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        ".gitignore": "gitignore",
        ".github/workflows/test.yml": "ci.yml",
        f"{package}/__init__.py": "init.py",
        f"{package}/coding.py": "coding.py",
        f"tests/test_{_identifier(name)}.py": "test.py",
    }
    own = ["plugin.py", *(file for file in KINDS[kind].files if file != "coding.py")]
    sources = {path: f"common/{template}" for path, template in common.items()}
    sources |= {f"{package}/{file}": f"{kind}/{file}" for file in own}
    return {path: (_TEMPLATES / f"{source}.template").read_text(encoding="utf-8") for path, source in sources.items()}


def _values(name: str, kind: str) -> dict[str, str]:
    """What stands for the placeholders of the templates."""
    identifier, what = _identifier(name), KINDS[kind]
    package = f"gsbench_{identifier}"
    major, minor = (int(part) for part in __version__.split(".")[:2])
    versions = f">={major}.{minor},<{major}.{minor + 1}"
    titled = "".join(part.capitalize() for part in identifier.split("_"))
    suffix = identifier.replace("_", "")
    files = {"plugin.py": "the rate points, and where the method is; imported without torch", **what.files}
    return {
        "method": name,
        "identifier": identifier,
        "distribution": f"gsbench-{name}",
        "package": package,
        "cls": titled if titled[0].isalpha() else f"Method{titled}",
        "summary": what.summary,
        "about": what.about,
        "files": "\n".join(f"| `{package}/{file}` | {text} |" for file, text in files.items()),
        "dependencies": ", ".join(f'"{needed}{versions}"' for needed in ("gsbench-core", *what.needs)),
        "suffix": suffix if suffix not in ("gsb", "ply") else f"{suffix}x",
        "magic": f'b"{suffix[:_MAGIC_BYTES].upper().ljust(_MAGIC_BYTES, "-")}"',
    }


def _identifier(name: str) -> str:
    return name.replace("-", "_")
