"""The few Linux system calls that sealing a process needs and Python lacks: mounts, capabilities, Landlock.

This module imports nothing but the standard library, because the sealed decoder loads it by its path before it can
import gsbench. It lives here since `gsbench.native` is the only place that uses ctypes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

# <sys/mount.h>
_MS_RDONLY: Final = 0x1
_MS_NOSUID: Final = 0x2
_MS_NODEV: Final = 0x4
_MS_NOEXEC: Final = 0x8
_MS_REMOUNT: Final = 0x20
_MS_NOATIME: Final = 0x400
_MS_NODIRATIME: Final = 0x800
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 0x40000
_MS_RELATIME: Final = 0x200000
_MNT_DETACH: Final = 0x2

#: statvfs(3) flag -> mount(2) flag. A remount inside a user namespace must repeat what the outer mount had set.
_LOCKED_FLAGS: Final = {
    "ST_RDONLY": _MS_RDONLY,
    "ST_NOSUID": _MS_NOSUID,
    "ST_NODEV": _MS_NODEV,
    "ST_NOEXEC": _MS_NOEXEC,
    "ST_NOATIME": _MS_NOATIME,
    "ST_NODIRATIME": _MS_NODIRATIME,
    "ST_RELATIME": _MS_RELATIME,
}

# <linux/prctl.h>, <linux/capability.h>
_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522

# <linux/landlock.h>; the system calls have the same numbers on every architecture.
_SYS_LANDLOCK_CREATE_RULESET: Final = 444
_SYS_LANDLOCK_ADD_RULE: Final = 445
_SYS_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_CREATE_RULESET_VERSION: Final = 1
_LANDLOCK_RULE_PATH_BENEATH: Final = 1
_FS_EXECUTE: Final = 1 << 0
_FS_WRITE_FILE: Final = 1 << 1
_FS_READ_FILE: Final = 1 << 2
_FS_READ_DIR: Final = 1 << 3
_FS_TRUNCATE: Final = 1 << 14
_FS_ALL_V1: Final = (1 << 13) - 1
_FS_REFER: Final = 1 << 13
#: Rights that a rule about a file (not a folder) may carry.
_FS_OF_FILES: Final = _FS_EXECUTE | _FS_WRITE_FILE | _FS_READ_FILE | _FS_TRUNCATE
_NET_TCP: Final = 0b11
_SCOPE_ABSTRACT_UNIX_SOCKETS: Final = 0b01
_SCOPE_SIGNALS: Final = 0b10


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(status: int, what: str) -> int:
    if status < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return status


def _call(name: str, *arguments: object) -> int:
    """Call a function of libc that returns -1 and sets errno on failure.

    Raises:
        OSError: with the name of the call, if it fails or libc lacks it.
    """
    function = getattr(_libc(), name, None)
    if function is None:
        raise OSError(f"{name}: not in this C library")
    return _check(function(*arguments), name)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    _call("prctl", _PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)


def forbid_new_privileges() -> None:
    """Give up, for this process and its children, gaining privileges by executing programs."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every capability for good."""
    forbid_new_privileges()
    capability = 0
    libc = _libc()
    while libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) == 0:
        capability += 1  # fails at the first one that the kernel does not know
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    none = ctypes.create_string_buffer(struct.pack("=6I", *([0] * 6)))
    _call("capset", header, none)


