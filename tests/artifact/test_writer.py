from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsbench.artifact import ArtifactReader, ArtifactWriter, inspect_artifact, open_artifact
from gsbench.errors import ArtifactError, StoreError

LABELS = st.from_regex(r"[A-Za-z0-9_]{1,12}([.-][A-Za-z0-9_]{1,12}){0,3}", fullmatch=True)
NAMES = LABELS.filter(lambda name: name not in ("container", "header"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal in type and bits, unlike ==, for which 1 == 1.0 == True and 0.0 == -0.0."""
    return repr(a) == repr(b) if not isinstance(a, dict) else a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)


@settings(deadline=None, max_examples=50)
@given(
    method=st.text(),
    version=st.text(),
    header=st.dictionaries(st.text(), JSON, max_size=5),
    sections=st.lists(
        st.tuples(NAMES, st.binary(max_size=200), LABELS, st.sampled_from(["raw", "deflate"])),
        max_size=5,
        unique_by=lambda s: s[0],
    ),
)
def test_round_trip(tmp_path_factory, method: str, version: str, header: dict[str, Any], sections) -> None:
    folder = tmp_path_factory.mktemp("round-trip")
    for name in ("a.gsb", "b.gsb"):
        with ArtifactWriter(folder / name, method, version) as out:
            # The order of keys makes no difference.
            for key in header if name == "a.gsb" else reversed(list(header)):
                out.header[key] = header[key]
            for section, data, kind, coder in sections:
                out.section(section, data, kind=kind, coder=coder)
    data = (folder / "a.gsb").read_bytes()
    assert (folder / "b.gsb").read_bytes() == data

    reader = open_artifact(folder / "a.gsb")
    reader.verify()
    assert (reader.method, reader.plugin_version, reader.size) == (method, version, len(data))
    assert same(dict(sorted(reader.header.items())), {key: _sorted(header[key]) for key in sorted(header)})
    assert [(s.name, reader.read(s.name), s.kind, s.coder) for s in reader.sections] == sections
    parts = inspect_artifact(folder / "a.gsb")
    assert sum(count for _, count in parts) == len(data)
    assert [name for name, _ in parts] == ["container", "header", *(s[0] for s in sections)]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "header.a: nan is not a JSON number"),
        ([1, {"b": float("inf")}], r"header.a\[1\].b: inf is not a JSON number"),
        ({1: 2}, "header.a: the key 1 is not a string"),
        (b"bytes", "header.a: expected a JSON value .* got <class 'bytes'>"),
        (Path("x"), "header.a: expected a JSON value"),
        ("x" * 2**20, "header: 10486.. bytes of JSON, expected at most 1048576; put data into a section"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_header_must_be_json(tmp_path: Path, value: Any, message: str) -> None:
    out = ArtifactWriter(tmp_path / "a.gsb", "m", "1")
    out.header["a"] = value
    with pytest.raises(ValueError, match=message):
        out.close()
    assert list(tmp_path.iterdir()) == []


def test_header_depth_is_the_same_for_writer_and_reader(tmp_path: Path) -> None:
    def nested(depth: int) -> Any:
        return [nested(depth - 1)] if depth else []

    with ArtifactWriter(tmp_path / "a.gsb", "m", "1") as out:
        out.header["a"] = nested(62)
    assert ArtifactReader(tmp_path / "a.gsb").header["a"] == nested(62)
    out = ArtifactWriter(tmp_path / "b.gsb", "m", "1")
    out.header["a"] = nested(63)
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        out.close()


def test_tuples_become_lists(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "a.gsb", "m", "1") as out:
        out.header["a"] = (1, (2,))
    assert ArtifactReader(tmp_path / "a.gsb").header == {"a": [1, [2]]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a"}, "section 'a': there is one of this name already"),
        ({"name": "../a"}, "section '../a': the name '../a' does not consist of"),
        ({"name": ""}, "the name '' does not consist of"),
        ({"name": "é"}, "the name 'é' does not consist of"),
        ({"name": "a" * 65}, "is 65 characters long, expected at most 64"),
        ({"name": "header"}, "the name 'header' stands for another part of the file"),
        ({"name": "b", "kind": "a b"}, "section 'b': the kind 'a b' does not consist of"),
        ({"name": "b", "coder": "zip"}, "section 'b': unknown coder 'zip'; known: raw, deflate"),
    ],
)
def test_wrong_sections(tmp_path: Path, arguments: dict[str, str], message: str) -> None:
    with ArtifactWriter(tmp_path / "a.gsb", "m", "1") as out:
        out.section("a", b"first")
        with pytest.raises(ValueError, match=message):
            out.section(data=b"second", **arguments)
    assert [s.name for s in ArtifactReader(tmp_path / "a.gsb").sections] == ["a"]


def test_data_is_copied(tmp_path: Path) -> None:
    data = bytearray(b"abc")
    with ArtifactWriter(tmp_path / "a.gsb", "m", "1") as out:
        out.section("a", data)
        out.section("b", memoryview(b"abcdef")[::2])
        data[:] = b"xyz"
    reader = ArtifactReader(tmp_path / "a.gsb")
    assert (reader.read("a"), reader.read("b")) == (b"abc", b"ace")


def test_nothing_is_left_on_error(tmp_path: Path) -> None:
    (tmp_path / "a.gsb").write_bytes(b"what was there before")

    def fail_half_way(name: str) -> None:
        with ArtifactWriter(tmp_path / name, "m", "1") as out:
            if name.endswith(".gsb"):
                out.section("a", b"1")
            else:
                out.native(".ply").write_bytes(b"half of it")
            raise RuntimeError("boom")

    for name in ("a.gsb", "b.ply"):
        with pytest.raises(RuntimeError, match="boom"):
            fail_half_way(name)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gsb"]
    assert (tmp_path / "a.gsb").read_bytes() == b"what was there before"


def test_replaces_what_was_there_when_closed_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "a.gsb"
    path.write_bytes(b"old")
    out = ArtifactWriter(path, "m", "1")
    out.section("a", b"1")
    assert path.read_bytes() == b"old"
    out.close()
    out.close()
    assert ArtifactReader(path).read("a") == b"1"
    assert [p.name for p in tmp_path.iterdir()] == ["a.gsb"]
    with pytest.raises(ValueError, match="closed"):
        out.section("b", b"2")


def test_is_readable_as_the_umask_says(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with ArtifactWriter(tmp_path / "a.gsb", "m", "1"):
        pass
    mode = stat.S_IMODE((tmp_path / "a.gsb").stat().st_mode)
    assert mode == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    out = ArtifactWriter(tmp_path / "no" / "a.gsb", "m", "1")
    with pytest.raises(StoreError, match=r"cannot write .*a\.gsb: No such file or directory"):
        out.close()
    with pytest.raises(StoreError, match=r"cannot write .*a\.ply: No such file or directory"):
        ArtifactWriter(tmp_path / "no" / "a.ply", "m", "1").native(".ply")
    (tmp_path / "b.gsb").mkdir()
    (tmp_path / "b.gsb" / "x").touch()
    with pytest.raises(StoreError, match=r"cannot write .*b\.gsb"):
        ArtifactWriter(tmp_path / "b.gsb", "m", "1").close()
    assert [p.name for p in tmp_path.iterdir()] == ["b.gsb"]


def test_native_file(tmp_path: Path) -> None:
    path = tmp_path / "scene.xyz"
    with ArtifactWriter(path, "m", "1") as out:
        temporary = out.native(".xyz")
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".xyz"
        assert out.native(".xyz") == temporary
        temporary.write_bytes(b"content")
        assert not path.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["scene.xyz"]
    reader = open_artifact(path, method="anything")
    assert (reader.is_native, reader.path, reader.size) == (True, path, 7)
    assert reader.sha256 == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert (reader.method, reader.plugin_version, reader.header, reader.sections) == (None, None, {}, [])
    assert inspect_artifact(path) == [("file", 7)]
    with pytest.raises(ArtifactError, match="section 'a' is missing: a native file has no sections"):
        reader.read("a")


def test_native_written_by_renaming(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "a.xyz", "m", "1") as out:
        (tmp_path / "other").write_bytes(b"content")
        (tmp_path / "other").replace(out.native(".xyz"))
    assert (tmp_path / "a.xyz").read_bytes() == b"content"


def test_native_misuse(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"native\('\.ply'\): the artifact is called a\.gsb; .*MethodSpec\.suffix"):
        ArtifactWriter(tmp_path / "a.gsb", "m", "1").native(".ply")
    with pytest.raises(ValueError, match=r"native\('\.gsb'\)"):
        ArtifactWriter(tmp_path / "a.gsb", "m", "1").native(".gsb")
    out = ArtifactWriter(tmp_path / "a.ply", "m", "1")
    out.native(".ply")
    with pytest.raises(ValueError, match="section 'a': the artifact is a native file"):
        out.section("a", b"")
    with pytest.raises(ValueError, match=r"nothing was written to the path that native\(\) gave"):
        out.close()
    out = ArtifactWriter(tmp_path / "a.ply", "m", "1")
    out.native(".ply").write_bytes(b"x")
    out.header["a"] = 1
    with pytest.raises(ValueError, match=r"a native file has no place for a header, got \['a'\]"):
        out.close()
    out = ArtifactWriter(tmp_path / "a.ply", "m", "1")
    out.native(".ply").unlink()
    with pytest.raises(StoreError, match=r"cannot write .*a\.ply: No such file"):
        out.close()
    with pytest.raises(ValueError, match=r"the name of a container must end in \.gsb"):
        ArtifactWriter(tmp_path / "a.ply", "m", "1").close()
    out = ArtifactWriter(tmp_path / "a.ply", "m", "1")
    out.section("a", b"")
    with pytest.raises(ValueError, match=r"there are sections already: \['a'\]"):
        out.native(".ply")
    assert list(tmp_path.iterdir()) == []


def test_another_methods_artifact(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "a.gsb", "mine", "1"):
        pass
    assert open_artifact(tmp_path / "a.gsb", method="mine").method == "mine"
    with pytest.raises(ArtifactError, match=r"a\.gsb: written by method 'mine', expected 'yours'"):
        open_artifact(tmp_path / "a.gsb", method="yours")


def test_a_container_under_another_name(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "a.gsb", "mine", "1"):
        pass
    (tmp_path / "a.gsb").rename(tmp_path / "renamed.bin")
    assert open_artifact(tmp_path / "renamed.bin").method == "mine"


def test_missing_section(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "a.gsb", "mine", "1") as out:
        out.section("one", b"")
    with pytest.raises(ArtifactError, match=r"a\.gsb: section 'two' is missing; it has \['one'\]"):
        open_artifact(tmp_path / "a.gsb").read("two")


def test_file_that_changes_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.gsb"
    with ArtifactWriter(path, "mine", "1") as out:
        out.section("one", b"abc")
    reader = open_artifact(path)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(ArtifactError, match="section 'one': the file changed its size after it was opened"):
        reader.read("one")
    path.write_bytes(data[:-1] + b"X")
    with pytest.raises(ArtifactError, match="section 'one': damaged"):
        reader.read("one")
    path.unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        reader.read("one")
