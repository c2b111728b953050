"""ZIP archives, honest and hostile."""

from __future__ import annotations

import contextlib
import io
import itertools
import stat
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gsbench.errors import FetchError, GsbenchError
from gsbench.fetch import unpack as unpacking
from gsbench.fetch.download import Silent
from gsbench.fetch.unpack import Member, check_case, find_folder, select, unpack
from gsbench.fetch.zipindex import (
    TAIL,
    Piece,
    PiecewiseFile,
    directory_pieces,
    find_directory,
    open_archive,
    piecewise,
    wanted_ranges,
)

Zipped = Callable[[dict[str, bytes]], bytes]


def entry(name: str, content: bytes = b"x", **changes: Any) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    for attribute, value in changes.items():
        setattr(info, attribute, value)
    return info, content


def pack(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return buffer.getvalue()


def extract(data: bytes, folder: Path, images: Sequence[str] | None = None, **pinned: str) -> dict[str, Any]:
    """Unpack the scene ``s`` of an archive."""
    folder.mkdir(exist_ok=True)
    with open_archive(io.BytesIO(data), "a.zip") as archive:
        members = select(archive, find_folder(archive, "s", "a.zip"), images, "a.zip")
        return unpack(archive, members, folder, pinned, Silent(), "a.zip")


def patched(data: bytes, old: bytes, new: bytes, count: int | None = None) -> bytes:
    assert len(old) == len(new)
    assert data.count(old) >= 1
    return data.replace(old, new) if count is None else data.replace(old, new, count)


class TestHonest:
    def test_a_folder_is_unpacked(self, tmp_path: Path, zipped: Zipped, contents: Callable[[Path], Any]) -> None:
        files = {"s/a.txt": b"aa" * 500, "s/deep/er/b.bin": b"", "s/ünïcode 名.txt": b"u", "other/c": b"c"}
        written = extract(zipped(files), tmp_path / "s")
        expected = {name[2:]: content for name, content in files.items() if name.startswith("s/")}
        assert contents(tmp_path / "s") == expected
        assert {name: record.bytes for name, record in written.items()} == {n: len(c) for n, c in expected.items()}

    @pytest.mark.parametrize("prefix", ["", "360_v2/", "a/b/"])
    def test_the_folder_may_lie_deeper(self, tmp_path: Path, zipped: Zipped, prefix: str) -> None:
        assert extract(zipped({f"{prefix}s/a": b"1", f"{prefix}other/s2/b": b"2"}), tmp_path / "s").keys() == {"a"}

    def test_a_folder_that_is_not_there(self, tmp_path: Path, zipped: Zipped) -> None:
        with pytest.raises(FetchError, match=r"a\.zip has no folder 's'; it has room, t"):
            extract(zipped({"room/a": b"1", "t/b": b"2"}), tmp_path / "s")
        with pytest.raises(FetchError, match="it has no folders"):
            extract(zipped({"file": b"1"}), tmp_path / "s")

    def test_a_folder_that_is_there_twice(self, tmp_path: Path, zipped: Zipped) -> None:
        with pytest.raises(FetchError, match="several folders 's': x/s/, y/s/"):
            extract(zipped({"x/s/a": b"1", "y/s/a": b"2"}), tmp_path / "s")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FetchError, match="the folder s/ is empty"):
            extract(pack(entry("s/", b"")), tmp_path / "s")

    def test_folders_of_photos_can_be_chosen(self, tmp_path: Path, zipped: Zipped) -> None:
        names = ["images/a", "images_2/a", "images_4/a", "imagesque.txt", "sparse/0/images.bin"]
        data = zipped({f"s/{name}": b"1" for name in names})
        assert set(extract(data, tmp_path / "1")) == set(names)
        assert set(extract(data, tmp_path / "2", ["images_4"])) == {*names[2:]}
        with pytest.raises(FetchError, match="has no folder 'images_8'; it has images, images_2, images_4"):
            extract(data, tmp_path / "3", ["images_8"])

    def test_pinned_files_are_checked(self, tmp_path: Path, zipped: Zipped) -> None:
        written = extract(zipped({"s/a": b"1"}), tmp_path / "1")
        assert extract(zipped({"s/a": b"1"}), tmp_path / "2", a=written["a"].sha256) == written
        with pytest.raises(FetchError, match="s/a: wrong checksum: expected SHA-256 000"):
            extract(zipped({"s/a": b"1"}), tmp_path / "3", a="0" * 64)


