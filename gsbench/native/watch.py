"""Which files are opened, by any process and any library: inotify(7), which the kernel has and Python lacks."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

_IN_OPEN: Final = 0x20
_IN_NONBLOCK: Final = os.O_NONBLOCK
_IN_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_EVENT: Final = struct.Struct("iIII")


class OpenWatch:
    """Notes which of some files are opened while the block runs, whoever does it.

        with OpenWatch(paths) as watch:
            ...
        watch.opened

    Where the system has no inotify, or no watch to spare, nothing is noted and `works` is False.

    Args:
        paths: the files; those that do not exist are left out.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)
        self._names: dict[int, Path] = {}
        self._descriptor = -1
        self.opened: list[Path] = []

    @property
    def works(self) -> bool:
        """Whether something is watched."""
        return bool(self._names)

    def __enter__(self) -> Self:
        if sys.platform != "linux":
            return self
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self._descriptor >= 0:
            for path in self._paths:
                number = libc.inotify_add_watch(self._descriptor, os.fsencode(path), ctypes.c_uint32(_IN_OPEN))
                if number >= 0:
                    self._names[number] = path
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor < 0:
            return
        found: dict[Path, None] = {}
        try:
            while data := os.read(self._descriptor, 1 << 16):
                place = 0
                while place < len(data):
                    number, _mask, _cookie, length = _EVENT.unpack_from(data, place)
                    place += _EVENT.size + length
                    if number in self._names:
                        found[self._names[number]] = None
        except BlockingIOError:
            pass
        finally:
            os.close(self._descriptor)
            self._descriptor = -1
        self.opened = list(found)
