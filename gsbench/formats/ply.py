"""The PLY files of the original 3DGS ("Inria layout"), read and written without loss.

The layout, as written: little-endian float32 ``x y z nx ny nz f_dc_0..2 f_rest_0..(3K-4) opacity scale_0..2
rot_0..3`` in one element ``vertex``. The normals are zero. ``f_rest`` is channel-major: the K - 1 higher
coefficients of red, then those of green, then those of blue. Opacity is a logit, scale a natural logarithm, rot a
quaternion wxyz that need not be normalized. 248 bytes per Gaussian at SH degree 3.

Values that a reader meets:

* NaN is refused everywhere.
* Opacity may be infinite: logits of 1 and 0.
* A scale may be -inf (an extent of zero), but not +inf.
* Positions, colors and rotations are finite.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from gsbench import _files
from gsbench.errors import FormatError
from gsbench.formats.ply_header import Element, read_header
from gsbench.splats import SH_BASES, Splats

#: Rows converted at once: little memory beside the result, and columns are picked while the rows are in the cache.
_CHUNK: Final = 8192

#: Which infinities an attribute may hold (by prefix of the property's name); finite where not named.
_INFINITIES: Final = {"opacity": (-np.inf, np.inf), "scale_": (-np.inf,)}


def read_ply(path: str | os.PathLike[str], *, allow_trailing: bool = False) -> Splats:
    """Read a PLY file of Gaussians.

    Properties are found by name, in any order and any scalar type (converted to float32); others and other elements
    are ignored. Both binary byte orders are read; ascii is refused. The number of ``f_rest`` decides the SH degree,
    0 to 4.

    Args:
        path: the file.
        allow_trailing: accept bytes after the last element, which some shortened files have. An artifact must not:
            its size is the rate.

    Returns:
        Splats on the CPU, with the values of the file.

    Raises:
        FormatError: if the file is missing, damaged, truncated, longer than its header says, lacks a property, or
            holds a value that no Gaussian can have; the message says what and where.
    """
    path = Path(path)
    header = read_header(path)
    try:
        vertex = header.element("vertex")
        offset = header.offset("vertex")
        if header.trailing and not allow_trailing:
            raise FormatError(
                f"{header.trailing} trailing bytes from byte {header.file_size - header.trailing} on, expected the end "
                f"of the file after its {vertex.count if vertex else 0} Gaussians"
            )
        assert vertex is not None  # else offset() has raised
        columns = _columns(vertex)
        n, bases = vertex.count, (len(columns) - 11) // 3
        splats = Splats(
            means=torch.empty(n, 3),
            log_scales=torch.empty(n, 3),
            quats=torch.empty(n, 4),
            opacity_logits=torch.empty(n),
            sh=torch.empty(n, bases, 3),
        )
        for start, rows in _read_rows(path, vertex, offset, columns):
            chunk, values = slice(start, start + len(rows)), torch.from_numpy(rows)
            splats.means[chunk] = values[:, :3]
            splats.sh[chunk, 0] = values[:, 3:6]
            splats.sh[chunk, 1:] = values[:, 6:-8].reshape(len(rows), 3, bases - 1).transpose(1, 2)
            splats.opacity_logits[chunk] = values[:, -8]
            splats.log_scales[chunk] = values[:, -7:-4]
            splats.quats[chunk] = values[:, -4:]
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    return splats


def write_ply(path: str | os.PathLike[str], splats: Splats) -> None:
    """Write Gaussians in the Inria layout. Equal Gaussians give equal bytes; `read_ply` restores every bit.

    Args:
        path: of the file, which is replaced if it exists.
        splats: on any device; no Gaussians at all are a file, too.

    Raises:
        ValueError: if a value is one that `read_ply` refuses; the message names the property and the row.
        StoreError: if the file cannot be written. Nothing is left then.
    """
    names = _names(splats.sh.shape[1])
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(splats)}"]
    lines += [f"property float {name}" for name in names]
    with _files.atomic_file(Path(path)) as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii"))
        for start, rows in _rows(splats):
            values = [name for name in names if name not in ("nx", "ny", "nz")]
            problem = _find_bad_value(np.delete(rows, (3, 4, 5), axis=1), values, start)
            if problem is not None:
                raise ValueError(f"cannot write {path}: {problem}")
            file.write(rows.tobytes())


def _names(bases: int) -> list[str]:
    """The properties of the Inria layout, in order."""
    rest = [f"f_rest_{i}" for i in range(3 * (bases - 1))]
    head = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    return [*head, *rest, "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def _columns(vertex: Element) -> list[str]:
    """The properties to read, in the order of the Inria layout without normals."""
    present = {p.name for p in vertex.properties}
    rest = sum(name.startswith("f_rest_") for name in present)
    if rest not in [3 * (bases - 1) for bases in SH_BASES]:
        raise FormatError(f"element 'vertex' has {rest} properties f_rest_*, expected 0, 9, 24, 45 or 72")
    columns = [name for name in _names(rest // 3 + 1) if name not in ("nx", "ny", "nz")]
    missing = [name for name in columns if name not in present]
    if missing:
        hint = "; it looks like a compressed.ply" if "packed_position" in present else ""
        raise FormatError(f"element 'vertex' lacks {', '.join(missing)}: not a PLY of Gaussians in Inria layout{hint}")
    lists = [p.name for p in vertex.properties if p.dtype is None]
    if lists:
        raise FormatError(f"element 'vertex' has list properties ({', '.join(lists)}), expected scalars")
    return columns


def _read_rows(
    path: Path, vertex: Element, offset: int, columns: list[str]
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """The wanted columns, by chunks: (number of the first row, float32 [rows, len(columns)], checked)."""
    dtype = np.dtype([(p.name, p.dtype) for p in vertex.properties])
    with path.open("rb") as file:
        file.seek(offset)
        for start in range(0, vertex.count, _CHUNK):
            count = min(_CHUNK, vertex.count - start)
            data = file.read(count * vertex.row_size)
            if len(data) != count * vertex.row_size:
                raise FormatError(f"truncated: the file ends in rows {start} to {start + count} of element 'vertex'")
            rows = np.frombuffer(data, dtype)
            chunk = np.empty((count, len(columns)), np.float32)
            # A double beyond float32 becomes infinite, a signaling NaN a quiet one: both are looked for below.
            with np.errstate(over="ignore", invalid="ignore"):
                for column, name in enumerate(columns):
                    chunk[:, column] = rows[name]
            problem = _find_bad_value(chunk, columns, start)
            if problem is not None:
                raise FormatError(problem)
            yield start, chunk


def _find_bad_value(rows: npt.NDArray[np.float32], names: list[str], first_row: int) -> str | None:
    """What is wrong with the values, or None. Columns are named by `names`."""
    if np.isfinite(rows).all():
        return None
    bad = ~np.isfinite(rows)
    for column, name in enumerate(names):
        for prefix, allowed in _INFINITIES.items():
            if name.startswith(prefix):
                with np.errstate(invalid="ignore"):  # signaling NaNs
                    bad[:, column] &= ~np.isin(rows[:, column], allowed)
    where = np.argwhere(bad)
    if not len(where):
        return None
    row, column = (int(i) for i in where[0])
    return f"property {names[column]!r} of Gaussian {first_row + row} is {rows[row, column]}"


def _rows(splats: Splats) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """The rows of the Inria layout, by chunks: (number of the first row, float32 [rows, properties])."""
    for start in range(0, len(splats), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        sh = splats.sh[chunk]
        normals = torch.zeros_like(splats.means[chunk])
        rows = torch.cat(
            [
                splats.means[chunk],
                normals,
                sh[:, 0],
                sh[:, 1:].transpose(1, 2).reshape(len(sh), -1),
                splats.opacity_logits[chunk, None],
                splats.log_scales[chunk],
                splats.quats[chunk],
            ],
            dim=1,
        )
        yield start, rows.detach().cpu().numpy().astype("<f4", copy=False)
