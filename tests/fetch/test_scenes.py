"""Scenes from an archive on a server: in parts, whole, again, and from servers that fail."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from gsbench.errors import FetchError, SceneError, StoreError, UsageError
from gsbench.fetch import fetch_scenes, require_scene
from gsbench.fetch import source as source_module
from gsbench.fetch.catalog import Archive, Catalog, Dataset, Weights
from gsbench.fetch.download import Patience, Silent
from gsbench.fetch.options import FetchOptions, Outcome
from gsbench.fetch.record import check_files, read_record, record_path
from gsbench.fetch.targets import Target

Files = dict[str, dict[str, bytes]]
Contents = Callable[[Path], dict[str, bytes]]

GARDEN, ROOM = Target("set", "garden"), Target("set", "room")


def make_catalog(urls: Sequence[str], pins: Mapping[str, Mapping[str, str]] | None = None) -> Catalog:
    """Two scenes in one archive; a third data set takes another scene from the same archive, and one is by hand."""
    archive = Archive("a.zip", tuple(urls), {"garden": "garden", "room": "room"}, files=pins or {})
    again = Archive("a.zip", tuple(urls), {"same": "room"})
    datasets = {
        "set": Dataset("set", "A set", "", "", ("garden", "room"), (archive,)),
        "twin": Dataset("twin", "Its twin", "", "", ("same",), (again,)),
        "manual": Dataset("manual", "By hand", "", "", ("one",), (), "ask the authors"),
    }
    return Catalog(7, datasets, Weights("", "", "", {}))


@pytest.fixture
def fetch(patience: Patience, places: Path) -> Callable[..., list[Outcome]]:
    def run(targets: Sequence[Target], catalog: Catalog, shown: Any = None, **options: Any) -> list[Outcome]:
        chosen = FetchOptions(**{"patience": patience, **options})
        return list(fetch_scenes(targets, chosen, catalog, lambda title: shown or Silent()))

    return run


Fetch = Callable[..., list[Outcome]]


def clean(places: Path, *scenes: str) -> None:
    """Nothing is left but the scenes, their records and the lock."""
    assert {p.name for p in (places / ".downloads").iterdir()} == {"lock"}
    assert {p.name for p in (places / "set").iterdir()} == {*scenes, *(f"{scene}.fetched.json" for scene in scenes)}


def test_one_scene_of_a_remote_archive(
    server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
) -> None:
    """Only its bytes are fetched, and the directory."""
    big = bigger(archive, 500_000)
    catalog = make_catalog([server.serve("a.zip", big)])
    (outcome,) = fetch([GARDEN], catalog)
    assert outcome == Outcome(
        "set/garden", "fetched", places / "set/garden", 6, sum(map(len, scenes["garden"].values())),
        note="its hashes are recorded now and compared by: gsbench fetch --verify",
    )  # fmt: skip
    assert contents(places / "set" / "garden") == scenes["garden"]
    assert server.sent["a.zip"] < len(big) // 3
    assert all(header is not None for header in server.ranges_asked("a.zip"))
    clean(places, "garden")


def bigger(archive: bytes, size: int) -> bytes:
    """The archive with a large member in its middle that nobody asks for, and a directory longer than its tail."""
    source, target = zipfile.ZipFile(io.BytesIO(archive)), io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for info in source.infolist():
            if info.filename == "room/":
                out.writestr(zipfile.ZipInfo("huge"), bytes(size))
                for index in range(1500):
                    out.writestr(zipfile.ZipInfo(f"many/{index:050}"), b"")
            out.writestr(info, source.read(info))
    return target.getvalue()


def test_a_directory_longer_than_the_tail(
    server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
) -> None:
    big = bigger(archive, 10)
    catalog = make_catalog([server.serve("a.zip", big)])
    assert [o.status for o in fetch([ROOM], catalog)] == ["fetched"]
    assert contents(places / "set" / "room") == scenes["room"]


@pytest.mark.parametrize("ranges", [True, False])
def test_both_scenes_and_the_one_of_another_data_set(
    server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents, ranges: bool
) -> None:
    catalog = make_catalog([server.serve("a.zip", archive, ranges=ranges)])
    outcomes = fetch([GARDEN, Target("twin", "same"), ROOM], catalog)
    assert [o.status for o in outcomes] == ["fetched"] * 3
    assert contents(places / "set" / "garden") == scenes["garden"]
    assert contents(places / "set" / "room") == contents(places / "twin" / "same") == scenes["room"]
    if not ranges:
        assert server.sent["a.zip"] <= 2 * len(archive), "asked once for parts, and then fetched once"
    clean(places, "garden", "room")


def test_without_parts_the_whole_archive_is_fetched(
    server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents, heard: Any
) -> None:
    catalog = make_catalog([server.serve("a.zip", archive, ranges=False)])
    assert [o.status for o in fetch([ROOM], catalog, heard)] == ["fetched"]
    assert contents(places / "set" / "room") == scenes["room"]
    assert any("sends no parts of a.zip, so the whole archive" in note for note in heard.notes)
    assert heard.stages == ["read directory", "download", "unpack"]
    clean(places, "room")


def test_a_whole_archive_can_be_kept(server: Any, archive: bytes, fetch: Fetch, places: Path) -> None:
    catalog = make_catalog([server.serve("a.zip", archive, ranges=False)])
    fetch([ROOM], catalog, keep=True)
    asked = len(server.asked)
    assert [o.status for o in fetch([GARDEN], catalog, keep=True)] == ["fetched"]
    assert len(server.asked) == asked
    fetch([ROOM], catalog, force=True)
    clean(places, "garden", "room")


def test_a_server_that_stops_sending_parts(
    server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
) -> None:
    """It sent the directory in parts, then answers with the whole file."""
    catalog = make_catalog([server.serve("a.zip", archive)])

    class Stopping(Silent):
        def stage(self, name: str) -> None:
            server.files["a.zip"].ranges = name == "read directory" and server.files["a.zip"].ranges

    assert [o.status for o in fetch([ROOM], catalog, Stopping())] == ["fetched"]
    assert contents(places / "set" / "room") == scenes["room"]
    clean(places, "room")


def test_an_archive_that_changes_between_directory_and_members(
    server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents, heard: Any
) -> None:
    catalog = make_catalog([server.serve("a.zip", bigger(archive, 1000))])
    note_stage = heard.stage

    def stage(name: str) -> None:
        note_stage(name)
        if heard.stages == ["read directory", "download"]:
            server.serve("a.zip", archive, etag='"two"')

    heard.stage = stage
    assert [o.status for o in fetch([ROOM], catalog, heard)] == ["fetched"]
    assert contents(places / "set" / "room") == scenes["room"]
    assert heard.stages == ["read directory", "download", "read directory", "download", "unpack"]


def test_a_broken_fetch_goes_on(
    server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
) -> None:
    url = server.serve("a.zip", bigger(archive, 500_000))
    catalog = make_catalog([url])
    server.files["a.zip"].faults = [{}, {}, {}, {"break_after": 30_000}, *[{"status": 503}] * 3]
    (outcome,) = fetch([GARDEN], catalog)
    assert outcome.status == "failed"
    assert isinstance(outcome.error, FetchError)
    assert "goes on from there" in str(outcome.error)
    assert not (places / "set" / "garden").exists()
    before = server.sent["a.zip"]
    assert [o.status for o in fetch([GARDEN], catalog)] == ["fetched"]
    assert contents(places / "set" / "garden") == scenes["garden"]
    start, end = (int(text) for text in server.ranges_asked("a.zip")[3].removeprefix("bytes=").split("-"))
    assert server.ranges_asked("a.zip")[-1] == f"bytes={start + 30_000}-{end}"
    assert server.sent["a.zip"] - before < 250_000
    clean(places, "garden")


def test_what_is_there_costs_no_connection(server: Any, archive: bytes, fetch: Fetch, places: Path) -> None:
    catalog = make_catalog([server.serve("a.zip", archive)])
    fetch([GARDEN], catalog)
    asked = len(server.asked)
    (outcome,) = fetch([GARDEN], catalog)
    assert (outcome.status, outcome.files) == ("present", 6)
    assert len(server.asked) == asked


def test_force_fetches_again_and_tells_what_differs(
    server: Any, scenes: Files, zipped: Any, archive: bytes, fetch: Fetch, places: Path, contents: Contents
) -> None:
    catalog = make_catalog([server.serve("a.zip", archive)])
    fetch([GARDEN], catalog)
    (places / "set" / "garden" / "stray").touch()
    changed = {f"garden/{name}": content for name, content in scenes["garden"].items()}
    changed["garden/images/a.jpg"] = b"another"
    server.serve("a.zip", zipped(changed), etag='"two"')
    (outcome,) = fetch([GARDEN], catalog, force=True)
    assert outcome.note == "1 of 6 files differ from those fetched before, such as images/a.jpg"
    assert contents(places / "set" / "garden") == {**scenes["garden"], "images/a.jpg": b"another"}
    clean(places, "garden")


def test_missing_files_are_fetched_alone(
    server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
) -> None:
    catalog = make_catalog([server.serve("a.zip", archive)])
    fetch([GARDEN], catalog)
    folder = places / "set" / "garden"
    shutil.rmtree(folder / "images_4")
    (folder / "poses_bounds.npy").write_bytes(b"cut")
    (folder / "mine").touch()
    sent = server.sent["a.zip"]
    assert [o.status for o in fetch([GARDEN], catalog)] == ["fetched"]
    assert contents(folder) == {**scenes["garden"], "mine": b""}
    assert check_files(folder, read_record(folder)).ok  # type: ignore[arg-type]
    assert server.sent["a.zip"] - sent < 100_000


class TestImages:
    def test_only_some_folders_and_others_later(
        self, server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
    ) -> None:
        catalog = make_catalog([server.serve("a.zip", archive)])
        folder = places / "set" / "garden"
        small = {name: content for name, content in scenes["garden"].items() if not name.startswith("images/")}
        assert [o.files for o in fetch([GARDEN], catalog, images=("images_4",))] == [4]
        assert contents(folder) == small
        assert [o.status for o in fetch([GARDEN], catalog, images=("images_4",))] == ["present"]
        assert [o.status for o in fetch([GARDEN], catalog)] == ["fetched"], "all are wanted now"
        assert contents(folder) == scenes["garden"]
        assert [o.status for o in fetch([GARDEN], catalog, images=("images",))] == ["present"]

    def test_one_after_the_other(
        self, server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
    ) -> None:
        catalog = make_catalog([server.serve("a.zip", archive)])
        fetch([GARDEN], catalog, images=("images_4",))
        fetch([GARDEN], catalog, images=("images",))
        assert contents(places / "set" / "garden") == scenes["garden"]
        record = read_record(places / "set" / "garden")
        assert record is not None
        assert record.images == ("images_4", "images")

    def test_a_folder_of_ones_own_is_not_replaced(
        self, server: Any, archive: bytes, fetch: Fetch, places: Path
    ) -> None:
        catalog = make_catalog([server.serve("a.zip", archive)])
        fetch([GARDEN], catalog, images=("images_4",))
        mine = places / "set" / "garden" / "images" / "a.jpg"
        mine.parent.mkdir()
        mine.write_bytes(b"mine")
        (outcome,) = fetch([GARDEN], catalog)
        assert "images/a.jpg was not fetched by gsbench" in str(outcome.error)
        assert mine.read_bytes() == b"mine"

    def test_one_that_the_archive_does_not_have(self, server: Any, archive: bytes, fetch: Fetch) -> None:
        catalog = make_catalog([server.serve("a.zip", archive)])
        (outcome,) = fetch([GARDEN], catalog, images=("images_8",))
        assert "has no folder 'images_8'; it has images, images_4" in str(outcome.error)


class TestPlaces:
    def test_a_local_archive(
        self, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents, tmp_path: Path
    ) -> None:
        (tmp_path / "local.zip").write_bytes(archive)
        catalog = make_catalog(["http://127.0.0.1:9/never-asked"])
        assert [o.status for o in fetch([GARDEN], catalog, url=str(tmp_path / "local.zip"))] == ["fetched"]
        assert contents(places / "set" / "garden") == scenes["garden"]
        assert (tmp_path / "local.zip").exists()
        record = read_record(places / "set" / "garden")
        assert record is not None
        assert record.source == str(tmp_path / "local.zip")

    def test_a_local_archive_that_is_not_there(self, fetch: Fetch, tmp_path: Path) -> None:
        (outcome,) = fetch([GARDEN], make_catalog([]), url=str(tmp_path / "none.zip"))
        assert str(outcome.error) == f"{tmp_path / 'none.zip'}: No such file or directory"

    def test_a_mirror(self, server: Any, archive: bytes, fetch: Fetch) -> None:
        catalog = make_catalog(["http://127.0.0.1:9/never-asked"])
        assert [o.status for o in fetch([GARDEN], catalog, url=server.serve("m", archive))] == ["fetched"]

    def test_one_mirror_for_several_archives(self, fetch: Fetch) -> None:
        catalog = make_catalog(["http://a/"])
        other = Dataset("other", "", "", "", ("x",), (Archive("b.zip", ("http://b/",), {"x": "x"}),))
        both = Catalog(1, {**catalog.datasets, "other": other}, catalog.lpips)
        with pytest.raises(UsageError, match=r"these targets come from 2: a\.zip, b\.zip"):
            fetch([GARDEN, Target("other", "x")], both, url="http://m/")

    def test_the_next_address_is_tried(self, server: Any, archive: bytes, fetch: Fetch, heard: Any) -> None:
        broken = server.serve("broken.zip", archive[:-30])
        catalog = make_catalog([server.url("gone.zip"), broken, server.serve("a.zip", archive)])
        assert [o.status for o in fetch([GARDEN], catalog, heard)] == ["fetched"]
        assert [n for n in heard.notes if "404" in n and "trying the next address" in n]
        assert [n for n in heard.notes if "not a complete ZIP archive" in n]

    def test_by_hand(self, fetch: Fetch) -> None:
        with pytest.raises(UsageError, match="manual/one cannot be fetched"):
            fetch([Target("manual", "one")], make_catalog([]))


class TestDamage:
    def test_a_failed_scene_does_not_stop_the_others(
        self, server: Any, scenes: Files, zipped: Any, fetch: Fetch, places: Path
    ) -> None:
        files = {f"room/{name}": content for name, content in scenes["room"].items()}
        catalog = make_catalog([server.serve("a.zip", zipped(files))])
        garden, room = fetch([GARDEN, ROOM], catalog)
        assert (garden.status, room.status) == ("failed", "fetched")
        assert "has no folder 'garden'; it has room" in str(garden.error)

    @pytest.mark.parametrize("ranges", [True, False])
    def test_damaged_data_are_not_kept(
        self, server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents, ranges: bool
    ) -> None:
        """Or every further attempt would unpack the same damage."""
        at = archive.index(scenes["garden"]["images/a.jpg"][:64])
        damaged = archive[:at] + b"\0" * 64 + archive[at + 64 :]
        catalog = make_catalog([server.serve("a.zip", damaged, ranges=ranges)])
        (outcome,) = fetch([GARDEN], catalog)
        assert "images/a.jpg' is damaged" in str(outcome.error)
        assert [p.name for p in (places / ".downloads").iterdir()] == ["lock"]
        assert not (places / "set" / "garden").exists()
        server.serve("a.zip", archive, ranges=ranges)
        assert [o.status for o in fetch([GARDEN], catalog)] == ["fetched"]
        assert contents(places / "set" / "garden") == scenes["garden"]

    def test_what_was_there_survives_a_failed_replacement(
        self, server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
    ) -> None:
        catalog = make_catalog([server.serve("a.zip", archive)])
        fetch([GARDEN], catalog)
        server.serve("a.zip", archive[:-100], etag='"two"')
        assert [o.status for o in fetch([GARDEN], catalog, force=True)] == ["failed"]
        assert contents(places / "set" / "garden") == scenes["garden"]

    def test_a_page_instead_of_an_archive(self, server: Any, fetch: Fetch, places: Path) -> None:
        """What a server sends that wants a click first."""
        catalog = make_catalog([server.serve("a.zip", b"<html>Too many requests</html>", ranges=False)])
        (outcome,) = fetch([GARDEN], catalog)
        assert "is not a complete ZIP archive" in str(outcome.error)
        assert [p.name for p in (places / ".downloads").iterdir()] == ["lock"]

    def test_pinned_files(self, server: Any, archive: bytes, scenes: Files, fetch: Fetch) -> None:
        import hashlib

        right = {name: hashlib.sha256(content).hexdigest() for name, content in scenes["garden"].items()}
        url = server.serve("a.zip", archive)
        (outcome,) = fetch([GARDEN], make_catalog([url], {"garden": {**right, "images/a.jpg": "0" * 64}}))
        assert "garden/images/a.jpg: wrong checksum" in str(outcome.error)
        (outcome,) = fetch([GARDEN], make_catalog([url], {"garden": right}))
        assert outcome.note == "all files are as the catalog pins them"

    def test_leftovers_of_a_killed_fetch_are_removed(
        self, server: Any, archive: bytes, fetch: Fetch, places: Path
    ) -> None:
        for name in (".garden.tmp-xyz", ".garden.old-xyz"):
            (places / "set" / name).mkdir(parents=True)
        fetch([GARDEN], make_catalog([server.serve("a.zip", archive)]))
        clean(places, "garden")

    def test_a_kill_between_record_and_files(
        self, server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
    ) -> None:
        catalog = make_catalog([server.serve("a.zip", archive)])
        fetch([GARDEN], catalog)
        shutil.rmtree(places / "set" / "garden")
        assert [o.status for o in fetch([GARDEN], catalog)] == ["fetched"]
        assert contents(places / "set" / "garden") == scenes["garden"]


class TestSurroundings:
    def test_two_at_once(self, server: Any, archive: bytes, fetch: Fetch, places: Path) -> None:
        catalog = make_catalog([server.serve("a.zip", archive)])
        (places / ".downloads").mkdir(parents=True)
        with (
            FileLock(places / ".downloads" / "lock"),
            pytest.raises(StoreError, match="another gsbench fetch is using"),
        ):
            fetch([GARDEN], catalog)
        assert [o.status for o in fetch([GARDEN], catalog)] == ["fetched"]

    def test_a_data_folder_that_is_a_file(self, fetch: Fetch, places: Path) -> None:
        places.write_text("")
        with pytest.raises(StoreError, match="set GSBENCH_DATA to it"):
            fetch([GARDEN], make_catalog(["http://127.0.0.1:9/"]))

    def test_a_folder_of_ones_own(self, server: Any, archive: bytes, fetch: Fetch, places: Path) -> None:
        (places / "set" / "garden").mkdir(parents=True)
        catalog = make_catalog([server.serve("a.zip", archive)])
        (outcome,) = fetch([GARDEN], catalog)
        assert (outcome.status, outcome.note) == ("present", "placed by hand: there is no record of its files")
        (outcome,) = fetch([GARDEN], catalog, force=True)
        assert isinstance(outcome.error, StoreError)
        assert "was not fetched by gsbench, so it is not replaced" in str(outcome.error)

    @pytest.mark.parametrize("ranges", [True, False])
    def test_a_disk_with_too_little_space(
        self, server: Any, archive: bytes, fetch: Fetch, monkeypatch: pytest.MonkeyPatch, ranges: bool
    ) -> None:
        monkeypatch.setattr(source_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=300 << 20))
        monkeypatch.setattr(source_module, "_MARGIN", (300 << 20) - 1000)
        (outcome,) = fetch([GARDEN], make_catalog([server.serve("a.zip", archive, ranges=ranges)]))
        assert isinstance(outcome.error, StoreError)
        assert "only 0.31 GB are free" in str(outcome.error)
        assert server.sent.get("a.zip", 0) < 2 * len(archive)


class TestRecord:
    def test_it_holds_every_file(self, server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path) -> None:
        import hashlib

        url = server.serve("a.zip", archive)
        fetch([GARDEN], make_catalog([url]))
        value = json.loads((places / "set" / "garden.fetched.json").read_text())
        assert value["schema"] == "gsbench.fetched/1"
        assert (value["dataset"], value["scene"], value["source"], value["etag"]) == ("set", "garden", url, '"one"')
        assert (value["catalog"], value["pinned"], value["images"]) == (7, 0, None)
        assert value["files"] == {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(scenes["garden"].items())
        }

    def test_changes_are_found(self, server: Any, archive: bytes, fetch: Fetch, places: Path) -> None:
        fetch([GARDEN], make_catalog([server.serve("a.zip", archive)]))
        folder = places / "set" / "garden"
        record = read_record(folder)
        assert record is not None
        steps: list[tuple[int, int]] = []
        assert check_files(folder, record, lambda done, total: steps.append((done, total))).ok
        assert steps[-1] == (record.bytes, record.bytes)
        path = folder / "images" / "a.jpg"
        content = bytearray(path.read_bytes())
        content[5] ^= 1
        path.write_bytes(bytes(content))
        (folder / "poses_bounds.npy").unlink()
        (folder / "extra").touch()
        check = check_files(folder, record)
        assert (check.missing, check.changed, check.added) == (("poses_bounds.npy",), ("images/a.jpg",), ("extra",))
        assert not check.ok

    @pytest.mark.parametrize(
        "text",
        ["", "{}", "[]", '{"schema": "gsbench.fetched/2"}', "\xff", '{"schema": "gsbench.fetched/1", "images": 3}'],
    )
    def test_a_damaged_record_is_told(self, fetch: Fetch, places: Path, text: str) -> None:
        folder = places / "set" / "garden"
        folder.mkdir(parents=True)
        record_path(folder).write_bytes(text.encode("latin-1"))
        with pytest.raises(StoreError, match="is not the record of a fetched scene"):
            read_record(folder)
        (outcome,) = fetch([GARDEN], make_catalog(["http://127.0.0.1:9/"]))
        assert "gsbench fetch --force replaces the scene" in str(outcome.error)

    def test_force_replaces_a_scene_with_a_damaged_record(
        self, server: Any, archive: bytes, scenes: Files, fetch: Fetch, places: Path, contents: Contents
    ) -> None:
        catalog = make_catalog([server.serve("a.zip", archive)])
        fetch([GARDEN], catalog)
        (places / "set" / "garden.fetched.json").write_text("{")
        assert [o.status for o in fetch([GARDEN], catalog, force=True)] == ["fetched"]
        assert contents(places / "set" / "garden") == scenes["garden"]
        assert check_files(places / "set" / "garden", read_record(places / "set" / "garden")).ok  # type: ignore[arg-type]

    def test_names_in_it_do_not_lead_elsewhere(self, server: Any, archive: bytes, fetch: Fetch, places: Path) -> None:
        fetch([GARDEN], make_catalog([server.serve("a.zip", archive)]))
        path = places / "set" / "garden.fetched.json"
        path.write_text(path.read_text().replace("poses_bounds.npy", "../../../x"))
        with pytest.raises(StoreError, match="no relative name"):
            read_record(places / "set" / "garden")


def test_readers_are_told_what_to_do(places: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"mipnerf360/garden is not fetched: run `gsbench fetch mipnerf360/garden`"):
        require_scene("mipnerf360", "garden")
    with pytest.raises(SceneError, match=r"bungee/rome is not fetched: it cannot be fetched automatically: .*Scaffold"):
        require_scene("bungee", "rome")
    (places / "bungee" / "rome").mkdir(parents=True)
    assert require_scene("bungee", "rome") == places / "bungee" / "rome"
