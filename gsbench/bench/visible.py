"""What a sealed decoder can see of this machine: the interpreter, the installed distributions, and the code of gsbench
and its plugins, file by file.

It is taken when a job begins, before the method's code has run. What appeared or changed afterwards is not visible: a
file that `fit` left in its own package, say, or wrote into its own sources. Of a plugin's package, its Python files and
compiled modules are visible, and the data that `MethodSpec.pretrained` declares; other data is not.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from gsbench import registry
from gsbench.errors import JobError, PluginError
from gsbench.hooks import distribution_files, load_plugins
from gsbench.methods import MethodSpec

#: File name endings of compiled code.
_COMPILED: Final = (".so", ".pyd")
#: Package managers that change files after they were registered, so that sizes say nothing.
_REWRITING_INSTALLERS: Final = ("conda",)
#: Code files up to this size (bytes) are kept as they were; of larger ones, only the digest.
_KEPT_BYTES: Final = 1 << 20
_CORE: Final = "gsbench-core"


@dataclass(frozen=True)
class CodeFile:
    """A file of gsbench or a plugin: its SHA-256, and its content unless it is large."""

    sha256: str
    content: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Visible:
    """See the module. All paths are absolute.

    Fields:
        import_path: ``sys.path`` without folders that nothing is installed in; `site_dirs` are those of its folders
            whose ``.pth`` files are honored.
        prefix, exec_prefix: of the interpreter.
        stdlib: folders of the standard library; `hidden` are folders below them that are not visible as such.
        libraries: folders of shared objects.
        listed, open_roots: see `gsbench.bench.sealed_policy.Policy`.
        code: the files of gsbench and the loaded plugins by path. `packages` are the folders of which nothing but
            these files is visible, `code_folders` those and the folders below in which they lie.
        native_library: path of gsbench's own shared object.
    """

    import_path: tuple[str, ...]
    site_dirs: tuple[str, ...]
    prefix: str
    exec_prefix: str
    stdlib: tuple[str, ...]
    hidden: tuple[str, ...]
    libraries: tuple[str, ...]
    listed: Mapping[str, Mapping[str, int]]
    open_roots: tuple[str, ...]
    code: Mapping[str, CodeFile]
    packages: tuple[str, ...]
    code_folders: tuple[str, ...]
    native_library: str

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the sealed child; without the contents of files."""
        return {**vars(self), "listed": {r: dict(f) for r, f in self.listed.items()}, "code": list(self.code)}

    def check_unchanged(self, paths: Iterable[str] | None = None) -> None:
        """Check that code files are still what they were: all of them, or those at `paths`.

        Raises:
            JobError: if one was changed or removed; the message names up to three.
        """
        changed = sorted(p for p in (self.code if paths is None else paths) if _sha256(Path(p)) != self.code[p].sha256)
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise JobError(
                "the installed code changed while the job ran, so that it is not known what would decode the "
                f"artifact: {', '.join(changed[:3])}{more}; run again"
            )


def take_inventory() -> Visible:
    """What a sealed decoder started now could see. Reads every source file of gsbench and its plugins.

    Raises:
        PluginError: if the files of a plugin cannot be found or read.
    """
    from gsbench import native

    import_path = tuple(_absolute(entry) for entry in dict.fromkeys(sys.path))
    folders = [entry for entry in import_path if Path(entry).is_dir()]
    stdlib = _stdlib()
    site_dirs = tuple(entry for entry in folders if entry in _site_dirs())
    listed: dict[str, dict[str, int]] = {}
    open_roots: list[str] = []
    for distribution in importlib.metadata.distributions(path=list(folders)):
        _add_listed(distribution, site_dirs, listed, open_roots)
    code, packages = _code(listed)
    library = native.library_path().resolve()
    # Folders that nothing is installed in, such as a checkout that is the working directory of an installed gsbench,
    # hold only what the child may not read; imports that tried them first would fail there.
    roots = {*listed, *open_roots, *(str(package.parent) for package in packages)}
    installed = [
        e for e in import_path if e in roots or e not in folders or any(Path(e).is_relative_to(s) for s in stdlib)
    ]
    return Visible(
        import_path=tuple(installed),
        site_dirs=site_dirs,
        prefix=sys.prefix,
        exec_prefix=sys.exec_prefix,
        stdlib=stdlib,
        hidden=tuple(
            str(folder / name)
            for folder in map(Path, stdlib)
            for name in ("site-packages", "dist-packages")
            if (folder / name).is_dir()
        ),
        libraries=_library_folders(),
        listed=listed,
        open_roots=tuple(open_roots),
        code={str(path): _read(path) for path in sorted(code | {library})},
        packages=tuple(sorted(map(str, packages))),
        code_folders=tuple(sorted({str(p) for path in code for p in path.parents if _within(p, packages)})),
        native_library=str(library),
    )


