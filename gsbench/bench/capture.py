"""What a stage prints goes to its log."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from gsbench.bench.store import make_folder


@contextlib.contextmanager
def captured(log: Path) -> Iterator[None]:
    """Send standard output and error, those of native code and child processes included, to the new file `log`.

    An exception leaves its traceback there on its way.
    """
    make_folder(log.parent)
    log.unlink(missing_ok=True)
    with (
        log.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as file,
        _descriptors(file.fileno()),
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):  # where the disk is full, that is the error to tell
                traceback.print_exc()
            raise


@contextlib.contextmanager
def _descriptors(target: int) -> Iterator[None]:
    """Let file descriptors 1 and 2 be `target` for a while."""
    _flush()
    saved = [os.dup(1), os.dup(2)]
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        with contextlib.suppress(OSError):
            _flush()
        for number, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _flush() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            stream.flush()
