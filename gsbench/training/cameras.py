"""`CameraIterator`: the training views, and the order in which training visits them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.errors import SceneError
from gsbench.scenes.scene import View

#: Targets are kept as float32 if all of them together take at most this many bytes; otherwise they are converted
#: from uint8 whenever they are needed.
TARGET_CACHE_BYTES: Final = 512 * 2**20


@dataclass(frozen=True, eq=False)
class TrainView(View):
    """A training view with its matrices and its ground truth on the training device."""

    keep_target: bool = field(default=True, repr=False)

    @property
    def target(self) -> Tensor:
        """Ground truth, float32 [H, W, 3] in [0, 1]; black where a mask says that pixels do not count."""
        return self._kept_target if self.keep_target else self._make_target()

    @property
    def original_image(self) -> Tensor:
        """Ground truth as the original code has it: float32 [3, H, W] in [0, 1]."""
        return self.target.permute(2, 0, 1)

    @cached_property
    def _kept_target(self) -> Tensor:
        return self._make_target()

    def _make_target(self) -> Tensor:
        pixels = self.pixels if self.mask is None else self.pixels * self.mask[..., None]
        return pixels.to(self.viewmat.device).float() / 255.0

    @staticmethod
    def of(view: View, device: torch.device | str, keep_target: bool) -> TrainView:
        """`view` with its matrices on `device`."""
        return TrainView(
            name=view.name,
            viewmat=view.viewmat.to(device),
            K=view.K.to(device),
            width=view.width,
            height=view.height,
            # Through the view itself, so that the pixels are read and held once.
            load_image=None if view.load_image is None else lambda: view.pixels.numpy(),
            load_mask=view.load_mask,
            keep_target=keep_target,
        )


class CameraIterator:
    """The training views of a scene.

    Iterating visits every view once, by name, and does not touch the order of training. `sample` is what
    training calls: every view once in random order, then again in another order, and so on.

    Args:
        views: at least one.
        seed: of the generator (of the CPU) that shuffles.
        device: where the matrices and targets go.

    Raises:
        SceneError: if there is no view.
    """

    def __init__(self, views: Sequence[View], seed: int = 0, device: torch.device | str = "cpu") -> None:
        if not views:
            raise SceneError("the scene has no training views: expected at least one")
        floats = sum(3 * v.width * v.height for v in views)
        keep = 4 * floats <= TARGET_CACHE_BYTES
        self.views: tuple[TrainView, ...] = tuple(TrainView.of(v, device, keep) for v in views)
        self._generator = torch.Generator().manual_seed(seed)
        self._upcoming: list[int] = []

    def __len__(self) -> int:
        return len(self.views)

    def __iter__(self) -> Iterator[TrainView]:
        return iter(self.views)

    def __getitem__(self, index: int) -> TrainView:
        return self.views[index]

    def sample(self) -> TrainView:
        """The next view to train on."""
        if not self._upcoming:
            self._upcoming = torch.randperm(len(self.views), generator=self._generator).tolist()
        return self.views[self._upcoming.pop()]

    def state_dict(self) -> dict[str, Any]:
        """The rest of the current order and the generator's state."""
        return {"upcoming": list(self._upcoming), "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: if the state is of another set of views.
        """
        upcoming = [int(i) for i in state["upcoming"]]
        if any(not 0 <= i < len(self.views) for i in upcoming):
            raise ValueError(f"upcoming: expected indices below {len(self.views)}, got {upcoming}")
        self._upcoming = upcoming
        self._generator.set_state(state["generator"])
