"""Damage of every kind is noticed: no byte of a container is without a checksum."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsbench.artifact import ArtifactReader, ArtifactWriter, inspect_artifact
from gsbench.errors import ArtifactError


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("fuzz") / "good.gsb"
    with ArtifactWriter(path, "mine", "1.0") as out:
        out.header.update({"degree": 2, "name": "é", "steps": [0.5, -0.0]})
        out.section("raw", bytes(range(20)))
        out.section("nothing", b"", coder="deflate")
        out.section("packed", b"abcabcabc" * 20, kind="text", coder="deflate")
    read_all(path)
    return path.read_bytes()


def read_all(path: Path) -> None:
    reader = ArtifactReader(path)
    for section in reader.sections:
        reader.read(section.name)


def test_every_flipped_byte(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.gsb"
    for position in range(len(good)):
        for flip in (0x01, 0x80, 0xFF):
            path.write_bytes(good[:position] + bytes([good[position] ^ flip]) + good[position + 1 :])
            with pytest.raises(ArtifactError, match=r"bad\.gsb: (container|header|section)"):
                read_all(path)


def test_flips_in_sections_name_them(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.gsb"
    path.write_bytes(good)
    for section in ArtifactReader(path).sections:
        for position in range(section.offset, section.offset + section.length):
            path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
            reader = ArtifactReader(path)
            with pytest.raises(ArtifactError, match=f"section '{section.name}': damaged"):
                reader.verify()
            with pytest.raises(ArtifactError, match=f"section '{section.name}': damaged"):
                reader.read(section.name)


def test_every_truncation_and_extension(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.gsb"
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(ArtifactError, match=r"bad\.gsb: container: truncated"):
            ArtifactReader(path)
        with pytest.raises(ArtifactError):
            inspect_artifact(path)
    for extra in (b"\0", b"\n", good):
        path.write_bytes(good + extra)
        with pytest.raises(ArtifactError, match="container: trailing bytes"):
            ArtifactReader(path)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_several_changes(good: bytes, tmp_path_factory, data) -> None:
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        end = data.draw(st.integers(start, min(start + 16, len(changed))))
        changed[start:end] = data.draw(st.binary(max_size=16))
    path = tmp_path_factory.getbasetemp() / "changed.gsb"
    path.write_bytes(changed)
    if bytes(changed) == good:
        read_all(path)
    else:
        with pytest.raises(ArtifactError):
            read_all(path)


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gsb"
    for content in (data, b"\x89GSB\r\n\x1a\n" + data):
        path.write_bytes(content)
        with pytest.raises(ArtifactError):
            read_all(path)
