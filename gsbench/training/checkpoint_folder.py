"""`CheckpointFolder`: checkpoints as files.

    <folder>/000000001200/checkpoint.json        step, identity, times, plain values; sealed by a digest
    <folder>/000000001200/state.safetensors      the tensors; their size and SHA-256 are in checkpoint.json
    <folder>/000000001200.unusable/              one that could not be used

A checkpoint is written under a temporary name, brought to the disk, and renamed; then those before it are removed. So
at any moment, whatever has a number for a name is complete.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file

from gsbench import _files
from gsbench.errors import GsbenchError
from gsbench.training.checkpoint import State
from gsbench.training.packing import pack, to_json, unpack, write_tensors

SCHEMA: Final = "gsbench.checkpoint/1"

#: Without a given number of steps, a checkpoint is due after this time, in seconds,
AUTO_SECONDS: Final = 15.0
#: and after this many times what the last one took: a hundredth of the training's time goes into them.
AUTO_SHARE: Final = 100.0

_VALUES: Final = "checkpoint.json"
_TENSORS: Final = "state.safetensors"
_TEMPORARY: Final = ".tmp-"
_UNUSABLE: Final = ".unusable"

_log = logging.getLogger(__name__)


class CheckpointFolder:
    """Checkpoints of one training in a folder of their own; see `gsbench.training.checkpoint.Checkpoints`.

    Nothing about checkpoints fails a training. One that cannot be written is left out, one that cannot be used is set
    aside, and a note says so.

    Args:
        folder: need not exist.
        identity: what the training is, as JSON values: a checkpoint with another identity is not used.
        every: steps between checkpoints; 0 for none, None for one now and then, so that they cost about a hundredth
            of the time.
        device: where tensors return to that were not on the CPU.
        measure: called before a state is taken; gives further values to keep with the checkpoint (JSON). Those of the
            checkpoint that was used are in `earlier`.
        after: called when a checkpoint has been read or written, or could not be, and that memory is free again.
        on_resume: called with (step, total) where training goes on.
        on_note: called with each note, which also goes to the log.

    Fields:
        resumed: how many times this training has gone on from a checkpoint.
        earlier_seconds: time that went into the training before that, in seconds, up to the checkpoint that was used.
        overhead_seconds: time that this object has taken, reading and writing.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        every: int | None = None,
        device: torch.device | str = "cpu",
        measure: Callable[[], Mapping[str, Any]] = dict,
        after: Callable[[], None] = lambda: None,
        on_resume: Callable[[int, int], None] = lambda step, total: None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.folder: Final = folder
        self._identity = json.loads(json.dumps(dict(identity)))  # as it will be read back
        self._every = every
        self._device = torch.device(device)
        self._measure = measure
        self._after = after
        self._on_resume = on_resume
        self._on_note = on_note
        self.resumed = 0
        self.earlier: Mapping[str, Any] = {}
        self.earlier_seconds = 0.0
        self.overhead_seconds = 0.0
        self._begun = self._last = time.perf_counter()
        self._cost = 0.0
        self._notes: set[str] = set()

    def resume(self, load: Callable[[dict[str, Any]], object]) -> int:
        """See `gsbench.training.checkpoint.Checkpoints`."""
        begin = time.perf_counter()
        before = _random_state(self._device)
        step = 0
        for path in sorted(self._complete(), reverse=True):
            try:
                found = self._read(path)
                load(found.state)
            except (MemoryError, torch.OutOfMemoryError):
                raise  # the fault is not the checkpoint's
            except Exception as error:
                _set_random_state(before)
                self._set_aside(path, error)
                continue
            # Last, because loading may have drawn numbers.
            _set_random_state(found.random)
            step = found.step
            self.resumed, self.earlier_seconds, self.earlier = found.resumed + 1, found.seconds, found.measured
            self._on_resume(step, found.total)
            _log.info("resuming at step %d of %d", step, found.total)
            del found
            self._after()
            break
        self._last = time.perf_counter()
        self.overhead_seconds += self._last - begin
        return step

    def offer(self, step: int, total: int, state: Callable[[], State]) -> None:
        """See `gsbench.training.checkpoint.Checkpoints`."""
        if not self._is_due(step, total):
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # what is still being computed is no cost of the checkpoint
        begin = time.perf_counter()
        seconds = self.earlier_seconds + begin - self._begun - self.overhead_seconds
        until_now = {"seconds": seconds, "resumed": self.resumed, "measured": dict(self._measure())}
        try:
            self._write({"step": step, "total": total, **until_now}, state())
        except OSError as error:
            self._note(f"no checkpoint could be written: {error.strerror or error} ({self.folder}); training goes on")
        except Exception as error:
            reason = str(error) if isinstance(error, GsbenchError) else f"{type(error).__name__}: {error}"
            self._note(f"no checkpoints are written: the state of this training cannot be kept: {reason}")
            _log.debug("taking the state for a checkpoint", exc_info=True)
            self._every = 0
        self._after()
        self._last = time.perf_counter()
        self._cost = self._last - begin
        self.overhead_seconds += self._cost

    def _is_due(self, step: int, total: int) -> bool:
        if step >= total:
            return False
        if self._every is None:
            return time.perf_counter() - self._last >= max(AUTO_SECONDS, AUTO_SHARE * self._cost)
        return self._every > 0 and step % self._every == 0

    def _write(self, values: Mapping[str, Any], state: State) -> None:
        content = {"state": state, "random": _random_state(self._device)}
        packed, tensors = pack(content, "the training's state", root="")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove(p for p in self.folder.iterdir() if p.name.startswith(_TEMPORARY))
        temporary = self.folder / f"{_TEMPORARY}{secrets.token_hex(4)}"
        try:
            temporary.mkdir()
            write_tensors(tensors, temporary / _TENSORS)
            _files.sync(temporary / _TENSORS)
            size, sha256 = _files.describe(temporary / _TENSORS)
            header = {
                "schema": SCHEMA,
                "identity": self._identity,
                **values,
                "tensors": {"bytes": size, "sha256": sha256},
                "values": packed,
            }
            (temporary / _VALUES).write_text(to_json({**header, "seal": _digest(header)}))
            _files.sync(temporary / _VALUES)
            _files.sync(temporary)
            path = self.folder / f"{values['step']:012d}"
            if path.exists():
                self._remove([path])
            temporary.rename(path)
            _files.sync(self.folder)
            _files.sync(self.folder.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._remove(p for p in self._complete() if p != path)

    def _read(self, path: Path) -> _Checkpoint:
        """A checkpoint from its folder.

        Raises:
            Exception: of many kinds, if it is damaged, or of another training.
        """
        content = json.loads((path / _VALUES).read_bytes())
        seal = content.pop("seal")
        if seal != _digest(content):
            raise ValueError(f"{_VALUES} is damaged")
        if content["schema"] != SCHEMA:
            raise ValueError(f"it has the format {content['schema']!r}, expected {SCHEMA!r}")
        for name in sorted({*content["identity"], *self._identity}):
            theirs, mine = content["identity"].get(name), self._identity.get(name)
            if theirs != mine:
                raise ValueError(f"it is of another training: {name} {theirs!r}, expected {mine!r}")
        if _files.describe(path / _TENSORS) != (content["tensors"]["bytes"], content["tensors"]["sha256"]):
            raise ValueError(f"{_TENSORS} is damaged")
        kept = unpack(content["values"], load_file(path / _TENSORS), self._device)
        return _Checkpoint(
            step=int(content["step"]),
            total=int(content["total"]),
            seconds=float(content["seconds"]),
            resumed=int(content["resumed"]),
            measured=content["measured"],
            state=kept["state"],
            random=kept["random"],
        )

    def _complete(self) -> list[Path]:
        """The checkpoints that are there."""
        try:
            return [path for path in self.folder.iterdir() if path.name.isdecimal()]
        except OSError:
            return []

    def _set_aside(self, path: Path, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError | GsbenchError) else error
        self._note(f"the checkpoint of step {int(path.name):,} cannot be used and was set aside: {reason}")
        aside = path.with_name(path.name + _UNUSABLE)
        self._remove([aside])
        try:
            path.rename(aside)
        except OSError as problem:
            _log.warning("%s: %s", path, problem.strerror)

    def _remove(self, paths: Any) -> None:
        """Remove checkpoints, each under a name that nobody takes for a checkpoint."""
        for path in list(paths):
            away = path
            try:
                if not path.name.startswith(_TEMPORARY):
                    away = path.rename(path.with_name(f"{_TEMPORARY}{secrets.token_hex(4)}"))
            except FileNotFoundError:
                continue
            except OSError as problem:
                _log.warning("%s: %s", path, problem.strerror)
                continue
            shutil.rmtree(away, ignore_errors=True)

    def _note(self, text: str) -> None:
        """Say something, once."""
        if text not in self._notes:
            self._notes.add(text)
            _log.warning(text)
            self._on_note(text)


@dataclass(frozen=True)
class _Checkpoint:
    step: int
    total: int
    seconds: float
    resumed: int
    measured: Mapping[str, Any]
    state: dict[str, Any]
    random: dict[str, Any]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _random_state(device: torch.device) -> dict[str, Any]:
    """The states of the global random generators."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device).cpu()
        state["cuda_device"] = str(device)
    return state


def _set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], state["cuda_device"])
