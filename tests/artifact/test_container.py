"""The bytes of the container, against a second implementation, golden bytes and every kind of wrong structure."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsbench.artifact import ArtifactReader, ArtifactWriter
from gsbench.artifact.container import crc32c
from gsbench.errors import ArtifactError

GOLDEN_SHA256 = "540475bc54edafac62b202f0dfd9cf303074bc7bc001481904bb5ff3d9605ec5"


def write_golden(path: Path) -> None:
    with ArtifactWriter(path, "golden", "0.1.0") as out:
        out.header.update({"sh_degree": 3, "step": 0.0625, "bounds": [-1.5, 1e-7, 2], "näme": None, "on": True})
        out.section("positions", bytes(range(10)), kind="int16")
        out.section("empty", b"")
        out.section("net.layer-1", b"weights", kind="weights")


def test_golden_bytes(repository: Path, tmp_path: Path) -> None:
    golden = repository / "tests" / "golden" / "tiny.gsb"
    data = golden.read_bytes()
    assert hashlib.sha256(data).hexdigest() == GOLDEN_SHA256
    write_golden(tmp_path / "tiny.gsb")
    assert (tmp_path / "tiny.gsb").read_bytes() == data

    reader = ArtifactReader(golden)
    assert (reader.method, reader.plugin_version, reader.is_native) == ("golden", "0.1.0", False)
    assert reader.header == {"sh_degree": 3, "step": 0.0625, "bounds": [-1.5, 1e-7, 2], "näme": None, "on": True}
    assert [(s.name, s.kind, s.coder, s.length) for s in reader.sections] == [
        ("positions", "int16", "raw", 10),
        ("empty", "data", "raw", 0),
        ("net.layer-1", "weights", "raw", 7),
    ]
    assert [reader.read(s.name) for s in reader.sections] == [bytes(range(10)), b"", b"weights"]
    assert (reader.size, reader.sha256) == (len(data), GOLDEN_SHA256)


def test_writer_follows_the_description(tmp_path: Path, layout, entry) -> None:
    with ArtifactWriter(tmp_path / "a.gsb", "mine", "1.2") as out:
        out.header.update({"b": [1, 2.5], "a": {"z": "é\n", "y": False}})
        out.section("one", b"123456789", kind="text")
        out.section("two", b"", kind="none")
    want = layout(
        header='{"header":{"a":{"y":false,"z":"é\\n"},"b":[1,2.5]},"method":"mine","plugin_version":"1.2"}'.encode(),
        entries=[entry(b"one", b"123456789", b"text"), entry(b"two", b"", b"none")],
    )
    assert (tmp_path / "a.gsb").read_bytes() == want.bytes()


def test_reader_follows_the_description(opened, layout, entry) -> None:
    # A stored block of RFC 1951: final bit and type 00, then length, its complement, and the bytes.
    block = b"\x01" + (3).to_bytes(2, "little") + (0xFFFF - 3).to_bytes(2, "little") + b"abc"
    reader = opened(layout(entries=[entry(b"x", block, b"k", b"deflate", raw_length=3), entry(b"y", b"\0")]).bytes())
    assert reader.read("x") == b"abc"
    assert reader.read("y") == b"\0"
    assert reader.section("x").raw_length == 3
    assert "y" in reader
    assert "z" not in reader


def test_crc32c_check_values(reference_crc32c) -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=300))
def test_crc32c_agrees_with_its_definition(reference_crc32c, data: bytes) -> None:
    assert crc32c(data) == reference_crc32c(data)


# Wrong in structure, with every CRC in order: what a faulty or hostile writer could make.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": b"\x89GSB\n\x1a\n\0"}, "container: starts with 89 47 53 42 0a .* expected 89 47 53 42 0d"),
        ({"version": 2}, "container: format version 2, this gsbench reads version 1"),
        ({"version": 0}, "container: format version 0"),
        ({"preamble_crc": 1}, "container: damaged: the CRC-32C of the first 36 bytes"),
        ({"header_crc": 1}, "header: damaged"),
        ({"table_crc": 1}, "container: damaged: the CRC-32C of the section table"),
        ({"tail": b"x", "file_length": 166}, "container: trailing bytes: the file has 167 bytes, expected 166"),
        ({"tail": b"x"}, "container: no section covers bytes 166 to 167"),
        ({"file_length": 2**64 - 1}, "container: truncated: the file has 166 bytes, expected 18446744073709551615"),
        ({"header_length": 2**32 - 1}, "header: 4294967295 bytes long, expected at most 1048576"),
        ({"header_length": 2**20}, "do not fit into a file of 166 bytes"),
        ({"table_length": 2**32 - 1}, "do not fit into a file of 166 bytes"),
        ({"header_length": 46}, "header: damaged"),
        ({"count": 65535}, "section table, entry 2, name: the table ends before it"),
        ({"count": 1}, "section table: 39 bytes too many after 1 entries"),
        ({"count": 0}, "section table: .* bytes too many after 0 entries"),
        ({"table": b"\x05ab"}, "section table, entry 0, name: the table ends inside it"),
        ({"table": b"\x01a\x01b\x03raw" + bytes(27)}, "section table, entry 0: the table ends inside it"),
        ({"table": b""}, "section table, entry 0, name: the table ends before it"),
        ({"header": b""}, "header: not JSON"),
        ({"header": b"{"}, "header: not JSON"),
        ({"header": b"\xff\xfe"}, "header: not JSON.*utf-8"),
        ({"header": b"[]"}, "header: expected an object of exactly"),
        ({"header": b"null"}, "header: expected an object of exactly"),
        ({"header": b'{"header":{},"method":"m"}'}, "header: expected an object of exactly"),
        ({"header": b'{"header":[],"method":"m","plugin_version":"1"}'}, "header: expected an object of exactly"),
        ({"header": b'{"header":{},"method":1,"plugin_version":"1"}'}, "header: expected an object of exactly"),
        ({"header": b'{"header":{},"method":"m","plugin_version":"1","x":1}'}, "header: expected an object of exactly"),
        ({"header": b'{"header":{"a":NaN},"method":"m","plugin_version":"1"}'}, "header.header.a: nan is not"),
        ({"header": b'{"header":{"a":[1,-Infinity]},"method":"m","plugin_version":"1"}'}, r"a\[1\]: -inf is not"),
        ({"header": b'{"header":{"a":1e999},"method":"m","plugin_version":"1"}'}, "inf is not"),
        ({"header": b'{"header":{"a":' + b"9" * 5000 + b'},"method":"m","plugin_version":"1"}'}, "header: not JSON"),
        ({"header": b'{"header":{"a":"\\ud800"},"method":"m","plugin_version":"1"}'}, "header: not JSON"),
        ({"header": b"[" * 200000}, "header: not JSON"),
        ({"header": b"[" * 70 + b"]" * 70}, "nested more than 64 deep"),
        ({"header": b'{"header":{}, "method":"m","plugin_version":"1"}'}, "header: its JSON is not canonical"),
        ({"header": b'{"method":"m","header":{},"plugin_version":"1"}'}, "header: its JSON is not canonical"),
        ({"header": b'{"header":{},"method":"m","method":"m","plugin_version":"1"}'}, "not canonical"),
        ({"header": b'{"header":{"a":1.50},"method":"m","plugin_version":"1"}'}, "not canonical"),
        ({"header": b'{"header":{"\\u0061":1},"method":"m","plugin_version":"1"}'}, "not canonical"),
    ],
)
def test_wrong_file(opened, layout, entry, changes, message: str) -> None:
    good = layout(entries=[entry(b"a", b"1"), entry(b"b", b"")])
    assert len(good.bytes()) == 166
    with pytest.raises(ArtifactError, match=message):
        opened(good.changed(**changes).bytes())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": b"a"}, "section 'a': there are two of this name"),
        ({"name": b""}, "section table, entry 1, name: '' does not consist of"),
        ({"name": b"\xc3\xa9"}, "section table, entry 1, name: .* is not ASCII"),
        ({"name": b"x" * 65}, "is 65 characters long, expected at most 64"),
        ({"name": b"../x"}, "section table, entry 1, name: '../x' does not consist of"),
        ({"name": b"/etc/passwd"}, "does not consist of"),
        ({"name": b"a/b"}, "does not consist of"),
        ({"name": b"a\\b"}, "does not consist of"),
        ({"name": b"a\0"}, "does not consist of"),
        ({"name": b"a\n"}, "does not consist of"),
        ({"name": b".hidden"}, "does not consist of"),
        ({"name": b"a..b"}, "does not consist of"),
        ({"name": b"header"}, "section table, entry 1: the name 'header' stands for another part"),
        ({"name": b"container"}, "the name 'container' stands for another part"),
        ({"kind": b"?"}, "section table, entry 1, kind: '\\?' does not consist of"),
        ({"coder": b""}, "section table, entry 1, coder: '' does not consist of"),
        ({"offset": 0}, "section 'b': starts at byte 0, expected"),  # overlaps
        ({"offset": 2**63}, "section 'b': starts at byte 9223372036854775808, expected"),
        ({"length": 4}, "section 'b': 4 bytes from byte .* reach beyond the file's"),
        ({"length": 2**64 - 1}, "section 'b': 18446744073709551615 bytes .* reach beyond"),
        ({"length": 2}, "container: no section covers bytes"),
        ({"stored": b"1234", "length": 3}, "container: no section covers bytes"),
    ],
)
def test_wrong_entry(opened, layout, entry, changes, message: str) -> None:
    last = entry(b"b", b"123")
    for name, value in changes.items():
        setattr(last, name, value)
    with pytest.raises(ArtifactError, match=message):
        opened(layout(entries=[entry(b"a", b"1"), last]).bytes())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crc": 0}, "section 'b': damaged: its CRC-32C does not match"),
        ({"coder": b"zstd"}, "section 'b': unknown coder 'zstd'; known: raw, deflate"),
        ({"raw_length": 4}, "section 'b': 3 bytes stored raw, expected 4"),
        ({"raw_length": 2}, "section 'b': 3 bytes stored raw, expected 2"),
        ({"raw_length": 2**64 - 1}, "section 'b': declares 18446744073709551615 bytes, expected at most"),
        ({"coder": b"deflate"}, "section 'b': damaged deflate stream"),
        ({"coder": b"deflate", "raw_length": 2**20}, "3 bytes of deflate cannot hold 1048576 bytes"),
    ],
)
def test_wrong_content(opened, layout, entry, changes, message: str) -> None:
    last = entry(b"b", b"\xff23")
    for name, value in changes.items():
        setattr(last, name, value)
    reader = opened(layout(entries=[entry(b"a", b"1"), last]).bytes())
    assert reader.read("a") == b"1"
    with pytest.raises(ArtifactError, match=message):
        reader.read("b")


def test_deflate_never_unfolds_past_the_declared_length(opened, layout, entry) -> None:
    compressor = zlib.compressobj(9, wbits=-15)
    bomb = compressor.compress(bytes(2**24)) + compressor.flush()
    assert len(bomb) < 2**24 // 1000

    def reader(stored: bytes, raw_length: int) -> ArtifactReader:
        return opened(layout(entries=[entry(b"x", stored, b"k", b"deflate", raw_length=raw_length)]).bytes())

    assert reader(bomb, 2**24).read("x") == bytes(2**24)
    for declared in (0, 1, 1000, 2**24 - 1):
        with pytest.raises(ArtifactError, match=f"section 'x': the deflate stream holds more than the {declared} byte"):
            reader(bomb, declared).read("x")
    with pytest.raises(ArtifactError, match="the deflate stream ends early: 16777216 of 16777217 bytes"):
        reader(bomb, 2**24 + 1).read("x")
    with pytest.raises(ArtifactError, match="the deflate stream ends early"):
        reader(bomb[:-1], 2**24).read("x")
    with pytest.raises(ArtifactError, match="2 bytes follow the deflate stream"):
        reader(bomb + b"ab", 2**24).read("x")
    with pytest.raises(ArtifactError, match="section 'x': declares 16777216 bytes, expected at most 1000"):
        reader(bomb, 2**24).read("x", max_bytes=1000)
    with pytest.raises(ArtifactError, match="declares 1073741825 bytes, expected at most 1073741824"):
        reader(bomb, 2**30 + 1).read("x")


def test_max_bytes_bounds_raw_sections(opened, layout, entry) -> None:
    reader = opened(layout(entries=[entry(b"x", b"12345")]).bytes())
    assert reader.read("x", max_bytes=5) == b"12345"
    with pytest.raises(ArtifactError, match="section 'x': declares 5 bytes, expected at most 4"):
        reader.read("x", max_bytes=4)


def test_a_full_table(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "a.gsb", "m", "1") as out:
        for index in range(65535):
            out.section(f"s{index}", b"")
        with pytest.raises(ValueError, match="more than 65535 sections"):
            out.section("one_more", b"")
    assert len(ArtifactReader(tmp_path / "a.gsb").sections) == 65535


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gsb")
    with pytest.raises(ArtifactError, match=r"pipe\.gsb: not a file"):
        ArtifactReader(tmp_path / "pipe.gsb")
    with pytest.raises(ArtifactError, match="not a file; expected an artifact"):
        ArtifactReader(tmp_path)
    with pytest.raises(ArtifactError, match=r"missing\.gsb: cannot be read: No such file"):
        ArtifactReader(tmp_path / "missing.gsb")
