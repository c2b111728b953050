from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from gsbench.artifact import ArtifactWriter, inspect_artifact, open_artifact
from gsbench.errors import ArtifactError, FormatError
from gsbench.formats.ply import write_ply
from gsbench.formats.ply_header import inspect_ply, read_header


@pytest.mark.parametrize("sh_degree", range(5))
def test_bytes_per_attribute(make_splats, tmp_path: Path, sh_degree: int) -> None:
    n, path = 1000, tmp_path / "a.ply"
    with ArtifactWriter(path, "3dgs", "0.1.0") as out:
        write_ply(out.native(".ply"), make_splats(n, sh_degree))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]
    size = path.stat().st_size
    floats = {"means": 3, "normals": 3, "sh": 3 * (sh_degree + 1) ** 2, "opacity": 1, "scales": 3, "quats": 4}
    header = size - 4 * n * sum(floats.values())
    assert inspect_artifact(path) == [("header", header), *((name, 4 * n * count) for name, count in floats.items())]
    assert path.read_bytes()[:header].endswith(b"end_header\n")
    assert open_artifact(path).size == size


def test_other_properties_and_elements(tmp_path: Path) -> None:
    vertex = np.zeros(10, dtype=[("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u1"), ("time", "f8")])
    chunk = np.zeros(3, dtype=[("a", "f4"), ("b", "i2")])
    faces = np.array([([0, 1, 2],), ([3, 4],)], dtype=[("vertex_indices", object)])
    plain = [PlyElement.describe(chunk, "chunk"), PlyElement.describe(vertex, "vertex")]
    path = tmp_path / "a.ply"
    PlyData(plain, byte_order="<").write(path)
    parts = dict(inspect_artifact(path))
    assert {k: v for k, v in parts.items() if k != "header"} == {"chunk": 18, "means": 120, "vertex": 90}
    assert sum(parts.values()) == path.stat().st_size

    lists = PlyElement.describe(faces, "face", len_types={"vertex_indices": "u1"}, val_types={"vertex_indices": "i4"})
    PlyData([*plain, lists], byte_order="<").write(path)
    parts = dict(inspect_artifact(path))
    assert parts["lists"] == 1 + 12 + 1 + 8
    assert sum(parts.values()) == path.stat().st_size


def test_trailing_bytes_are_shown(make_splats, tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", make_splats(2, 0))
    with (tmp_path / "a.ply").open("ab") as file:
        file.write(b"12345")
    assert inspect_artifact(tmp_path / "a.ply")[-1] == ("trailing", 5)


def test_real_files(real_data: Path) -> None:
    for path in [real_data / "format_fixtures" / "pc_short.ply", *(real_data / "model_playbot").rglob("*.ply")]:
        assert sum(count for _, count in inspect_artifact(path)) == path.stat().st_size
    lod3 = dict(inspect_artifact(real_data / "model_playbot" / "formats_lod3" / "playbot_lod3.compressed.ply"))
    assert lod3 == {"header": 1264, "chunk": 122 * 72, "vertex": 31000 * 16, "sh": 31000 * 24}


def test_damage_is_an_artifact_error(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\n")
    with pytest.raises(ArtifactError, match=r"a\.ply: PLY header: truncated"):
        inspect_artifact(tmp_path / "a.ply")


def test_offsets(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(
        b"ply\nformat binary_big_endian 1.0\nelement a 2\nproperty short s\nproperty double d\n"
        b"element none 5\nelement b 1\nproperty list uchar int l\nelement c 0\nproperty char c\nend_header\n"
        + bytes(21)
    )
    header = read_header(path)
    assert [(e.name, e.count, e.row_size, e.has_lists) for e in header.elements] == [
        ("a", 2, 10, False),
        ("none", 5, 0, False),
        ("b", 1, 1, True),
        ("c", 0, 1, False),
    ]
    assert [p.dtype for p in header.elements[0].properties] == [">i2", ">f8"]
    assert header.offset("b") == header.length + 20
    with pytest.raises(FormatError, match="element 'b' before 'c' has list properties"):
        header.offset("c")
    assert inspect_ply(path) == [("header", header.length), ("a", 20), ("lists", 1)]
    # A list has at least its length.
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="truncated: element 'b' of 1 rows needs 1 bytes"):
        read_header(path)
