"""The same work for every view, several views at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

#: Memory that views in work may take together, bytes.
ROOM: Final = 2 << 30


def over_views(
    function: Callable[[T], R],
    views: Sequence[T],
    bytes_per_view: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[R]:
    """``[function(view) for view in views]``, several views at a time, each with its share of torch's threads.

    One view per thread is faster than all threads in one view: PNG files and photographs are coded by one thread
    anyway, and nothing waits at the end of a view's loops. `function` must take several calls at once, and its results
    must not depend on the number of torch's threads. How long it takes must not matter: views disturb each other.

    Args:
        function: releases the interpreter's lock where it works, as torch, NumPy, Pillow and the native library do.
        views: what it is called with.
        bytes_per_view: memory that a call takes; so many run at a time as fit into `ROOM`, one at least.
        progress: called with the number of results that are there, by the calling thread.

    Raises:
        Exception: the first in the order of the views; views not yet begun are left out.
    """
    threads = torch.get_num_threads()
    workers = max(1, min(threads, ROOM // max(1, bytes_per_view)))
    workers = min(workers, len(views))
    results: list[R] = []

    def take(result: R) -> None:
        results.append(result)
        progress(len(results))

    if workers <= 1:
        for view in views:
            take(function(view))
        return results
    with _torch_threads(threads // workers), ThreadPoolExecutor(workers, "gsbench-view") as pool:
        try:
            for task in [pool.submit(function, view) for view in views]:
                take(task.result())
        finally:
            pool.shutdown(cancel_futures=True)
    return results


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Give the threads that are started in this context so many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
