"""Sets of steps: an int, a range, or any iterable of ints, asked for the next step at or after a given one."""

from __future__ import annotations

import bisect
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sized
from typing import SupportsIndex

#: What `register_task` accepts as its first argument.
StepsLike = SupportsIndex | Iterable[SupportsIndex]


class Steps(ABC):
    """A set of steps, none below 0."""

    @abstractmethod
    def next_from(self, step: int) -> int | None:
        """The smallest member that is at least `step`, or None."""

    @abstractmethod
    def count(self) -> int | None:
        """How many members there are, None if that is not known in advance."""

    @abstractmethod
    def last(self) -> int | None:
        """The largest member, None if there is none or it is not known in advance."""

    @abstractmethod
    def spacing(self) -> str:
        """For tables: the distance between members, or a word for it."""


class RangeSteps(Steps):
    """The members of a `range`, in O(1) memory and time, whatever its length, direction and sign."""

    def __init__(self, members: range) -> None:
        if members.step < 0:
            members = members[::-1]
        if members and members.start < 0:
            skipped = -(members.start // members.step)
            members = members[skipped:]
        self._members = members

    def next_from(self, step: int) -> int | None:
        members = self._members
        if not members or step > members[-1]:
            return None
        if step <= members.start:
            return members.start
        index = -((members.start - step) // members.step)
        return members[index]

    def count(self) -> int:
        return len(self._members)

    def last(self) -> int | None:
        return self._members[-1] if self._members else None

    def spacing(self) -> str:
        return str(self._members.step) if len(self._members) > 1 else _few(self._members)


class ListedSteps(Steps):
    """The members of a collection, in any order, duplicates once."""

    def __init__(self, members: Iterable[int]) -> None:
        self._members = sorted({m for m in members if m >= 0})

    def next_from(self, step: int) -> int | None:
        index = bisect.bisect_left(self._members, step)
        return self._members[index] if index < len(self._members) else None

    def count(self) -> int:
        return len(self._members)

    def last(self) -> int | None:
        return self._members[-1] if self._members else None

    def spacing(self) -> str:
        return "listed" if len(self._members) > 1 else _few(self._members)


class IteratedSteps(Steps):
    """The members that an iterator yields, read as they are needed, so that it may be endless.

    It must not decrease, and can only be asked for steps that do not decrease either.
    """

    def __init__(self, members: Iterator[SupportsIndex]) -> None:
        self._members = members
        self._current: int | None = -1
        self._asked = 0

    def next_from(self, step: int) -> int | None:
        if step < self._asked:
            raise ValueError("an iterator of steps cannot go back; register the task with a range or a list")
        self._asked = step
        while self._current is not None and self._current < step:
            try:
                value = as_step(next(self._members))
            except StopIteration:
                self._current = None
                break
            if value < 0:
                continue
            if value < self._current:
                raise ValueError(f"an iterator of steps must not decrease, got {value} after {self._current}")
            self._current = value
        return self._current

    def count(self) -> None:
        return None

    def last(self) -> None:
        return None

    def spacing(self) -> str:
        return "iterator"


def _few(members: Sized) -> str:
    return "once" if len(members) else "never"


def as_step(value: object) -> int:
    """`value` as an int.

    Raises:
        TypeError: if it is not an integer (booleans and floats are not).
    """
    message = f"expected steps to be ints, got {value!r} of type {type(value).__name__}"
    # A mask, passed by mistake, would otherwise be the steps 0 and 1.
    is_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")) == "torch.bool"
    if is_bool or not isinstance(value, SupportsIndex):
        raise TypeError(message)
    try:
        return operator.index(value)
    except TypeError:  # a tensor of floats, say
        raise TypeError(message) from None


def make_steps(value: StepsLike) -> Steps:
    """The set of steps that `value` describes: an int is one step; a range, a collection or an iterator are many.

    Raises:
        TypeError: if it is none of these, or holds something that is not an int.
    """
    if isinstance(value, range):
        return RangeSteps(value)
    # Arrays and tensors have __index__ too, for their 0-dimensional form.
    if isinstance(value, SupportsIndex) and not getattr(value, "ndim", 0):
        step = as_step(value)
        return RangeSteps(range(step, step + 1))
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"expected an int, a range or an iterable of ints, got {type(value).__name__}")
    if isinstance(value, Sized):
        return ListedSteps(as_step(v) for v in value)
    return IteratedSteps(iter(value))
