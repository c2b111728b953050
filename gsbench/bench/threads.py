"""How many threads the libraries of a process use, and how these wait for each other. Imports nothing heavy: all of it
must be said before torch and OpenMP are loaded.
"""

from __future__ import annotations

import os
from typing import Final

_COUNTS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

#: A thread that waits by spinning takes the core from the one it waits for as soon as anything else runs on the
#: machine, and training beside other work then slows down by far more than its share. One that sleeps at once takes
#: some 50 microseconds to wake, several hundred times a step. So they spin for about as long, and then sleep. (GNU's
#: OpenMP, which torch uses on Linux, knows the second variable; others wait passively.)
WAITING: Final = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "5000"}


def thread_counts(count: int) -> dict[str, str]:
    """The variables that set the number of threads."""
    return dict.fromkeys(_COUNTS, str(count))


def set_threads(count: int | None = None) -> None:
    """Set the number of threads of libraries that are loaded from now on, unless it is None, and how they wait, unless
    the user has said so.
    """
    if count is not None:
        os.environ.update(thread_counts(count))
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in WAITING.items():
            os.environ.setdefault(name, value)
