"""The classes that a method implements: `Method`, `Model`, `Renderable`."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol, runtime_checkable

from gsbench.training.checkpoint import Checkpoints, NoCheckpoints

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gsbench.artifact import ArtifactReader, ArtifactWriter
    from gsbench.scenes import Scene
    from gsbench.splats import Camera, Splats

Stage = Literal["train", "encode"]

#: Key in a dataclass field's metadata that says which stage a Config field belongs to.
CONFIG_STAGE_KEY: Final = "gsbench.stage"

#: Called with (step, total, values to show); must be cheap.
TrainProgress = Callable[[int, int, Mapping[str, float]], None]


def field(*, stage: Stage = "train", help: str = "", **kwargs: Any) -> Any:
    """A dataclass field of a method's Config.

    Args:
        stage: "encode" keeps the field out of the train key, so that changing it retrains nothing.
        help: one line for ``gsbench plugins METHOD``.
        kwargs: as for `dataclasses.field` (default, default_factory, ...).

    Returns:
        The field, as `dataclasses.field` does.
    """
    metadata = {**kwargs.pop("metadata", {}), CONFIG_STAGE_KEY: stage, "help": help}
    return dataclasses.field(metadata=metadata, **kwargs)


@dataclass(frozen=True)
class Context:
    """What a stage knows besides its inputs.

    Fields:
        device: where tensors live.
        threads: CPU threads the stage may use.
        seed: every random choice derives from it.
        workdir: an empty folder of the stage's own, deleted afterwards.
        iterations: training steps if ``--iterations`` was given, else None (the method's own number).
        base: the base method's decoded Gaussians, for methods that have a base.
        progress: to be called now and then during long stages.
        checkpoint: keeps the state of a long `fit` now and then, so that one that was killed goes on where it was;
            see `gsbench.training.checkpoint.Checkpoints`. A method that does not use it starts over.
    """

    device: torch.device
    threads: int
    seed: int
    workdir: Path
    iterations: int | None = None
    base: Splats | None = None
    progress: TrainProgress = lambda step, total, values: None
    checkpoint: Checkpoints = dataclasses.field(default_factory=NoCheckpoints)


@runtime_checkable
class Renderable(Protocol):
    """Something that turns cameras into images: a decoded artifact.

    Where the Gaussians depend on the view, an object may have two methods more: ``gaussians(camera)``, the `Gaussians`
    with direct colors that one camera sees (what ``render`` draws there; the viewer of leaderboards bakes them), and
    ``decoded_tensors()``, a dict of name to tensor with all that was decoded, whose hash records have: only where it is
    the same on every machine. With `splats`, neither is needed.
    """

    def render(self, camera: Camera, background: Tensor) -> Tensor:
        """One view.

        Args:
            camera: of any size.
            background: RGB in [0, 1], float32 [3].

        Returns:
            The image, float32 [H, W, 3], nominally in [0, 1], not clamped.
        """
        ...

    def splats(self) -> Splats:
        """The Gaussians themselves.

        Raises:
            NotImplementedError: if the representation has none that serve every view.
        """
        ...


class Model(ABC):
    """What `fit` hands to `encode`. It is saved between the two, and is itself renderable."""

    @abstractmethod
    def render(self, camera: Camera, background: Tensor) -> Tensor:
        """One view, float32 [H, W, 3], not clamped, over `background`, float32 [3]; as `Renderable.render`."""

    def splats(self) -> Splats:
        """The Gaussians themselves.

        Raises:
            NotImplementedError: if the representation has none that serve every view.
        """
        raise NotImplementedError(f"{type(self).__name__} does not export Gaussians")

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What the model consists of, enough for `from_state`: a dict of tensors, plain values (None, bool, int, float,
        str), and dicts with text keys and lists of these. It is written to disk between `fit` and `encode`.
        """

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any], config: Any) -> Model:
        """The model that `state` described.

        Args:
            state: from `state`, its tensors on the device of the stage; tuples have become lists.
            config: the method's Config.
        """


class Method(ABC):
    """A compression method.

    `fit` and `encode` run where only the training views exist; `decode` runs in a fresh, isolated process that has
    the artifact and nothing else. Instances are created without arguments and keep no state.
    """

    #: A dataclass; every field is settable with ``--set METHOD.field=value``.
    Config: ClassVar[type]
    #: The class of what `fit` returns, so that a saved model can be restored.
    model_class: ClassVar[type[Model]]

    @abstractmethod
    def fit(self, scene: Scene, config: Any, context: Context) -> Model:
        """Train on `scene.train`, or take `context.base`.

        Args:
            scene: with training views alone; `scene.test` is empty.
            config: an instance of `Config`.
            context: device, seed, number of steps, base.

        Returns:
            The model, an instance of `model_class`.

        Raises:
            UsageError: if the method needs something that is not there, such as a base.
        """

    def from_splats(self, splats: Splats, config: Any, context: Context) -> Model:
        """A model made of these Gaussians, without photos or training: what ``gsbench encode`` starts from.

        Methods with a base need not override it: what they make of `context.base` in `fit` is used, with a scene that
        raises `UsageError` when it is looked at.

        Raises:
            NotImplementedError: if the method can only train a model of its own; the message says why.
        """
        raise NotImplementedError("it trains its own from photos")

    @abstractmethod
    def encode(self, model: Any, config: Any, out: ArtifactWriter, context: Context) -> None:
        """Write everything that `decode` needs. Must be deterministic: the same model gives the same bytes, in every
        process, with any number of threads.

        Args:
            model: from `fit` or `from_splats`, or restored from its state; it must not be changed.
            config: an instance of `Config`.
            out: takes sections, or one native file.
            context: device, threads, and the base, for methods that have one.
        """

    @classmethod
    @abstractmethod
    def decode(cls, artifact: ArtifactReader, context: Context) -> Renderable:
        """Restore a renderable from the bytes of the artifact alone, in a process that has nothing else.

        Args:
            artifact: opened; its header and table were checked, its sections are when they are read.
            context: device and threads; no base, no checkpoint.

        Raises:
            ArtifactError: if the bytes are damaged or truncated.
        """

    @classmethod
    def counts(cls, decoded: Renderable) -> dict[str, int]:
        """Numbers for the record: "gaussians", how many are drawn (of anchor methods: live offsets), and "anchors"
        where there are any.

        Raises:
            NotImplementedError: if `decoded` has no `splats`; then override this.
        """
        return {"gaussians": len(decoded.splats())}
