"""What a sealed decoder may do, and the audit hook that holds it to that.

Stand-alone: the sealed child loads this file by its path, before gsbench can be imported.

The hook sees what Python code does: opening and listing files, starting processes, sockets, loading libraries. Where
the kernel has namespaces or Landlock (`gsbench.native.linux`), native code is held to the same list; where it has
neither, the hook alone is a fence and not a wall.
"""

# Paths are strings here: this runs for every file that the process opens.
# ruff: noqa: PTH110, PTH112, PTH116, PTH118, PTH119

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

#: Files of the system that decide nothing about the pixels: devices, and facts about the machine that libraries ask.
SPECIAL: Final = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/etc/ld.so.cache",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
)

#: What CUDA's driver needs besides the devices.
_SPECIAL_CUDA: Final = ("/proc/driver/nvidia", "/proc/devices", "/proc/modules", "/sys/bus/pci", "/sys/devices")

_SHARED_OBJECT: Final = re.compile(r".+\.so(\.[0-9A-Za-z]+)*")
_CUDA_LIBRARY: Final = re.compile(r"lib(cu|nv)[A-Za-z0-9_-]*\.so(\.[0-9]+)*")
_BYTECODE: Final = re.compile(r"(?P<name>[^.]+(\.[^.]+)*?)\.(?P<tag>[a-z]+-[0-9]+)(\.opt-[0-9])?\.pyc")
_STDLIB_SUFFIXES: Final = (".py", ".pyc", ".so")
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

#: Modules that the sealed child disarmed before; a second copy would be as new.
_DISARMED: Final = frozenset({"_posixshmem", "_posixsubprocess"})

#: Events that are refused whatever their arguments: other processes, and looking at the hook itself.
_REFUSED: Final = {
    "ctypes.dlsym/handle": "look up native symbols",
    "gc.get_objects": "list the objects of the interpreter",
    "gc.get_referrers": "list the objects of the interpreter",
    "os.exec": "start a program",
    "os.fork": "start a process",
    "os.forkpty": "start a process",
    "os.getxattr": "read file attributes",
    "os.kill": "send signals",
    "os.killpg": "send signals",
    "os.link": "make links",
    "os.listxattr": "read file attributes",
    "os.posix_spawn": "start a program",
    "os.spawn": "start a program",
    "os.symlink": "make links",
    "os.system": "start a program",
    "pty.spawn": "start a program",
    "resource.prlimit": "look at other processes",
    "sqlite3.enable_load_extension": "load libraries",
    "sqlite3.load_extension": "load libraries",
    "subprocess.Popen": "start a program",
    "webbrowser.open": "start a program",
}

#: Events about changing a file or folder -> the arguments that are paths.
_CHANGING: Final = {
    "os.chflags": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.removexattr": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.setxattr": (0,),
    "os.truncate": (0,),
    "os.utime": (0,),
}


@dataclass
class Policy:
    """Which files a sealed process may touch. All paths are absolute.

    Fields:
        scratch: folder it may do anything in.
        output: folder it may write to, and not read: somebody else could have put something there.
        inputs: files it may read: the artifact and the cameras.
        stdlib: folders of the standard library; `hidden` are folders below them that do not count.
        libraries: folders of which shared objects may be read.
        listed: import root -> the files that installed distributions registered there, with their sizes (-1 where
            the size is not known). Files that nothing registered are out of reach.
        open_roots: import roots of distributions that register no files; everything below them may be read.
        code: the files of gsbench and its plugins, one by one. `packages` are the folders of which nothing else is
            visible (bytecode caches neither: nothing vouches for those), `code_folders` those they lie in.
        import_path: folders in which imports look for modules.
        native_library: the one that is bound through ctypes; only its ``gsb_`` functions may be looked up.
        special: files of the system that may be read, and folders of such; see `special_files`.
        cuda: a GPU is used.
    """

    scratch: str
    output: str
    inputs: Sequence[str]
    stdlib: Sequence[str]
    hidden: Sequence[str]
    libraries: Sequence[str]
    listed: Mapping[str, Mapping[str, int]]
    open_roots: Sequence[str]
    code: frozenset[str]
    packages: Sequence[str]
    code_folders: Sequence[str]
    import_path: Sequence[str]
    native_library: str
    special: Sequence[str] = SPECIAL
    cuda: bool = False
    _known: dict[str, bool] = field(default_factory=dict)

    @property
    def listable(self) -> frozenset[str]:
        """Folders whose names may be listed, besides those whose files may be read."""
        return frozenset({*self.code_folders, *self.import_path})

    def may_read(self, path: str) -> bool:
        """Whether the file at `path` may be opened for reading."""
        real = os.path.realpath(path)
        if _below(real, self.scratch) or real in self.inputs:
            return True
        known = self._known.get(real)
        if known is None:
            known = self._known[real] = not os.path.isdir(real) and self._may_read(real)
        return known

    def _may_read(self, real: str) -> bool:
        if real in self.code:
            return True
        if _below_any(real, self.packages):
            return False
        if _below_any(real, self.special) or _below(real, f"/proc/{os.getpid()}"):
            return True
        for root, files in self.listed.items():
            if _below(real, root):
                return self._is_listed(root, files, real)
        if _below_any(real, self.open_roots):
            return True
        if _below_any(real, self.hidden):
            return False
        if _below_any(real, self.stdlib):
            return real.endswith(_STDLIB_SUFFIXES)
        return _below_any(real, self.libraries) and _SHARED_OBJECT.fullmatch(os.path.basename(real)) is not None

    def _is_listed(self, root: str, files: Mapping[str, int], real: str) -> bool:
        relative = os.path.relpath(real, root)
        if relative.endswith(".pyc"):
            source = _source_of(relative)
            return source in files and os.path.join(root, source) not in self.code  # a module that is one file
        size = files.get(relative)
        return size is not None and (size < 0 or os.stat(real).st_size == size)

    def may_list(self, path: str) -> bool:
        """Whether the names in the folder `path` may be read."""
        real = os.path.realpath(path)
        groups = ([self.scratch], self.stdlib, self.listed, self.open_roots, self.special)
        return real in self.listable or any(_below_any(real, group) for group in groups)

    def may_write(self, path: str) -> bool:
        """Whether the file or folder at `path` may be changed."""
        return _below_any(os.path.realpath(path), (self.scratch, self.output))

    def may_load(self, path: str) -> bool:
        """Whether the shared object `path` may be loaded: one of gsbench, of a plugin, or of a distribution."""
        if "/" not in path:
            return self.cuda and _CUDA_LIBRARY.fullmatch(path) is not None
        return not _below(os.path.realpath(path), self.scratch) and self.may_read(path)