def _mount(source: str, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    try:
        _call(
            "mount",
            os.fsencode(source),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            None if options is None else options.encode(),
        )
    except OSError as error:
        raise OSError(error.errno, f"mounting {kind or source} on {target}: {error.strerror}") from None


class Root:
    """A file system made from nothing for this process alone: a tmpfs into which other folders are bound.

    To be used in a mount namespace of one's own. `enter` makes it the root; what was not bound is out of reach.
    """

    def __init__(self, mountpoint: Path) -> None:
        self.mountpoint = mountpoint.absolute()
        _mount("none", Path("/"), None, _MS_REC | _MS_PRIVATE)
        _mount("gsbench", self.mountpoint, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")

    def inside(self, path: Path) -> Path:
        """Where the absolute path `path` of the new root lies now."""
        return self.mountpoint / path.relative_to("/")

    def folder(self, path: Path) -> Path:
        """Make the folder `path` in the new root and return where it lies now."""
        target = self.inside(path)
        target.mkdir(parents=True, exist_ok=True)
        return target

    def empty(self, path: Path) -> None:
        """Put an empty folder at `path`, over whatever was bound there."""
        _mount("gsbench", self.folder(path), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")

    def bind(self, source: Path, path: Path | None = None, *, writable: bool = False) -> None:
        """Let `source`, a file or folder, appear at `path` (its own path if not given)."""
        target = self.inside(path or source)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.touch()
        _mount(str(source), target, None, _MS_BIND | _MS_REC)
        if not writable:
            present = os.statvfs(target).f_flag
            locked = 0
            for name, flag in _LOCKED_FLAGS.items():
                locked |= flag if present & getattr(os, name) else 0
            _mount("none", target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | locked)

    def proc(self) -> bool:
        """Mount the process list of this PID namespace at /proc; False where the kernel refuses (in some
        containers).
        """
        try:
            _mount("proc", self.folder(Path("/proc")), "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        except OSError:
            return False
        return True

    def enter(self) -> None:
        """Make this the root of the process and let go of the old one."""
        os.chdir(self.mountpoint)
        try:
            # With both arguments the same, the old root comes to lie under the new one and is then detached.
            _call("pivot_root", b".", b".")
            _call("umount2", b".", ctypes.c_int(_MNT_DETACH))
        except OSError:
            # An initramfs cannot be pivoted away from. Without CAP_SYS_CHROOT, a chroot holds as well.
            os.chroot(self.mountpoint)
        os.chdir("/")


def landlock_version() -> int:
    """Version of Landlock (kernel 5.13 and later) that this kernel offers, 0 if none."""
    version: int = _libc().syscall(
        ctypes.c_long(_SYS_LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), _LANDLOCK_CREATE_RULESET_VERSION
    )
    return max(0, version)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def landlock(
    *,
    readable: Iterable[Path],
    listable: Iterable[Path],
    writable: Iterable[Path],
    output: Iterable[Path],
) -> bool:
    """Have the kernel refuse this thread, and what it starts, every file but these. It cannot be undone.

    Unlike an audit hook this also holds for native code that opens files.

    Args:
        readable: files, and folders with all that is below them. Missing ones are skipped.
        listable: folders whose names (and those of the folders below) may be read, not the files.
        writable: files and folders that may be read, changed and added to.
        output: folders that may be changed and added to, but not read.

    TCP, abstract Unix sockets and signals to other processes are refused as well where this Landlock can.

    Returns:
        False if the kernel has no Landlock; nothing is restricted then.
    """
    if platform.system() != "Linux" or (version := landlock_version()) == 0:
        return False
    handled = _FS_ALL_V1 | (_FS_REFER if version >= 2 else 0) | (_FS_TRUNCATE if version >= 3 else 0)
    attributes = [handled]
    if version >= 4:
        attributes.append(_NET_TCP)
    if version >= 6:
        attributes.append(_SCOPE_ABSTRACT_UNIX_SOCKETS | _SCOPE_SIGNALS)
    packed = ctypes.create_string_buffer(struct.pack(f"={len(attributes)}Q", *attributes))
    ruleset = _call(
        "syscall",
        ctypes.c_long(_SYS_LANDLOCK_CREATE_RULESET),
        packed,
        ctypes.c_size_t(8 * len(attributes)),
        ctypes.c_uint(0),
    )
    try:
        rights: Mapping[int, Iterable[Path]] = {
            _FS_READ_FILE | _FS_READ_DIR: readable,
            _FS_READ_DIR: listable,
            handled & ~_FS_EXECUTE: writable,
            handled & ~(_FS_EXECUTE | _FS_READ_FILE | _FS_READ_DIR): output,
        }
        for access, paths in rights.items():
            for path in paths:
                _allow(ruleset, path, access)
        forbid_new_privileges()
        _call("syscall", ctypes.c_long(_SYS_LANDLOCK_RESTRICT_SELF), ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        with _opened(path) as descriptor:
            if not path.is_dir():
                access &= _FS_OF_FILES
            if access:
                # struct landlock_path_beneath_attr is packed: 12 bytes.
                rule = ctypes.create_string_buffer(struct.pack("=Qi", access, descriptor))
                _call(
                    "syscall",
                    ctypes.c_long(_SYS_LANDLOCK_ADD_RULE),
                    ctypes.c_int(ruleset),
                    ctypes.c_int(_LANDLOCK_RULE_PATH_BENEATH),
                    rule,
                    ctypes.c_uint(0),
                )
    except FileNotFoundError:
        pass