class TestHostileNames:
    @pytest.mark.parametrize(
        "name",
        [
            "s/../../evil",
            "s/../evil",
            "s/a/../../../evil",
            "s//etc/passwd",
            "s/./a",
            "s/a/",  # a file entry that claims to be a folder is a folder: nothing to unpack
            "s/C:/evil",
            "s/a:stream",
            "s/a\\..\\..\\evil",
            "s/new\nline",
            "s/bell\x07",
            "s/" + "n" * 256,
            "s/" + "é" * 130,
            "s/" + "d/" * 520 + "x",
        ],
    )
    def test_nothing_is_unpacked(self, tmp_path: Path, name: str) -> None:
        folder = tmp_path / "in" / "s"
        folder.parent.mkdir()
        with pytest.raises(FetchError, match=r"no plain relative name|is empty"):
            extract(pack(entry("s/good"), entry(name)) if not name.endswith("/") else pack(entry(name)), folder)
        assert [p.name for p in tmp_path.rglob("*")] == ["in", "s"]

    def test_a_name_that_ends_early(self, tmp_path: Path) -> None:
        data = patched(pack(entry("s/good"), entry("s/badXX..")), b"s/badXX..", b"s/bad\0/..")
        with pytest.raises(FetchError, match="no plain relative name"):
            extract(data, tmp_path / "s")

    def test_absolute_names_are_no_part_of_the_scene(self, tmp_path: Path) -> None:
        assert set(extract(pack(entry("s/good"), entry("/s/evil"), entry("/etc/passwd")), tmp_path / "s")) == {"good"}

    @pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
    def test_links_and_devices(self, tmp_path: Path, kind: int) -> None:
        evil = entry("s/evil", b"/etc/passwd", external_attr=(kind | 0o777) << 16, create_system=3)
        with pytest.raises(FetchError, match=r"'s/evil' is (a link|neither a file nor a folder)"):
            extract(pack(entry("s/good"), evil), tmp_path / "s")

    def test_the_same_name_twice(self, tmp_path: Path) -> None:
        data = patched(pack(entry("s/a", b"1"), entry("s/b", b"2")), b"s/b", b"s/a")
        with pytest.raises(FetchError, match="'s/a' is there twice"):
            extract(data, tmp_path / "s")

    def test_a_file_that_is_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FetchError, match="'a' is a file and a folder at once"):
            extract(pack(entry("s/a"), entry("s/a/b")), tmp_path / "s")

    def test_names_that_differ_only_in_case(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data = pack(entry("s/Photo.JPG", b"1"), entry("s/photo.jpg", b"2"))
        if not unpacking.ignores_case(tmp_path):
            assert set(extract(data, tmp_path / "1")) == {"Photo.JPG", "photo.jpg"}
        monkeypatch.setattr(unpacking, "ignores_case", lambda folder: True)
        with pytest.raises(FetchError, match=r"'Photo.JPG' and 'photo.jpg' are the same name on this file system"):
            extract(data, tmp_path / "2")

    @pytest.mark.parametrize(
        ("first", "second"), [("Dir/a", "dir/b"), ("é", "e\N{COMBINING ACUTE ACCENT}"), ("ß", "SS")]
    )
    def test_other_names_that_may_be_the_same(self, first: str, second: str) -> None:
        members = [Member(zipfile.ZipInfo(name), name) for name in (first, second)]
        with pytest.raises(FetchError, match="are the same name"):
            check_case(members, "a.zip")

    def test_this_file_system_is_looked_at(self, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        assert unpacking.ignores_case(tmp_path) == (tmp_path / "A").exists()
        assert [p.name for p in tmp_path.iterdir()] == ["a"]


class TestHostileContents:
    def test_encrypted(self, tmp_path: Path) -> None:
        data = bytearray(pack(entry("s/a")))
        directory = data.rindex(b"PK\1\2")
        data[directory + 8] |= 1
        with pytest.raises(FetchError, match="'s/a' is encrypted"):
            extract(bytes(data), tmp_path / "s")

    def test_another_method(self, tmp_path: Path) -> None:
        with pytest.raises(FetchError, match=r"'s/a' is packed with method 12; expected deflate"):
            extract(pack(entry("s/a", compress_type=zipfile.ZIP_BZIP2)), tmp_path / "s")

    def test_a_bomb_by_its_ratio(self, tmp_path: Path) -> None:
        with pytest.raises(FetchError, match=r"would grow from [\d,]+ to 33,554,432 bytes"):
            extract(pack(entry("s/bomb", b"\0" * (32 << 20))), tmp_path / "s")
        assert set(extract(pack(entry("s/small", b"\0" * (8 << 20))), tmp_path / "s")) == {"small"}

    def test_a_bomb_by_its_sum(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unpacking, "MAX_BYTES", 1_000)
        with pytest.raises(FetchError, match="2 files of 1,200 bytes in all are more than a data set has"):
            extract(pack(entry("s/a", b"1" * 600), entry("s/b", b"2" * 600)), tmp_path / "s")

    def test_a_bomb_by_its_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unpacking, "MAX_FILES", 2)
        with pytest.raises(FetchError, match="3 files of 3 bytes"):
            extract(pack(*(entry(f"s/{index}") for index in range(3))), tmp_path / "s")

    def test_a_bomb_of_shared_data(self, tmp_path: Path) -> None:
        """Many names for the same compressed bytes."""
        data = bytearray(pack(entry("s/a", b"1" * 5000), entry("s/b", b"1" * 5000)))
        second = data.rindex(b"PK\1\2")
        data[second + 42 : second + 46] = struct.pack("<L", 0)
        with pytest.raises(FetchError, match=r"shares its data with another file|damaged"):
            extract(bytes(data), tmp_path / "s")

    @pytest.mark.parametrize("claimed", [10, 4_999, 5_001, 1 << 20])
    def test_a_length_that_is_a_lie(self, tmp_path: Path, claimed: int) -> None:
        """More or less data than the directory says: at most what it says is written, and the member is refused."""
        data = bytearray(pack(entry("s/a", bytes(range(250)) * 20)))
        for magic, at in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
            start = data.index(magic)
            data[start + at : start + at + 4] = struct.pack("<L", claimed)
        with pytest.raises(FetchError, match=r"'s/a' (is damaged|has 5,000 bytes, its directory says)"):
            extract(bytes(data), tmp_path / "s")
        assert (tmp_path / "s" / "a").stat().st_size <= claimed

    def test_a_flipped_bit(self, tmp_path: Path, random_bytes: Callable[..., bytes]) -> None:
        content = random_bytes(1000)
        data = bytearray(pack(entry("s/a", content, compress_type=zipfile.ZIP_STORED)))
        data[100] ^= 1
        with pytest.raises(FetchError, match="'s/a' is damaged: Bad CRC-32"):
            extract(bytes(data), tmp_path / "s")

    def test_a_local_header_with_another_name(self, tmp_path: Path) -> None:
        data = patched(pack(entry("s/a"), entry("s/b")), b"s/b", b"s/c", 1)
        with pytest.raises(
            FetchError, match=r"'s/b' is damaged: File name in directory 's/b' and header b's/c' differ"
        ):
            extract(data, tmp_path / "s")


class TestDirectory:
    def test_no_archive_at_all(self) -> None:
        for data in (b"", b"<html>Not found</html>", b"PK\5\6", bytes(100_000)):
            with (
                pytest.raises(FetchError, match=r"a\.zip is not a complete ZIP archive"),
                open_archive(io.BytesIO(data), "a.zip"),
            ):
                pass

    def test_a_truncated_archive(self, zipped: Zipped) -> None:
        data = zipped({"s/a": b"1" * 1000})
        for cut in (1, 10, 100):
            with pytest.raises(FetchError, match="complete ZIP"), open_archive(io.BytesIO(data[:-cut]), "a.zip"):
                pass

    def test_a_comment_that_looks_like_an_end(self) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("s/a", b"1")
            archive.comment = b"PK\5\6" + b"\xff" * 30
        data = buffer.getvalue()
        found = find_directory(data[-TAIL:], len(data), "a.zip")
        assert data[found.start : found.start + 4] == b"PK\1\2"
        assert found.members == 1

    def test_a_directory_of_absurd_size(self, zipped: Zipped) -> None:
        data = bytearray(zipped({"s/a": b"1"}))
        end = data.rindex(b"PK\5\6")
        for at, form, value, message in [
            (12, "<L", 0xFFFFFFF0, "which is refused"),
            (12, "<L", 1000, "would begin before the file"),
            (8, "<HH", (60_000, 60_000), "60,000 members"),
            (4, "<H", 1, "one of several parts"),
        ]:
            changed = bytearray(data)
            values = value if isinstance(value, tuple) else (value,)
            struct.pack_into(form, changed, end + at, *values)
            with pytest.raises(FetchError, match=message):
                find_directory(bytes(changed[-TAIL:]), len(changed), "a.zip")

    def test_zip64(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """More than 65,535 members make a zip64 archive."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for index in range(66_000):
                archive.writestr(zipfile.ZipInfo(f"x/{index}"), b"")
            archive.writestr("s/a", b"content")
        data = buffer.getvalue()
        assert b"PK\6\6" in data[-200:]
        found = find_directory(data[-TAIL:], len(data), "a.zip")
        assert found.members == 66_001
        assert data[found.start : found.start + 4] == b"PK\1\2"
        assert set(extract(data, tmp_path / "s")) == {"a"}
        broken = patched(data, b"PK\6\6", b"PK\6\5")
        with pytest.raises(FetchError, match="zip64 record is not where it should be"):
            find_directory(broken[-TAIL:], len(data), "a.zip")

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_mutations_end_in_one_message(self, tmp_path: Path, data: st.DataObject) -> None:
        """Whatever is changed in an archive, nothing leaves the folder and no other error escapes."""
        original = pack(entry("s/a", b"abc" * 300), entry("s/d/b", b"b" * 50), entry("t/c"))
        changed = bytearray(original)
        for _ in range(data.draw(st.integers(1, 6))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        folder = tmp_path / "parent" / "s"
        folder.parent.mkdir(exist_ok=True)
        with contextlib.suppress(GsbenchError):
            extract(bytes(changed), folder)
        for path in folder.rglob("*"):
            path.unlink() if path.is_file() else None
        assert {p.name for p in tmp_path.iterdir()} == {"parent"}
        for path in sorted(folder.parent.rglob("*"), reverse=True):
            path.rmdir()


class TestPieces:
    def members(self, data: bytes) -> dict[str, tuple[int, int]]:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {info.filename: wanted_ranges(archive, [info], gap=0)[0] for info in archive.infolist()}

    def test_ranges_are_exact(self, archive: bytes) -> None:
        """Each member's range begins with its local header and ends where the next begins."""
        ranges = sorted(self.members(archive).values())
        assert ranges[0][0] == 0
        for (_, end), (start, _) in itertools.pairwise(ranges):
            assert end == start
        assert all(archive[start : start + 4] == b"PK\3\4" for start, _ in ranges)
        assert archive[ranges[-1][1] : ranges[-1][1] + 4] == b"PK\1\2"

    def test_near_ranges_are_one(self, archive: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            members = [i for i in opened.infolist() if not i.is_dir()]
            every_other = members[::2]
            assert len(wanted_ranges(opened, every_other, gap=0)) == len(every_other)
            assert len(wanted_ranges(opened, every_other)) == 1
            assert len(wanted_ranges(opened, members, gap=0)) == 1

    def test_an_archive_in_pieces(self, archive: bytes, scenes: dict[str, Any], tmp_path: Path) -> None:
        """What was not fetched is not there, and reading it is told."""

        def read(start: int, end: int) -> bytes:
            return archive[start:end]

        start, end = self.members(archive)["garden/images/b.jpg"]
        (tmp_path / "piece").write_bytes(archive[start:end])
        middle = (start + end) // 2
        pieces = [
            Piece(start, middle - start, archive[start:middle]),
            Piece(start, end - start, tmp_path / "piece"),
            *directory_pieces(read, len(archive), "a.zip"),
        ]
        with piecewise(len(archive), pieces, "a.zip") as file, open_archive(file, "a.zip") as opened:
            assert opened.read("garden/images/b.jpg") == scenes["garden"]["images/b.jpg"]
            with pytest.raises(FetchError, match="points to bytes that belong to no member"):
                opened.read("garden/images/a.jpg")

    def test_a_member_outside_of_the_file(self, zipped: Zipped) -> None:
        data = bytearray(zipped({"s/a": b"1" * 100}))
        directory = data.rindex(b"PK\1\2")
        struct.pack_into("<L", data, directory + 42, 0x7FFFFFFF)
        with (
            zipfile.ZipFile(io.BytesIO(bytes(data))) as opened,
            pytest.raises(FetchError, match="puts 's/a' outside of the file"),
        ):
            wanted_ranges(opened, [opened.getinfo("s/a")])

    def test_it_reads_as_a_file_does(self, archive: bytes) -> None:
        middle = len(archive) // 2
        pieces = [Piece(0, middle, archive[:middle]), Piece(middle, len(archive) - middle, archive[middle:])]
        with piecewise(len(archive), pieces, "a.zip") as file:
            assert file.read() == archive
            assert file.seek(-10, io.SEEK_END) == len(archive) - 10
            assert file.read(100) == archive[-10:]
            file.seek(middle - 5)
            assert file.read(10) == archive[middle - 5 : middle + 5]
            with pytest.raises(ValueError, match="negative"):
                PiecewiseFile(10, [], "a.zip").seek(-1)
