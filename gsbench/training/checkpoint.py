"""Where a training keeps its state, so that it can go on after it was killed: the interface that methods use.

Needs no torch. `gsbench.training.checkpoint_folder` is the implementation that runs use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

#: A state: tensors, arrays, random generators of torch and NumPy, and plain values, in dicts, lists and tuples.
State = Mapping[str, Any]


class Checkpoints(Protocol):
    """The checkpoints of one training.

        first = context.checkpoint.resume(load)
        for step in range(first, steps):
            ...
            context.checkpoint.offer(step + 1, steps, state)

    What `state` returns must be all that the training changes as it goes: parameters, optimizers, generators of its
    own, the order of views. The global random generators of torch, NumPy and Python are kept and restored besides.
    """

    def resume(self, load: Callable[[dict[str, Any]], object]) -> int:
        """Go on from the newest checkpoint that can be used.

        Args:
            load: restores what `state` returned. It may be called several times, for older and older checkpoints, if
                it raises; then nothing that it has done may take effect. Restore into new objects, therefore. Tensors
                come back on the device they were on, contiguous, and belong to the callee.

        Returns:
            The step to go on with, 0 if there is no checkpoint.
        """
        ...

    def offer(self, step: int, total: int, state: Callable[[], State]) -> None:
        """Keep the state after `step` of `total` steps, if it is time to. To be called after every step; must be cheap.

        Args:
            step: number of steps done.
            total: number of steps of the whole training, after which nothing is kept.
            state: called only if it is time. What it returns is written at once, so that it need not be copied.
        """
        ...


class NoCheckpoints:
    """Keeps nothing."""

    def resume(self, load: Callable[[dict[str, Any]], object]) -> int:
        """See `Checkpoints`."""
        return 0

    def offer(self, step: int, total: int, state: Callable[[], State]) -> None:
        """See `Checkpoints`."""
