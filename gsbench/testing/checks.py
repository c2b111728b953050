"""What every method must hold: one function per check, which raises `AssertionError` with a sentence that explains.

`MethodConformance` makes tests of them, ``gsbench check`` a report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from gsbench.artifact import open_artifact
from gsbench.bench import decode_sealed
from gsbench.bench.model_files import load_state
from gsbench.bench.settings import build_config, resolve_config
from gsbench.errors import GsbenchError
from gsbench.testing.case import Case
from gsbench.testing.damage import Damage, flips, truncations
from gsbench.testing.photographs import photograph_inside
from gsbench.testing.samples import orbit_cameras

#: Renders of one artifact in two processes may differ by this much (colors are in [0, 1]).
RENDER_TOLERANCE: Final = 1e-4
#: What a header may take, bytes, and each of its entries: it says what decoding needs to know, data is in sections.
MOST_HEADER_BYTES: Final = 16 << 10
MOST_ENTRY_BYTES: Final = 4 << 10
#: The table of sections may take as much as the header: names and kinds are labels.
MOST_TABLE_BYTES: Final = 64 << 10


class Check(NamedTuple):
    """A check: its name (that of the test without ``test_``), what it makes sure of, and the function."""

    name: str
    title: str
    run: Callable[[Case], None]


CHECKS: Final[list[Check]] = []


def _check(function: Callable[[Case], None]) -> Callable[[Case], None]:
    title = (function.__doc__ or "").strip().split("\n\n")[0]
    CHECKS.append(Check(function.__name__, " ".join(title.split()).rstrip("."), function))
    return function


@_check
def listing_imports_no_torch(case: Case) -> None:
    """``gsbench plugins`` stays fast: the plugin module and what it imports do without torch."""
    (report,) = case.run_child("list", {})
    assert not report["torch"], f"listing the plugins of {report['origin']} imports torch; use a lazy target"


@_check
def rate_points_fit_the_config(case: Case) -> None:
    """Every rate point sets fields that the Config has, to values of their types."""
    for rate in case.spec.rates:
        try:
            values = resolve_config(case.method, case.cls.Config, rate.settings, [])
            build_config(case.cls.Config, values)
        except GsbenchError as error:
            raise AssertionError(f"rate point {rate.name!r}: {error}") from error


@_check
def no_held_out_image_is_touched(case: Case) -> None:
    """`fit` looks at the training views alone, whatever way it opens files."""
    failure: Exception | None = None
    try:
        _ = case.model
    except Exception as error:
        failure = error
    seen = case.touched("fit")
    assert not seen, f"fit opened held-out images: {', '.join(seen)}; it may use scene.train alone"
    if failure is not None:
        raise failure


@_check
def encoding_touches_no_held_out_image(case: Case) -> None:
    """`encode` looks at no held-out image either, in this process or in a fresh one."""
    _ = case.encode_here(case.model), case.artifact
    seen = case.touched("encode")
    assert not seen, f"encode opened held-out images: {', '.join(seen)}; it may use the model alone"


@_check
def encoding_in_two_processes_gives_equal_bytes(case: Case) -> None:
    """The artifact depends neither on the process, nor on its threads, folders or hash seed."""
    first = case.artifact.read_bytes()
    second = case.encode_afresh(threads=2, hash_seed=2).read_bytes()
    assert first == second, (
        f"two processes encoded the same model to different bytes ({len(first)} and {len(second)} bytes, "
        f"the first difference at byte {_first_difference(first, second)})"
    )


@_check
def encoding_leaves_the_model_as_it_was(case: Case) -> None:
    """Encoding the same object twice gives the same bytes."""
    assert case.encode_here(case.model) == case.encode_here(case.model), "encode changes the model that it is given"


@_check
def the_state_is_the_whole_model(case: Case) -> None:
    """A model that was saved and restored encodes to the same bytes, and looks the same."""
    state = load_state(case.state, torch.device("cpu"))
    restored = case.cls.model_class.from_state(state, case.config)
    assert case.encode_here(restored) == case.encode_here(case.model), (
        "a model restored from its state encodes to other bytes"
    )
    view = case.scene.train[0]
    with torch.no_grad():
        before, after = (m.render(view, case.scene.background) for m in (case.model, restored))
    assert _difference(before, after) <= RENDER_TOLERANCE, "a model restored from its state renders differently"


@_check
def resuming_gives_the_same_bytes(case: Case) -> None:
    """A training that was interrupted and goes on from a checkpoint ends in the same artifact.

    Methods that do not use `context.checkpoint` start over when they are interrupted, which is fine.
    """
    resumed = case.resumed
    if resumed is None:
        return
    model, step, total = resumed
    whole, other = case.encode_here(case.model), case.encode_here(model)
    if whole != other:
        steady = case.encode_here(case.fit_again()) == whole
        why = (
            "the state that it offers to context.checkpoint leaves something out"
            if steady
            else "two uninterrupted trainings differ as well: not all randomness derives from context.seed"
        )
        raise AssertionError(
            f"a training that was interrupted after step {step} of {total} and resumed encodes to other bytes "
            f"(the first difference at byte {_first_difference(whole, other)}); {why}"
        )


@_check
def the_size_is_the_size_of_the_one_file(case: Case) -> None:
    """`encode` writes one file, and its parts add up to its size."""
    files = sorted(path.name for path in case.artifact.parent.iterdir())
    assert files == [case.artifact.name], f"encode left other files beside the artifact: {files}"
    size = case.artifact.stat().st_size
    assert sum(length for _, length in case.parts) == size, f"the parts {case.parts} do not add up to {size} bytes"
    artifact = open_artifact(case.artifact)
    if not artifact.is_native:
        assert artifact.method == case.method, f"the artifact says that method {artifact.method!r} wrote it"


@_check
def the_header_is_small(case: Case) -> None:
    """The header says what decoding needs to know; data is in sections, where its bytes have a name."""
    artifact = open_artifact(case.artifact)
    if artifact.is_native:
        return
    sizes = {name: case.json_bytes(value) for name, value in artifact.header.items()}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        assert size <= MOST_ENTRY_BYTES, (
            f"the header's entry {name!r} takes {size} bytes, more than {MOST_ENTRY_BYTES}; write data to a section"
        )
    assert artifact.header_bytes <= MOST_HEADER_BYTES, (
        f"the header takes {artifact.header_bytes} bytes, more than {MOST_HEADER_BYTES}; write data to a section"
    )
    assert artifact.container_bytes <= MOST_TABLE_BYTES, (
        f"the table of {len(artifact.sections)} sections takes {artifact.container_bytes} bytes, more than "
        f"{MOST_TABLE_BYTES}; put what belongs together into one section"
    )


@_check
def no_held_out_photograph_is_inside(case: Case) -> None:
    """The artifact holds no part of a held-out photograph, as pixels or as the photo's file, encoded or not."""
    found = photograph_inside(case.artifact, case.scene.test, case.held_out_files)
    assert found is None, f"the artifact holds a piece of a held-out photograph: {found}"


