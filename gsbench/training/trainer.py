"""`Trainer`: the loop that trains a model on a scene."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.scenes.scene import Scene
from gsbench.splats import Camera
from gsbench.training.cameras import CameraIterator, TrainView
from gsbench.training.checkpoint import Checkpoints, NoCheckpoints
from gsbench.training.model import BaseGaussianModel
from gsbench.training.params import OptimizationParams, PipelineParams
from gsbench.training.results import LossPack, RenderResult
from gsbench.training.scheduler import Scheduler

#: Called with (step, total, values to show).
Progress = Callable[[int, int, Mapping[str, float]], None]

#: Steps between two calls of the progress function; reading the loss waits for the device.
PROGRESS_EVERY: Final = 25


def build_schedule(
    model: BaseGaussianModel,
    opt: OptimizationParams,
    pipe: PipelineParams,
    cameras: CameraIterator | type[CameraIterator] = CameraIterator,
) -> Scheduler:
    """The schedule of a model: its own tasks, registered into their phases. Needs no scene, so it can be shown before
    one is loaded.

    Raises:
        TaskError: if a task asks for something that cannot be injected.
    """
    scheduler = Scheduler(opt, pipe, cameras)
    with scheduler.registering("pre"):
        model.register_pre_task(scheduler, pipe, opt)
    with scheduler.registering("post"):
        model.register_post_task(scheduler, pipe, opt)
    with scheduler.registering("end"):
        model.register_end_task(scheduler, pipe, opt)
    return scheduler


class Trainer:
    """Trains `model` on the training views of `scene`.

    A step has the phases pre, render, loss, backward, post, optimizer and end. The model's tasks are in pre, post and
    end; render, loss, backward and optimizer step are tasks of the trainer, so that they are timed and shown alike.
    Post and end tasks run without autograd.

    Args:
        model: if it has no Gaussians yet, it starts from the scene's points.
        scene: only `train`, `points`, `extent` and `background` are used.
        opt: the schedule; the default if None.
        pipe: how to render; the default if None.
        seed: of the order of views, of the model's generator and of random backgrounds.
        device: where the model and the views live.
        threads: CPU threads during `train`; torch's present number if None.
        progress: called every `PROGRESS_EVERY` steps and at the end.
        checkpoint: where the state is kept now and then. Going on from what is there is the caller's part:
            ``checkpoint.resume(trainer.load_state_dict)`` before `train`.
    """

    def __init__(
        self,
        model: BaseGaussianModel,
        scene: Scene,
        opt: OptimizationParams | None = None,
        pipe: PipelineParams | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        threads: int | None = None,
        progress: Progress | None = None,
        checkpoint: Checkpoints | None = None,
    ) -> None:
        self.model = model
        self.opt = opt if opt is not None else OptimizationParams()
        self.pipe = pipe if pipe is not None else PipelineParams()
        self.device = torch.device(device)
        self.threads = threads
        self.progress = progress
        self.checkpoint: Checkpoints = checkpoint if checkpoint is not None else NoCheckpoints()
        #: The next step.
        self.step = 0

        self.cameras = CameraIterator(scene.train, _derived(seed, "views"), self.device)
        self._backgrounds = torch.Generator().manual_seed(_derived(seed, "backgrounds"))
        self._background = scene.background.to(self.device)
        model.device = self.device
        model.generator.manual_seed(_derived(seed, "model"))
        with self._threads():
            if len(model) == 0:
                model.create_from_scene(scene)
            model.training_setup(self.opt)

        self.scheduler = build_schedule(model, self.opt, self.pipe, self.cameras)
        every = range(self.opt.iterations)
        # Before anything else that a model may have put into these phases.
        for phase, function in (
            ("render", self._render),
            ("loss", self._loss),
            ("backward", self._backward),
            ("optimizer", self._optimize),
        ):
            self.scheduler.register_task(every, function, priority=-1_000_000, name=phase, phase=phase)

        self._values: dict[type, object] = {}
        self._loss_value: Tensor | None = None
        self._last_loss: Tensor | None = None

    def train(self) -> BaseGaussianModel:
        """Run the remaining steps and return the model.

        Raises:
            TaskError: if a task fails; the message names it and the step.
        """
        with self._threads():
            while self.step < self.opt.iterations:
                self.train_step()
                self.checkpoint.offer(self.step, self.opt.iterations, self.state_dict)
                if self.progress is not None and (self.step % PROGRESS_EVERY == 0 or self.step == self.opt.iterations):
                    self.progress(self.step, self.opt.iterations, self._shown())
        return self.model

    def train_step(self) -> None:
        """Run one step."""
        run, step, values = self.scheduler.run, self.step, self._values
        values[Camera] = self.cameras.sample()
        run("pre", step, values)
        run("render", step, values)
        run("loss", step, values)
        run("backward", step, values)
        with torch.no_grad():
            run("post", step, values)
        run("optimizer", step, values)
        with torch.no_grad():
            run("end", step, values)
        # Nothing of this step's graph outlives it.
        values.clear()
        self.step += 1

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything that training needs to go on from the next step as if it had not been interrupted."""
        return {
            "step": self.step,
            "model": self.model.state(),
            "training": self.model.training_state(),
            "cameras": self.cameras.state_dict(),
            "backgrounds": self._backgrounds.get_state(),
            "scheduler": self.scheduler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, on the same scene with the same settings."""
        with self._threads():
            self.model.load_state(state["model"])
            self.model.training_setup(self.opt)
            self.model.load_training_state(state["training"])
        self.cameras.load_state_dict(state["cameras"])
        self._backgrounds.set_state(state["backgrounds"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.step = int(state["step"])

    # The trainer's own tasks. Their errors are reported like those of all tasks.

    def _render(self, view: TrainView, step: int) -> None:
        background = self._background
        if self.opt.random_background:
            background = torch.rand(3, generator=self._backgrounds).to(self.device)
        self._values[RenderResult] = self.model.render(view, background, self.pipe, self.opt, step)

    def _loss(self, view: TrainView, result: RenderResult) -> None:
        self._loss_value, pack = self.model.loss_func(view, _without_masked(view, result), self.opt)
        self._values[LossPack] = pack

    def _backward(self) -> None:
        assert self._loss_value is not None
        self._loss_value.backward()  # type: ignore[no-untyped-call]
        self._last_loss, self._loss_value = self._loss_value.detach(), None

    def _optimize(self) -> None:
        self.model.optimizer_step()

    def _shown(self) -> dict[str, float]:
        loss = float("nan") if self._last_loss is None else float(self._last_loss)
        return {"loss": loss, "gaussians": float(len(self.model))}

    @contextlib.contextmanager
    def _threads(self) -> Iterator[None]:
        if self.threads is None:
            yield
            return
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _without_masked(view: TrainView, result: RenderResult) -> RenderResult:
    """The result for the loss: as the target, black where the view's mask says that pixels do not count, so that
    they have neither error nor gradient.
    """
    if view.mask is None:
        return result
    masked = copy.copy(result)
    masked.image = result.image.where(view.mask.to(result.image.device)[..., None], 0.0)
    masked.rendered_image = masked.image.permute(2, 0, 1)
    return masked


def _derived(seed: int, purpose: str) -> int:
    """A seed for one purpose: streams of different purposes do not repeat each other."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
