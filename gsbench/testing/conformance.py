"""`MethodConformance`: what every method must hold, as a test class for plugin authors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pytest
import torch

from gsbench.artifact import open_artifact
from gsbench.bench import decode_sealed
from gsbench.bench.model_files import load_state
from gsbench.bench.settings import build_config, resolve_config
from gsbench.errors import GsbenchError
from gsbench.scenes import Scene
from gsbench.splats import Splats
from gsbench.testing.case import Case
from gsbench.testing.damage import Damage, flips, truncations
from gsbench.testing.samples import orbit_cameras, random_splats, tiny_scene

#: Renders of one artifact in two processes may differ by this much (colors are in [0, 1]).
_RENDER_TOLERANCE: Final = 1e-4


class MethodConformance:
    """Tests that every method passes, on a scene of a few tiny photographs.

    Subclass it in the plugin's tests, and run pytest::

        from gsbench.testing import MethodConformance

        class TestMine(MethodConformance):
            method = "mine"

    The model is trained once per class; most of the time goes into the fresh processes (a few seconds each).

    Attributes:
        method: name of the method.
        settings: overrides of its Config, ``{"codes": 16}``, on top of its default rate point.
        iterations: training steps, as ``--iterations`` would say; None for the method's own number.
        timeout: seconds that each fresh process may take.
    """

    method: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}
    iterations: ClassVar[int | None] = 20
    timeout: ClassVar[float] = 300.0

    #: One case per subclass, made by `case`.
    _case: ClassVar[Case | None] = None

    def make_scene(self) -> Scene:
        """The scene to train on; override for methods that need another."""
        return tiny_scene()

    def make_base(self) -> Splats:
        """What methods with a base get as `Context.base`; override for methods that need something else."""
        return random_splats(300)

    @pytest.fixture
    def case(self, tmp_path_factory: pytest.TempPathFactory) -> Case:
        """The method under test, trained when a test first needs it."""
        cls = type(self)
        if "_case" not in vars(cls) or cls._case is None:
            cls._case = self.make_case(tmp_path_factory.mktemp(cls.__name__))
        return cls._case

    def make_case(self, folder: Path) -> Case:
        """A new case that writes below `folder`."""
        return Case(
            self.method, self.settings, self.iterations, self.make_scene(), self.make_base(), folder, self.timeout
        )

    def test_listing_imports_no_torch(self, case: Case) -> None:
        """``gsbench plugins`` stays fast: the plugin module and what it imports do without torch."""
        (report,) = case.run_child("list", {})
        assert not report["torch"], f"listing the plugins of {report['origin']} imports torch; use a lazy target"

    def test_rate_points_fit_the_config(self, case: Case) -> None:
        """Every rate point sets fields that the Config has, to values of their types."""
        for rate in case.spec.rates:
            try:
                values = resolve_config(case.method, case.cls.Config, rate.settings, [])
                build_config(case.cls.Config, values)
            except GsbenchError as error:
                raise AssertionError(f"rate point {rate.name!r}: {error}") from error

    def test_no_held_out_image_is_touched(self, case: Case) -> None:
        """`fit` looks at the training views alone."""
        failure: Exception | None = None
        try:
            _ = case.model
        except Exception as error:
            failure = error
        assert not case.touched, f"fit opened held-out images: {', '.join(sorted(set(case.touched)))}"
        if failure is not None:
            raise failure

    def test_encoding_in_two_processes_gives_equal_bytes(self, case: Case) -> None:
        """The artifact depends neither on the process, nor on its threads, folders or hash seed."""
        first = case.artifact.read_bytes()
        second = case.encode_afresh(threads=2, hash_seed=2).read_bytes()
        assert first == second, (
            f"two processes encoded the same model to different bytes ({len(first)} and {len(second)} bytes, "
            f"the first difference at byte {_first_difference(first, second)})"
        )

    def test_encoding_leaves_the_model_as_it_was(self, case: Case) -> None:
        """Encoding the same object twice gives the same bytes."""
        assert case.encode_here(case.model) == case.encode_here(case.model), "encode changes the model that it is given"

    def test_the_state_is_the_whole_model(self, case: Case) -> None:
        """A model that was saved and restored encodes to the same bytes, and looks the same."""
        state = load_state(case.state, torch.device("cpu"))
        restored = case.cls.model_class.from_state(state, case.config)
        assert case.encode_here(restored) == case.encode_here(case.model), (
            "a model restored from its state encodes to other bytes"
        )
        view = case.scene.train[0]
        with torch.no_grad():
            before, after = (m.render(view, case.scene.background) for m in (case.model, restored))
        assert _difference(before, after) <= _RENDER_TOLERANCE, "a model restored from its state renders differently"

    def test_the_size_is_the_size_of_the_one_file(self, case: Case) -> None:
        """`encode` writes one file, and its parts add up to its size."""
        files = sorted(path.name for path in case.artifact.parent.iterdir())
        assert files == [case.artifact.name], f"encode left other files beside the artifact: {files}"
        size = case.artifact.stat().st_size
        assert sum(length for _, length in case.parts) == size, f"the parts {case.parts} do not add up to {size} bytes"
        artifact = open_artifact(case.artifact)
        if not artifact.is_native:
            assert artifact.method == case.method

    def test_decodes_in_a_sealed_process(self, case: Case) -> None:
        """The artifact alone is enough, and gives the same images in a process that has nothing else."""
        views = list(case.scene.test) or list(case.scene.train)
        out = case.new_folder("sealed")
        try:
            result = decode_sealed(
                case.method, case.artifact, views, case.scene.background, "cpu", 1, out, timeout=case.timeout
            )
        except GsbenchError as error:
            raise AssertionError(f"the artifact does not decode in a sealed process: {error}") from error
        assert len(result.frames) == len(views)
        for view, path in zip(views, result.frames, strict=True):
            frame = torch.from_numpy(np.load(path, allow_pickle=False))
            assert _difference(frame, case.render(view)) <= _RENDER_TOLERANCE, (
                f"{view.name}: a sealed process renders another image than this one"
            )

    def test_renders_any_camera(self, case: Case) -> None:
        """Images are finite float32 [H, W, 3], of cameras of any size, and the same each time."""
        for width, height in ((32, 24), (17, 11), (1, 1)):
            camera = orbit_cameras(3, width, height)[1]
            image = case.render(camera)
            assert isinstance(image, torch.Tensor), f"render returned {type(image).__name__}"
            assert image.dtype == torch.float32, f"render returned {image.dtype}, expected float32"
            assert list(image.shape) == [height, width, 3], f"expected [{height}, {width}, 3], got {list(image.shape)}"
            assert bool(image.isfinite().all()), "render returned NaN or infinity"
            assert _difference(image, case.render(camera)) <= _RENDER_TOLERANCE, "rendering again gives another image"

    def test_counts_are_numbers_of_what_there_is(self, case: Case) -> None:
        """`counts` gives whole numbers of "gaussians" and, where there are any, "anchors"."""
        try:
            counts = case.cls.counts(case.decoded)
        except NotImplementedError:
            return  # a representation without Gaussians has nothing to count
        assert set(counts) <= {"gaussians", "anchors"}, f"unknown counts: {sorted(counts)}"
        for name, value in counts.items():
            assert type(value) is int, f"{name}: expected an int, got {value!r}"
            assert value >= 0, f"{name}: {value} is negative"
        try:
            splats = case.decoded.splats()
        except NotImplementedError:
            return
        assert counts.get("gaussians") == len(splats), f"{len(splats)} Gaussians were decoded, counts says {counts}"

    def test_truncated_artifacts_are_refused(self, case: Case) -> None:
        """An artifact that was cut off anywhere raises `ArtifactError`."""
        damages = truncations(case.parts)
        for damage, result in zip(damages, case.decode_damaged(damages), strict=True):
            assert result == "refused", _complaint(case, damage, result)

    def test_corrupted_artifacts_are_refused(self, case: Case) -> None:
        """A flipped bit or an extra byte raises `ArtifactError`. Native formats, which have no checksums, may decode
        to something else instead; any other error is wrong for them too.
        """
        damages = [*flips(case.parts), Damage("append", 0)]
        allowed = {"refused", "decoded"} if open_artifact(case.artifact).is_native else {"refused"}
        for damage, result in zip(damages, case.decode_damaged(damages), strict=True):
            assert result in allowed, _complaint(case, damage, result)


def _complaint(case: Case, damage: Damage, result: str) -> str:
    what = "decodes as if nothing had happened" if result == "decoded" else f"raises {result}"
    return f"an artifact {case.describe(damage)} {what}; expected ArtifactError"


def _first_difference(first: bytes, second: bytes) -> int:
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _difference(first: torch.Tensor, second: torch.Tensor) -> float:
    """Largest absolute difference; infinite for other shapes."""
    if first.shape != second.shape:
        return float("inf")
    return float((first.double() - second.double()).abs().max()) if first.numel() else 0.0