@_check
def decodes_in_a_sealed_process(case: Case) -> None:
    """The artifact alone is enough, and gives the same images in a process that has nothing else: no network, no
    home folder, no results folder, nothing that encoding left in memory.
    """
    views = list(case.scene.test) or list(case.scene.train)
    out = case.new_folder("sealed")
    _ = case.encode_here(case.model)  # fills what a decoder of this process could find there
    try:
        result = decode_sealed(
            case.method, case.artifact, views, case.scene.background, "cpu", 1, out, timeout=case.timeout
        )
    except GsbenchError as error:
        raise AssertionError(
            f"the artifact does not decode in a sealed process, which has it and the installed code alone: {error}"
        ) from error
    assert len(result.frames) == len(views), f"expected {len(views)} images, got {len(result.frames)}"
    for view, path in zip(views, result.frames, strict=True):
        frame = torch.from_numpy(np.load(path, allow_pickle=False))
        assert _difference(frame, case.render(view)) <= RENDER_TOLERANCE, (
            f"{view.name}: a sealed process renders another image than this one, where encode ran before; decode may "
            "use the artifact alone"
        )


@_check
def renders_any_camera(case: Case) -> None:
    """Images are finite float32 [H, W, 3], of cameras of any size, and the same each time."""
    for width, height in ((32, 24), (17, 11), (1, 1)):
        camera = orbit_cameras(3, width, height)[1]
        image: Any = case.render(camera)
        assert isinstance(image, torch.Tensor), f"render returned {type(image).__name__}"
        assert image.dtype == torch.float32, f"render returned {image.dtype}, expected float32"
        assert list(image.shape) == [height, width, 3], f"expected [{height}, {width}, 3], got {list(image.shape)}"
        assert bool(image.isfinite().all()), "render returned NaN or infinity"
        assert _difference(image, case.render(camera)) <= RENDER_TOLERANCE, "rendering again gives another image"


@_check
def counts_are_numbers_of_what_there_is(case: Case) -> None:
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


@_check
def truncated_artifacts_are_refused(case: Case) -> None:
    """An artifact that was cut off anywhere raises `ArtifactError`."""
    damages = truncations(case.parts)
    for damage, result in zip(damages, case.decode_damaged(damages), strict=True):
        assert result == "refused", _complaint(case, damage, result)


@_check
def corrupted_artifacts_are_refused(case: Case) -> None:
    """A flipped bit or an extra byte raises `ArtifactError`.

    Native formats, which have no checksums, may decode to something else instead; any other error is wrong for them
    too.
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
