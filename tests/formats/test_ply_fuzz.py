"""Damaged PLY files: a clear error or well-formed Gaussians, in bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from gsbench.errors import GsbenchError
from gsbench.formats.ply import read_ply, write_ply
from gsbench.testing import random_splats


def mutated(data: bytes, header: int, rng: np.random.Generator) -> bytes:
    """One to four changes: a byte, a cut, a repeat; a fifth of them in the header."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        end = header if rng.random() < 0.2 else len(result)
        at = int(rng.integers(0, max(1, min(end, len(result)))))
        kind = rng.random()
        if kind < 0.6 and result:
            result[min(at, len(result) - 1)] = int(rng.integers(0, 256))
        elif kind < 0.8:
            del result[at : at + int(rng.integers(1, 40))]
        else:
            result[at:at] = result[at : at + int(rng.integers(1, 40))]
    return bytes(result)


@pytest.mark.parametrize("name", ["opacity", "scale_0", "x", "f_dc_0"])
def test_signaling_nans_are_refused_without_a_warning(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.ply"
    write_ply(path, random_splats(5))
    data = path.read_bytes()
    begin = data.index(b"end_header\n") + len(b"end_header\n")
    names = [line.split()[2].decode() for line in data[:begin].splitlines() if line.startswith(b"property")]
    place = begin + 4 * (3 * len(names) + names.index(name))
    path.write_bytes(data[:place] + (0x7F800001).to_bytes(4, "little") + data[place + 4 :])
    with pytest.raises(GsbenchError, match=f"property '{name}' of Gaussian 3 is nan"):
        read_ply(path)


@pytest.mark.parametrize("rounds", [500, pytest.param(100_000, marks=pytest.mark.slow)])
def test_mutations(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "a.ply"
    write_ply(path, random_splats(5))
    data = path.read_bytes()
    header = data.index(b"end_header\n")
    rng, good, refused = np.random.default_rng(0), 0, []
    read_ply(path)
    tracemalloc.start()
    for _ in range(rounds):
        path.write_bytes(mutated(data, header, rng))
        try:
            splats = read_ply(path)
        except GsbenchError as error:
            refused.append(str(error))
        else:
            good += 1
            assert splats.means.dtype == torch.float32
            assert splats.sh.ndim == 3
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 5_000_000 + 400 * rounds  # the messages are kept
    assert not any("\n" in text for text in refused)
    assert rounds / 50 < good < rounds * 9 / 10