def _absolute(entry: str) -> str:
    return os.path.realpath(entry or ".")


def _stdlib() -> tuple[str, ...]:
    paths = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    paths |= {os.path.join(path, "lib-dynload") for path in set(paths)}  # noqa: PTH118 (a set of strings)
    real = sorted({os.path.realpath(path) for path in paths if Path(path).is_dir()})
    return tuple(path for path in real if not any(path.startswith(f"{other}/") for other in real))


def _site_dirs() -> set[str]:
    return {os.path.realpath(folder) for folder in [*site.getsitepackages(), site.getusersitepackages()]}


def _add_listed(
    distribution: importlib.metadata.Distribution,
    site_dirs: Iterable[str],
    listed: dict[str, dict[str, int]],
    open_roots: list[str],
) -> None:
    """Add what `distribution` registered in its RECORD."""
    root = os.path.realpath(str(distribution.locate_file("")))
    record = distribution.read_text("RECORD")
    if record is None:
        if root in site_dirs and root not in open_roots:
            open_roots.append(root)
        return
    trusted = (distribution.read_text("INSTALLER") or "").strip() not in _REWRITING_INSTALLERS
    files = listed.setdefault(root, {})
    for row in csv.reader(record.splitlines()):
        if len(row) < 3 or row[0].startswith(("/", "..")):
            continue
        files[row[0]] = int(row[2]) if trusted and row[2].isdecimal() else -1


def _code(listed: Mapping[str, Mapping[str, int]]) -> tuple[set[Path], set[Path]]:
    """The files of gsbench and every loaded plugin, and the top-level packages they belong to."""
    files: set[Path] = set()
    packages: set[Path] = set()
    for name in dict.fromkeys(row.distribution for row in load_plugins() if row.status == "ok"):
        python = {relative: path.resolve() for relative, path in distribution_files(name).items()}
        files.update(python.values())
        editable: set[Path] = set()
        for relative, path in python.items():
            depth = len(PurePosixPath(relative).parts)
            if depth > 1:
                packages.add(path.parents[depth - 2])
                if relative not in listed.get(str(path.parents[depth - 1]), ()):
                    editable.add(path.parents[depth - 2])  # it registers only its import hook
        others = [path for package in editable for path in package.rglob("*") if "__pycache__" not in path.parts]
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or []:
            if ".." not in file.parts and not file.parts[0].endswith(".dist-info"):
                path = Path(str(distribution.locate_file(file))).resolve()
                others.append(path)
                if file.suffix in _COMPILED and len(file.parts) > 1:
                    packages.add(path.parents[len(file.parts) - 2])
        wanted = [path for path in others if name == _CORE or path.suffix in _COMPILED]
        files.update(path.resolve() for path in wanted if path.is_file() and path.suffix != ".pyc")
    for entry in registry.methods.entries():
        spec: MethodSpec = entry.load()
        files.update(pretrained_file(spec, target) for target in spec.pretrained)
    return files, packages


def _within(path: Path, packages: Iterable[Path]) -> bool:
    return any(path.is_relative_to(package) for package in packages)


def pretrained_file(spec: MethodSpec, target: str) -> Path:
    """The file that ``package:path`` in `MethodSpec.pretrained` names.

    Raises:
        PluginError: if it does not exist or lies outside its package.
    """
    package, _, relative = target.partition(":")
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    for location in (found.submodule_search_locations if found else None) or []:
        path = Path(location, relative).resolve()
        if path.is_file() and path.is_relative_to(Path(location).resolve()):
            return path
    raise PluginError(f"method {spec.name!r}: pretrained data {target!r} is not a file of its package")


def _library_folders() -> tuple[str, ...]:
    """Folders with shared objects of the system: those of this process's libraries, and the usual ones."""
    folders = {"/lib", "/lib64", "/usr/lib64"}
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        folders |= {f"/lib/{multiarch}", f"/usr/lib/{multiarch}"}
    folders -= {"/lib"} if multiarch else set()
    maps = Path("/proc/self/maps")
    if maps.is_file():
        for line in maps.read_text().splitlines():
            path = line.partition("/")[2]
            if ".so" in path:
                folders.add(os.path.dirname(f"/{path}"))  # noqa: PTH120 (text of the kernel)
    packages = [*_site_dirs(), *_stdlib()]
    real = {os.path.realpath(folder) for folder in folders if Path(folder).is_dir()}
    return tuple(sorted(f for f in real if not any(f == p or f.startswith(f"{p}/") for p in packages)))


def _read(path: Path) -> CodeFile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(f"{path} cannot be read: {error.strerror}") from error
    return CodeFile(hashlib.sha256(content).hexdigest(), content if len(content) <= _KEPT_BYTES else None)


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
