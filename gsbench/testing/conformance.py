"""`MethodConformance`: what every method must hold, as a test class for plugin authors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gsbench.scenes import Scene
from gsbench.splats import Splats
from gsbench.testing import checks
from gsbench.testing.case import Case
from gsbench.testing.samples import random_splats, tiny_scene


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
        checks.listing_imports_no_torch(case)

    def test_rate_points_fit_the_config(self, case: Case) -> None:
        """Every rate point sets fields that the Config has, to values of their types."""
        checks.rate_points_fit_the_config(case)

    def test_no_held_out_image_is_touched(self, case: Case) -> None:
        """`fit` looks at the training views alone, whatever way it opens files."""
        checks.no_held_out_image_is_touched(case)

    def test_encoding_touches_no_held_out_image(self, case: Case) -> None:
        """`encode` looks at no held-out image either, in this process or in a fresh one."""
        checks.encoding_touches_no_held_out_image(case)

    def test_encoding_in_two_processes_gives_equal_bytes(self, case: Case) -> None:
        """The artifact depends neither on the process, nor on its threads, folders or hash seed."""
        checks.encoding_in_two_processes_gives_equal_bytes(case)

    def test_encoding_leaves_the_model_as_it_was(self, case: Case) -> None:
        """Encoding the same object twice gives the same bytes."""
        checks.encoding_leaves_the_model_as_it_was(case)

    def test_the_state_is_the_whole_model(self, case: Case) -> None:
        """A model that was saved and restored encodes to the same bytes, and looks the same."""
        checks.the_state_is_the_whole_model(case)

    def test_resuming_gives_the_same_bytes(self, case: Case) -> None:
        """A training that was interrupted and goes on from a checkpoint ends in the same artifact.

        Methods that do not use `context.checkpoint` start over when they are interrupted, which is fine.
        """
        checks.resuming_gives_the_same_bytes(case)

    def test_the_size_is_the_size_of_the_one_file(self, case: Case) -> None:
        """`encode` writes one file, and its parts add up to its size."""
        checks.the_size_is_the_size_of_the_one_file(case)

    def test_the_header_is_small(self, case: Case) -> None:
        """The header says what decoding needs to know; data is in sections, where its bytes have a name."""
        checks.the_header_is_small(case)

    def test_no_held_out_photograph_is_inside(self, case: Case) -> None:
        """The artifact holds no part of a held-out photograph, as pixels or as the photo's file, encoded or not."""
        checks.no_held_out_photograph_is_inside(case)

    def test_decodes_in_a_sealed_process(self, case: Case) -> None:
        """The artifact alone is enough, and gives the same images in a process that has nothing else: no network, no
        home folder, no results folder, nothing that encoding left in memory.
        """
        checks.decodes_in_a_sealed_process(case)

    def test_renders_any_camera(self, case: Case) -> None:
        """Images are finite float32 [H, W, 3], of cameras of any size, and the same each time."""
        checks.renders_any_camera(case)

    def test_counts_are_numbers_of_what_there_is(self, case: Case) -> None:
        """`counts` gives whole numbers of "gaussians" and, where there are any, "anchors"."""
        checks.counts_are_numbers_of_what_there_is(case)

    def test_truncated_artifacts_are_refused(self, case: Case) -> None:
        """An artifact that was cut off anywhere raises `ArtifactError`."""
        checks.truncated_artifacts_are_refused(case)

    def test_corrupted_artifacts_are_refused(self, case: Case) -> None:
        """A flipped bit or an extra byte raises `ArtifactError`.

        Native formats, which have no checksums, may decode to something else instead; any other error is wrong for them
        too.
        """
        checks.corrupted_artifacts_are_refused(case)
