"""The networks of LPIPS (Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018).

A distance is computed from the activations of a network that was trained to classify photos, at five depths. Each
pixel's vector of activations is scaled to length 1; the squared differences between two images are weighted per
channel with learned, nonnegative weights (the heads) and added; the mean is taken over the pixels. The distances of
the five depths are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gsbench.errors import FetchError
from gsbench.fetch.catalog import PinnedFile
from gsbench.fetch.weights import open_file_problem
from gsbench.metrics.lpips import FILES, Kind

#: The networks expect inputs of zero mean and unit variance; these are LPIPS's constants for inputs in [-1, 1].
_SHIFT: Final = (-0.030, -0.088, -0.188)
_SCALE: Final = (0.458, 0.448, 0.450)
#: Keeps the division by a vector's length defined where all activations are zero.
_EPSILON: Final = 1e-10

#: Activations of a band of rows take about this many bytes, so that memory does not grow with the image's height.
_BAND_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class _Convolution:
    """A convolution: its name in torchvision's state dict is ``features.<index>``; a ReLU follows."""

    index: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


@dataclass(frozen=True)
class _Stage:
    """Convolutions, whose last output is compared; before them, max-pooling of this size and stride if not 1."""

    convolutions: tuple[_Convolution, ...]
    pool: int = 1
    stride: int = 1


def _vgg16() -> tuple[_Stage, ...]:
    """The convolutions of VGG16 (Simonyan and Zisserman, 2015, configuration D), numbered as torchvision does."""
    stages, index, inputs = [], 0, 3
    for position, (count, outputs) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]):
        convolutions = []
        for _ in range(count):
            convolutions.append(_Convolution(index, inputs, outputs))
            index, inputs = index + 2, outputs  # the ReLU has a number of its own
        stages.append(_Stage(tuple(convolutions), *((2, 2) if position else (1, 1))))
        index += 1  # the pooling that follows
    return tuple(stages)


#: AlexNet as torchvision has it (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014).
_ALEX: Final = (
    _Stage((_Convolution(0, 3, 64, kernel=11, stride=4, padding=2),)),
    _Stage((_Convolution(3, 64, 192, kernel=5, padding=2),), pool=3, stride=2),
    _Stage((_Convolution(6, 192, 384),), pool=3, stride=2),
    _Stage((_Convolution(8, 384, 256),)),
    _Stage((_Convolution(10, 256, 256),)),
)
STAGES: Final[Mapping[Kind, tuple[_Stage, ...]]] = {"vgg": _vgg16(), "alex": _ALEX}

#: Images must be at least this high and wide, or the last stage has no pixel.
MIN_SIZE: Final[Mapping[Kind, int]] = {"vgg": 16, "alex": 31}


