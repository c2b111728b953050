"""Inria PLY files, against plyfile, another viewer's reader (gsply), real files, and bytes written by hand."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from gsbench.errors import FormatError, StoreError
from gsbench.formats.ply import read_ply, write_ply
from gsbench.splats import SH_BASES, Splats

FIELDS = ("means", "log_scales", "quats", "opacity_logits", "sh")


def assert_same_bits(a: Splats, b: Splats) -> None:
    for name in FIELDS:
        assert torch.equal(getattr(a, name).view(torch.int32), getattr(b, name).view(torch.int32)), name


def names(sh_degree: int) -> list[str]:
    rest = [f"f_rest_{i}" for i in range(3 * (SH_BASES[sh_degree] - 1))]
    scales, rots = [f"scale_{i}" for i in range(3)], [f"rot_{i}" for i in range(4)]
    return ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity", *scales, *rots]


def column(splats: Splats, name: str) -> np.ndarray:
    """What a property of the Inria layout holds, one property at a time."""
    stem, _, number = name.rpartition("_")
    higher = splats.sh.shape[1] - 1
    if name in "xyz":
        return splats.means[:, "xyz".index(name)].numpy()
    if stem == "f_dc":
        return splats.sh[:, 0, int(number)].numpy()
    if stem == "f_rest":
        return splats.sh[:, 1 + int(number) % higher, int(number) // higher].numpy()
    if stem == "scale":
        return splats.log_scales[:, int(number)].numpy()
    if stem == "rot":
        return splats.quats[:, int(number)].numpy()
    return splats.opacity_logits.numpy()


def structured(splats: Splats, columns: list[tuple[str, str]]) -> np.ndarray:
    rows = np.zeros(len(splats), dtype=columns)
    for name, _ in columns:
        if name in names(splats.sh_degree):
            rows[name] = column(splats, name)
    return rows


@pytest.mark.parametrize("sh_degree", range(5))
@pytest.mark.parametrize("n", [0, 1, 2, 10000])
def test_round_trip(make_splats, tmp_path: Path, n: int, sh_degree: int) -> None:
    splats = make_splats(n, sh_degree)
    write_ply(tmp_path / "a.ply", splats)
    again = read_ply(tmp_path / "a.ply")
    assert_same_bits(splats, again)
    assert again.sh_degree == sh_degree
    write_ply(tmp_path / "b.ply", again)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ply", "b.ply"]


def any_float32(**options: bool) -> st.SearchStrategy[float]:
    return st.floats(width=32, allow_nan=False, **options)


@settings(deadline=None)
@given(st.data())
def test_every_bit_survives(tmp_path_factory, data: st.DataObject) -> None:
    n, degree = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2))
    finite = any_float32(allow_infinity=False)
    scale = finite | st.just(float("-inf"))

    def draw(values: st.SearchStrategy[float], *shape: int) -> torch.Tensor:
        count = int(np.prod(shape))
        return torch.tensor(data.draw(st.lists(values, min_size=count, max_size=count))).reshape(shape)

    splats = Splats(
        means=draw(finite, n, 3),
        log_scales=draw(scale, n, 3),
        quats=draw(finite, n, 4),
        opacity_logits=draw(any_float32(allow_infinity=True), n),
        sh=draw(finite, n, SH_BASES[degree], 3),
    )
    path = tmp_path_factory.getbasetemp() / "bits.ply"
    write_ply(path, splats)
    assert_same_bits(splats, read_ply(path))


def test_bytes_of_one_gaussian(tmp_path: Path) -> None:
    sh = torch.arange(12, dtype=torch.float32).reshape(1, 4, 3)  # coefficient-major: (R, G, B) of 0, then of 1, ...
    write_ply(
        tmp_path / "a.ply",
        Splats(
            means=torch.tensor([[1.0, 2.0, 3.0]]),
            log_scales=torch.tensor([[-1.0, -2.0, -3.0]]),
            quats=torch.tensor([[0.5, 0.25, 0.125, 2.0]]),
            opacity_logits=torch.tensor([float("inf")]),
            sh=sh,
        ),
    )
    properties = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(9))]
    properties += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    lines = ["ply", "format binary_little_endian 1.0", "element vertex 1"]
    header = "\n".join([*lines, *(f"property float {name}" for name in properties), "end_header\n"])
    values = [1, 2, 3, 0, 0, 0, 0, 1, 2, 3, 6, 9, 4, 7, 10, 5, 8, 11, float("inf"), -1, -2, -3, 0.5, 0.25, 0.125, 2]
    assert (tmp_path / "a.ply").read_bytes() == header.encode() + struct.pack("<26f", *values)


@pytest.mark.parametrize("sh_degree", range(5))
def test_plyfile_reads_what_we_write(make_splats, tmp_path: Path, sh_degree: int) -> None:
    splats = make_splats(50, sh_degree)
    write_ply(tmp_path / "a.ply", splats)
    vertex = PlyData.read(tmp_path / "a.ply")["vertex"]
    assert {p.name for p in vertex.properties} == {*names(sh_degree), "nx", "ny", "nz"}
    for name in names(sh_degree):
        assert np.array_equal(vertex[name], column(splats, name)), name
    for name in ("nx", "ny", "nz"):
        assert not vertex[name].any()


@pytest.mark.parametrize("sh_degree", range(4))
def test_another_viewers_reader_reads_what_we_write(make_splats, tmp_path: Path, sh_degree: int) -> None:
    gsply = pytest.importorskip("gsply", reason="gsply is not installed: pip install '.[interop]'")
    splats = make_splats(500, sh_degree)
    write_ply(tmp_path / "a.ply", splats)
    data = gsply.plyread(tmp_path / "a.ply")
    assert np.array_equal(data.means, splats.means)
    assert np.array_equal(data.scales, splats.log_scales)
    assert np.array_equal(data.quats, splats.quats)
    assert np.array_equal(data.opacities.reshape(-1), splats.opacity_logits)
    assert np.array_equal(data.sh0.reshape(-1, 3), splats.sh[:, 0])
    if sh_degree:
        assert np.array_equal(data.shN, splats.sh[:, 1:])


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("sh_degree", range(5))
def test_we_read_what_plyfile_writes(make_splats, tmp_path: Path, byte_order: str, sh_degree: int) -> None:
    splats = make_splats(40, sh_degree)
    rows = structured(splats, [(name, "f4") for name in names(sh_degree)])
    PlyData([PlyElement.describe(rows, "vertex")], byte_order=byte_order).write(tmp_path / "a.ply")
    assert_same_bits(read_ply(tmp_path / "a.ply"), splats)


def test_other_order_extra_properties_and_elements(make_splats, tmp_path: Path) -> None:
    splats = make_splats(40, 2)
    shuffled = [names(2)[i] for i in np.random.default_rng(0).permutation(len(names(2)))]
    columns = [("segment", "u1"), *((name, "f4") for name in shuffled), ("t", "f8"), ("nx", "f4")]
    before = np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i2"), ("b", "f8")])
    faces = np.array([([0, 1, 2],), ([3, 4],)], dtype=[("vertex_indices", object)])
    elements = [
        PlyElement.describe(before, "camera"),
        PlyElement.describe(structured(splats, columns), "vertex"),
        PlyElement.describe(before, "after"),
    ]
    PlyData(elements, comments=["by someone", "end_header or not"], obj_info=["x"], byte_order="<").write(
        tmp_path / "a.ply"
    )
    (tmp_path / "a.ply").write_bytes(
        (tmp_path / "a.ply").read_bytes().replace(b"someone", "Jérôme\xff".encode("latin-1"))
    )
    assert_same_bits(read_ply(tmp_path / "a.ply"), splats)
    elements.append(
        PlyElement.describe(faces, "face", len_types={"vertex_indices": "u1"}, val_types={"vertex_indices": "i4"})
    )
    PlyData(elements, byte_order="<").write(tmp_path / "b.ply")
    assert_same_bits(read_ply(tmp_path / "b.ply"), splats)
    PlyData([elements[3], elements[1]], byte_order="<").write(tmp_path / "c.ply")
    with pytest.raises(FormatError, match=r"c\.ply: element 'face' before 'vertex' has list properties"):
        read_ply(tmp_path / "c.ply")


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_scalar_types_are_converted(tmp_path: Path, kind: str, byte_order: str) -> None:
    rows = np.zeros(3, dtype=[(name, kind) for name in names(0)])
    for index, name in enumerate(names(0)):
        rows[name] = (index, 2 * index + 1, 100 - index)
    PlyData([PlyElement.describe(rows, "vertex")], byte_order=byte_order).write(tmp_path / "a.ply")
    splats = read_ply(tmp_path / "a.ply")
    for name in names(0):
        assert np.array_equal(column(splats, name), rows[name].astype(np.float32))


def test_doubles_beyond_float32(make_splats, tmp_path: Path) -> None:
    rows = structured(make_splats(3, 0), [(name, "f8") for name in names(0)])
    rows["opacity"] = (1e300, -1e300, 0.1)
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(tmp_path / "a.ply")
    logits = read_ply(tmp_path / "a.ply").opacity_logits
    assert torch.equal(logits, torch.tensor([float("inf"), float("-inf"), 0.1]))
    rows["y"][1] = 1e300
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(tmp_path / "a.ply")
    with pytest.raises(FormatError, match="property 'y' of Gaussian 1 is inf"):
        read_ply(tmp_path / "a.ply")


def test_line_ends_of_windows(make_splats, tmp_path: Path) -> None:
    splats = make_splats(2, 0)
    write_ply(tmp_path / "a.ply", splats)
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    (tmp_path / "a.ply").write_bytes((header + b"end_header\n").replace(b"\n", b"\r\n") + body)
    assert_same_bits(read_ply(tmp_path / "a.ply"), splats)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", names(1))
def test_values_that_no_gaussian_has(make_splats, tmp_path: Path, name: str, value: float) -> None:
    rows = structured(make_splats(9000, 1), [(name, "f4") for name in names(1)])
    rows[name][8500] = value
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(tmp_path / "a.ply")
    allowed = (name == "opacity" and not np.isnan(value)) or (name.startswith("scale") and value == -np.inf)
    if allowed:
        assert column(read_ply(tmp_path / "a.ply"), name)[8500] == value
    else:
        with pytest.raises(FormatError, match=rf"a\.ply: property '{name}' of Gaussian 8500 is {value}$"):
            read_ply(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("means", float("nan"), "cannot write .*: property 'x' of Gaussian 8500 is nan"),
        ("means", float("inf"), "property 'x' of Gaussian 8500 is inf"),
        ("log_scales", float("inf"), "property 'scale_0' of Gaussian 8500 is inf"),
        ("quats", float("-inf"), "property 'rot_0' of Gaussian 8500 is -inf"),
        ("opacity_logits", float("nan"), "property 'opacity' of Gaussian 8500 is nan"),
        ("sh", float("nan"), "property 'f_dc_0' of Gaussian 8500 is nan"),
    ],
)
def test_values_that_are_not_written(make_splats, tmp_path: Path, field: str, value: float, message: str) -> None:
    splats = make_splats(9000, 1)
    getattr(splats, field).view(9000, -1)[8500, 0] = value
    with pytest.raises(ValueError, match=message):
        write_ply(tmp_path / "a.ply", splats)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(make_splats, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*a\.ply: No such file or directory"):
        write_ply(tmp_path / "no" / "a.ply", make_splats(1))


def test_tensors_in_a_graph_are_written(make_splats, tmp_path: Path) -> None:
    splats = make_splats(3, 1)
    tracked = Splats(*(getattr(splats, name).clone().requires_grad_() for name in FIELDS))
    write_ply(tmp_path / "a.ply", tracked)
    assert_same_bits(read_ply(tmp_path / "a.ply"), splats)


# Real files.


def test_shortened_real_file(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "format_fixtures" / "pc_short.ply"
    with pytest.raises(
        FormatError, match=r"14029 trailing bytes from byte 26328 on, expected .* after its 100 Gaussians"
    ):
        read_ply(path)
    splats = read_ply(path, allow_trailing=True)
    vertex = PlyData.read(path)["vertex"]
    for name in names(3):
        assert np.array_equal(vertex[name], column(splats, name)), name
    # Raw quaternions, as training left them.
    norms = splats.quats.norm(dim=1)
    assert norms.min() < 0.75
    assert norms.max() > 1.3
    write_ply(tmp_path / "again.ply", splats)
    assert (tmp_path / "again.ply").read_bytes() == path.read_bytes()[:26328]


@pytest.mark.parametrize(
    ("file", "inria"),
    [("playbot_lod3_sh2.ply", True), ("playbot_lod2_sh2.ply", True), ("formats_lod3/playbot_lod3.ply", False)],
)
def test_real_models(real_data: Path, tmp_path: Path, file: str, inria: bool) -> None:
    path = real_data / "model_playbot" / file
    splats = read_ply(path)
    vertex = PlyData.read(path)["vertex"]
    assert len(splats) == vertex.count
    assert splats.sh_degree == 2
    for name in names(2):
        assert np.array_equal(vertex[name], column(splats, name)), name
    write_ply(tmp_path / "again.ply", splats)
    assert_same_bits(read_ply(tmp_path / "again.ply"), splats)
    if inria:
        # The same data bytes as the software that wrote it, whose header differs only in where its lines are.
        assert (tmp_path / "again.ply").read_bytes()[-len(splats) * 152 :] == path.read_bytes()[-len(splats) * 152 :]
    gsply = pytest.importorskip("gsply", reason="gsply is not installed: pip install '.[interop]'")
    data = gsply.plyread(tmp_path / "again.ply")
    assert np.array_equal(data.means, splats.means)
    assert np.array_equal(data.quats, splats.quats)
    assert np.array_equal(data.opacities.reshape(-1), splats.opacity_logits)


def test_compressed_ply_is_another_format(real_data: Path) -> None:
    with pytest.raises(FormatError, match=r"lacks x, y, z, .*not a PLY of Gaussians.*looks like a compressed\.ply"):
        read_ply(real_data / "model_playbot" / "formats_lod3" / "playbot_lod3.compressed.ply")


# Damage.


@pytest.fixture
def damaged(make_splats, tmp_path: Path) -> Callable[[Callable[[bytes], bytes]], Path]:
    def damage(change: Callable[[bytes], bytes]) -> Path:
        path = tmp_path / "bad.ply"
        write_ply(path, make_splats(3, 1))
        path.write_bytes(change(path.read_bytes()))
        return path

    return damage


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old.encode() in data
        return data.replace(old.encode(), new.encode(), 1)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: b"", r"not a PLY file: starts with b''"),
        (lambda d: b"\x89PNG" + d, "not a PLY file: starts with"),
        (lambda d: d.replace(b"\n", b"\r"), "not a PLY file"),
        (lambda d: d[:100], "PLY header: truncated: no end_header in 100 bytes"),
        (lambda d: d + b"\0", "1 trailing bytes from byte"),
        (lambda d: d[:-1], "truncated: element 'vertex' of 3 rows needs 312 bytes from byte 627 on, the file has 311"),
        (replaced("vertex 3", "vertex 2"), "104 trailing bytes from byte .* after its 2 Gaussians"),
        (replaced("vertex 3", "vertex 4"), "truncated: element 'vertex' of 4 rows needs 416 bytes"),
        (replaced("vertex 3", "vertex 281474976710656"), "truncated: element 'vertex' of 281474976710656 rows needs"),
        (replaced("vertex 3", "vertex 281474976710657"), "line 3: element 'vertex' has count '281474976710657'"),
        (replaced("vertex 3", "vertex " + "9" * 99), "line 3: element 'vertex' has count '9999"),
        (replaced("vertex 3", "vertex -1"), "line 3: element 'vertex' has count '-1', expected"),
        (replaced("vertex 3", "vertex 3.0"), "line 3: element 'vertex' has count '3.0'"),
        (replaced("vertex 3", "vertex"), "line 3: 'element vertex', expected an element"),
        (replaced("vertex 3", "points 3"), r"no element 'vertex'; the file has \['points'\]"),
        (replaced("element vertex 3\n", ""), "line 3: 'property float x', expected"),
        (replaced("format binary_little_endian 1.0\n", ""), "line 2: 'element vertex 3', expected the format"),
        (
            replaced("binary_little_endian", "ascii"),
            "line 2: ascii PLY is not supported, expected binary_little_endian",
        ),
        (replaced("binary_little_endian", "middle"), "line 2: format 'middle' '1.0', expected binary_little_endian"),
        (replaced("endian 1.0", "endian 2.0"), "line 2: format 'binary_little_endian' '2.0'"),
        (replaced("float x", "float64x x"), "line 4: property 'x' has unknown type 'float64x'; known: char"),
        (replaced("float x", "list uchar int x"), "'vertex' has list properties \\(x\\), expected scalars|truncated"),
        (replaced("property float x", "property x"), "line 4: property 'x', expected a type and a name"),
        (replaced("property float x", "propertie float x"), "line 4: 'propertie float x', expected an element"),
        (replaced("float y", "float x"), "line 5: element 'vertex' has two properties 'x'"),
        (replaced("float opacity", "float alpha"), "element 'vertex' lacks opacity: not a PLY of Gaussians"),
        (replaced("float rot_3", "float rot_4"), "element 'vertex' lacks rot_3"),
        (replaced("float f_rest_0", "float f_rest_9"), "element 'vertex' lacks f_rest_0"),
        (replaced("float f_rest_0", "float rest_0"), "has 8 properties f_rest_\\*, expected 0, 9, 24, 45 or 72"),
        (replaced("end_header", "element vertex 1\nend_header"), "line 30: there are two elements 'vertex'"),
        (replaced("end_header", "comment " + "x" * 2**16 + "\nend_header"), "no end_header in the first 65536 bytes"),
    ],
)
def test_damage(damaged, change: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(FormatError, match=r"bad\.ply: .*(" + message + ")"):
        read_ply(damaged(change))


def test_every_truncation(damaged, tmp_path: Path) -> None:
    data = damaged(lambda d: d).read_bytes()
    for length in range(len(data)):
        (tmp_path / "bad.ply").write_bytes(data[:length])
        with pytest.raises(FormatError, match=r"bad\.ply: "):
            read_ply(tmp_path / "bad.ply")


@settings(deadline=None, max_examples=300)
@given(position=st.integers(0, 626), value=st.integers(0, 255))
def test_changed_header_is_refused_or_read(make_splats, tmp_path_factory, position: int, value: int) -> None:
    # A header has no checksum: whatever a changed byte does, it is one of our messages or three Gaussians.
    path = tmp_path_factory.getbasetemp() / "changed.ply"
    write_ply(path, make_splats(3, 1))
    data = bytearray(path.read_bytes())
    data[position] = value
    path.write_bytes(data)
    try:
        splats = read_ply(path)
    except FormatError:
        return
    assert len(splats) == 3


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"missing\.ply: does not exist; expected a \.ply file"):
        read_ply(tmp_path / "missing.ply")
    with pytest.raises(FormatError, match="not a file; expected"):
        read_ply(tmp_path)
