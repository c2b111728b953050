"""`Interruption`: checkpoints of a training that is interrupted once, as if its process had been killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gsbench.training.checkpoint import State
from gsbench.training.checkpoint_folder import CheckpointFolder


class Interrupted(BaseException):
    """The training ends here. No `Exception`, so that no method takes it for an error of its own."""


class Interruption:
    """Checkpoints that end the training after half of its steps; see `gsbench.training.checkpoint.Checkpoints`.

    Args:
        folder: where checkpoints are kept.
        half_of: the number of steps of the whole training, after half of which the state is kept and `Interrupted`
            raised. None keeps nothing; a checkpoint that is there is used all the same.

    Fields:
        total: the number of steps that the method told, 0 if it offered nothing.
        stopped_at: after how many steps the training was interrupted.
        resumed_at: after how many steps it went on.
    """

    def __init__(self, folder: Path, half_of: int | None) -> None:
        self._kept = CheckpointFolder(folder, {"check": "resume"}, every=1)
        self._half_of = half_of
        self.total = self.stopped_at = self.resumed_at = 0

    def resume(self, load: Callable[[dict[str, Any]], object]) -> int:
        """See `Checkpoints`."""
        self.resumed_at = self._kept.resume(load)
        return self.resumed_at

    def offer(self, step: int, total: int, state: Callable[[], State]) -> None:
        """See `Checkpoints`."""
        self.total = total
        if self._half_of is not None and step >= self._half_of // 2:
            self._kept.offer(step, total, state)
            self.stopped_at = step
            raise Interrupted