def special_files(device: str) -> list[str]:
    """The files of the system that a process working on `device` may read, those that exist."""
    names = list(SPECIAL)
    if device.startswith("cuda"):
        names += [*_SPECIAL_CUDA, *map(str, Path("/dev").glob("nvidia*"))]
    return [name for name in names if os.path.exists(name)]


def install(policy: Policy) -> None:
    """Hold this process to `policy`, for good."""
    handlers = _handlers(policy)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        handler = handlers.get(event)
        if handler is not None:
            handler(*arguments)
        elif event.startswith("socket."):
            _refuse("use the network")

    sys.addaudithook(hook)


def _handlers(policy: Policy) -> dict[str, Callable[..., None]]:
    """A function per audit event that raises if the event is not allowed.

    The names and arguments of the events are those of https://docs.python.org/3/library/audit_events.html
    """

    def opening(path: Any, mode: Any = None, flags: Any = 0, *rest: Any) -> None:
        if isinstance(path, int) or path is None:
            return
        name = os.fsdecode(path)
        writing = (isinstance(flags, int) and flags & _WRITING) or (isinstance(mode, str) and set(mode) & set("wax+"))
        if writing and not (policy.may_write(name) or name in policy.special):
            _refuse("write", name)
        if not writing and not policy.may_read(name):
            _refuse("read", name)

    def listing(path: Any = None, *rest: Any) -> None:
        if not (path is None or isinstance(path, int)) and not policy.may_list(os.fsdecode(path)):
            _refuse("list", os.fsdecode(path))

    def changing(indices: tuple[int, ...]) -> Callable[..., None]:
        def check(*arguments: Any) -> None:
            for index in indices:
                path = arguments[index]
                if not isinstance(path, int) and not policy.may_write(os.fsdecode(path)):
                    _refuse("change", os.fsdecode(path))

        return check

    def moving(path: Any, *rest: Any) -> None:
        if isinstance(path, int) or not policy.may_list(os.fsdecode(path)):
            _refuse("enter", str(path))

    def importing(module: Any, filename: Any = None, *rest: Any) -> None:
        if module in _DISARMED:
            _refuse("import", module)
        if isinstance(filename, str) and filename and not policy.may_load(filename):
            _refuse("import", filename)

    def loading(name: Any, *rest: Any) -> None:
        if name is None or not policy.may_load(os.fsdecode(name)):
            _refuse("load the library", "of the process itself" if name is None else os.fsdecode(name))

    def looking_up(library: Any, name: Any, *rest: Any) -> None:
        path = getattr(library, "_name", None)
        real = os.path.realpath(path) if isinstance(path, str) else ""
        ours = real == policy.native_library and isinstance(name, str) and name.startswith("gsb_")
        if not ours and (real == policy.native_library or real not in policy.code):
            _refuse("look up the native symbol", str(name))

    def connecting(database: Any, *rest: Any) -> None:
        if database != ":memory:":
            _refuse("open the database", str(database))

    def refusing(what: str) -> Callable[..., None]:
        return lambda *_: _refuse(what)

    handlers: dict[str, Callable[..., None]] = {event: refusing(what) for event, what in _REFUSED.items()}
    handlers |= {event: changing(indices) for event, indices in _CHANGING.items()}
    handlers |= {
        "open": opening,
        "os.listdir": listing,
        "os.scandir": listing,
        "os.chdir": moving,
        "import": importing,
        "ctypes.dlopen": loading,
        "ctypes.dlsym": looking_up,
        "sqlite3.connect": connecting,
    }
    return handlers


def _refuse(what: str, path: str = "") -> NoReturn:
    message = f"the sealed decoder may not {what}"
    raise PermissionError(errno.EACCES, message, path) if path else PermissionError(errno.EACCES, message)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder.endswith("/") else folder + "/")


def _below_any(path: str, folders: Sequence[str] | Mapping[str, Any]) -> bool:
    return any(_below(path, folder) for folder in folders)


def _source_of(relative: str) -> str:
    """The source file whose bytecode cache is at `relative`: ``a/__pycache__/b.cpython-311.pyc`` -> ``a/b.py``."""
    folder, _, name = relative.rpartition("/")
    match = _BYTECODE.fullmatch(name)
    parent, _, cache = folder.rpartition("/")
    if match is None or cache != "__pycache__":
        return ""
    return f"{parent}/{match['name']}.py" if parent else f"{match['name']}.py"
