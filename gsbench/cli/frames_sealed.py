"""Frames of an artifact from sealed decoders, as many at a time as fit on the disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

    from gsbench.bench import SealedResult
    from gsbench.splats import Camera

#: Bytes of float32 frames that lie in the scratch folder at the same time. A sealed process renders that many and ends;
#: the next one decodes again, which takes seconds.
BATCH_BYTES: Final = 1 << 30


class SealedFrames:
    """The frames of an artifact, float32 [H, W, 3] each, rendered by sealed processes while one iterates.

    Args:
        method, artifact, cameras, background, device, threads: as of `gsbench.bench.decode_sealed`.
        scratch: folder for frames on their way.
        progress: called with the number of frames rendered so far.

    Attributes:
        results: of the sealed processes so far, in order; their frames are gone.
    """

    def __init__(
        self,
        method: str,
        artifact: Path,
        cameras: Sequence[Camera],
        background: Sequence[float],
        device: str,
        threads: int,
        scratch: Path,
        progress: Callable[[int], None],
    ) -> None:
        self._method, self._artifact, self._cameras = method, artifact, cameras
        self._background, self._device, self._threads = background, device, threads
        self._scratch, self._progress = scratch, progress
        self.results: list[SealedResult] = []

    def __iter__(self) -> Iterator[Tensor]:
        from gsbench.bench import decode_sealed
        from gsbench.bench.score import load_frame
        from gsbench.bench.visible import take_inventory

        inventory = take_inventory()
        done = 0
        for batch in self.batches():
            folder = Path(tempfile.mkdtemp(prefix="frames-", dir=self._scratch))
            try:
                result = decode_sealed(
                    self._method,
                    self._artifact,
                    batch,
                    self._background,
                    self._device,
                    self._threads,
                    folder,
                    inventory=inventory,
                    progress=lambda count, before=done: self._progress(before + count),  # type: ignore[misc]
                )
                self.results.append(result)
                for path in result.frames:
                    frame = load_frame(path)
                    path.unlink()
                    yield frame
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            done += len(batch)
            self._progress(done)

    def batches(self) -> list[Sequence[Camera]]:
        """The cameras in groups, each of which one sealed process renders."""
        groups: list[list[Camera]] = [[]]
        room = BATCH_BYTES
        for camera in self._cameras:
            size = 12 * camera.width * camera.height
            if groups[-1] and size > room:
                groups.append([])
                room = BATCH_BYTES
            groups[-1].append(camera)
            room -= size
        return [group for group in groups if group]