class LpipsNetwork:
    """One network with its heads, ready to compare images.

    Args:
        kind: "vgg" or "alex".
        trunk: torchvision's state dict; what LPIPS does not use of it (the classifier) is ignored.
        heads: state dict of the heads as LPIPS has it, ``lin<stage>.model.1.weight`` of shape [1, channels, 1, 1].
        device: where to compute.

    Raises:
        ValueError: if an entry is missing, of another shape, not float32, not finite, or a head has a negative weight.
    """

    def __init__(
        self,
        kind: Kind,
        trunk: Mapping[str, Tensor],
        heads: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
    ) -> None:
        self.kind: Final = kind
        self.device: Final = torch.device(device)
        self._stages = STAGES[kind]
        self._weights: dict[int, tuple[Tensor, Tensor]] = {}
        for convolution in (c for stage in self._stages for c in stage.convolutions):
            name = f"features.{convolution.index}"
            shape = (convolution.outputs, convolution.inputs, convolution.kernel, convolution.kernel)
            weight = self._entry(trunk, f"{name}.weight", shape)
            self._weights[convolution.index] = weight, self._entry(trunk, f"{name}.bias", shape[:1])
        self._heads = []
        for number, stage in enumerate(self._stages):
            name = f"lin{number}.model.1.weight"
            head = self._entry(heads, name, (1, stage.convolutions[-1].outputs, 1, 1)).reshape(-1, 1, 1)
            if float(head.min()) < 0.0:
                raise ValueError(f"{name}: expected nonnegative weights, found {float(head.min())}")
            self._heads.append(head)

    def _entry(self, state: Mapping[str, Tensor], name: str, shape: Sequence[int]) -> Tensor:
        value = state.get(name)
        if not isinstance(value, Tensor) or value.dtype != torch.float32 or tuple(value.shape) != tuple(shape):
            found = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else "nothing"
            raise ValueError(f"{name}: expected torch.float32 {list(shape)}, found {found}")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}: expected finite weights")
        return value.detach().to(self.device).clone()

    @torch.inference_mode()
    def distances(self, first: Tensor, second: Tensor) -> Tensor:
        """The LPIPS distances of pairs of images.

        Pairs are computed one after the other, and VGG's layers in bands of rows, so memory follows the activations of
        one pair at half its resolution. The values do not depend on what else is in the batch. On a CPU they are the
        same every time; on CUDA, TF32 is off.

        Args:
            first, second: float32 [B, 3, H, W], RGB, in the range that the convention at hand asks for.

        Returns:
            float64 [B], on the CPU.

        Raises:
            ValueError: if the shapes or dtypes are not as stated, or the images are smaller than `MIN_SIZE`.
        """
        for name, images in (("first", first), ("second", second)):
            if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.float32:
                raise ValueError(
                    f"{name}: expected torch.float32 [B, 3, H, W], got {images.dtype} {list(images.shape)}"
                )
        if first.shape != second.shape:
            raise ValueError(f"second: expected shape {list(first.shape)}, got {list(second.shape)}")
        if min(first.shape[2:]) < MIN_SIZE[self.kind]:
            raise ValueError(f"expected images of at least {MIN_SIZE[self.kind]} pixels, got {list(first.shape[2:])}")
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return torch.tensor(
                [self._pair(a, b) for a, b in zip(first, second, strict=True)],
                dtype=torch.float64,
            )

    def _pair(self, first: Tensor, second: Tensor) -> float:
        """The distance of two images [3, H, W]."""
        shift, scale = (torch.tensor(values).reshape(3, 1, 1) for values in (_SHIFT, _SCALE))
        x = torch.stack([first, second]).to(self.device)
        x = (x - shift.to(self.device)) / scale.to(self.device)
        distance = 0.0
        for stage, head in zip(self._stages, self._heads, strict=True):
            if self.kind == "vgg":
                x, summed, pixels = self._in_bands(stage, head, x)
            else:
                x = self._convolve(
                    stage,
                    functional.max_pool2d(x, stage.pool, stage.stride) if stage.pool > 1 else x,
                )
                summed, pixels = _weighted(x, head), x.shape[2] * x.shape[3]
            distance += summed / pixels
        return distance

    def _in_bands(self, stage: _Stage, head: Tensor, x: Tensor) -> tuple[Tensor, float, int]:
        """One stage of VGG in bands of rows; `x` is pooled already.

        A band is convolved with as many further rows on each side as there are convolutions: the zeros that pad a band
        then spoil only rows that are cut off, and at the image's own border the padding is right in every layer.

        Returns:
            the output, pooled for the next stage, [2, C, H // 2, W // 2]; the sum of the weighted differences; and the
            number of pixels in that.
        """
        height, width = x.shape[2:]
        channels, halo = stage.convolutions[-1].outputs, len(stage.convolutions)
        rows = max(16, _BAND_BYTES // (2 * 4 * channels * width) // 2 * 2)
        pooled = x.new_empty((2, channels, height // 2, width // 2))
        summed = 0.0
        for start in range(0, height, rows):
            end = min(start + rows, height)
            top = max(0, start - halo)
            band = self._convolve(stage, x[:, :, top : min(end + halo, height)])
            band = band[:, :, start - top : end - top]
            summed += _weighted(band, head)
            if end - start > 1:
                pooled[:, :, start // 2 : end // 2] = functional.max_pool2d(band, 2, 2)
        return pooled, summed, height * width

    def _convolve(self, stage: _Stage, x: Tensor) -> Tensor:
        for convolution in stage.convolutions:
            weight, bias = self._weights[convolution.index]
            x = functional.conv2d(x, weight, bias, convolution.stride, convolution.padding).relu_()
        return x


def _weighted(features: Tensor, head: Tensor) -> float:
    """The sum over pixels of the weighted squared differences of two images' features [2, C, H, W].

    Pixels are added by NumPy: torch splits a sum among its threads, so that it would depend on their number.
    """
    lengths = features.square().sum(dim=1, keepdim=True).sqrt_()
    unit = features / lengths.add_(_EPSILON)
    pixels = (unit[0] - unit[1]).square_().mul_(head).sum(dim=0)
    return float(np.sum(pixels.cpu().numpy(), dtype=np.float64))


def load_network(
    kind: Kind,
    folder: Path,
    files: Mapping[str, PinnedFile],
    device: torch.device | str = "cpu",
) -> LpipsNetwork:
    """The network whose files lie in `folder`. Each is read only after its SHA-256 was found to be as pinned, and then
    with torch's reader of tensors alone (`weights_only`): older files are pickles.

    Args:
        kind: "vgg" or "alex".
        folder: of the files.
        files: name -> what is known of it.
        device: where to compute.

    Raises:
        FetchError: if a file is missing or not as pinned.
    """
    trunk, heads = (_read(folder / name, files[name]) for name in FILES[kind])
    return LpipsNetwork(kind, trunk, heads, device)


def _read(path: Path, pinned: PinnedFile) -> Mapping[str, Tensor]:
    try:
        with path.open("rb") as file:
            problem = open_file_problem(file, pinned)
            if problem is not None:
                raise FetchError(f"{path}: {problem}; run `gsbench fetch lpips`")
            file.seek(0)
            state: Mapping[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
            return state
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror or error}; run `gsbench fetch lpips`") from error
