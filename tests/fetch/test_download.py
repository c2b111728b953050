"""Downloads against a server that breaks off, lies, changes its mind, and refuses."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsbench.errors import FetchError, StoreError
from gsbench.fetch.download import Expected, Patience, RangesRefusedError, Silent, download, download_part
from gsbench.fetch.http import Validators

CONTENT = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(2000))  # 64,000 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PINNED = Expected(len(CONTENT), SHA256)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.bin"


def left(target: Path) -> set[str]:
    return {p.name for p in target.parent.iterdir()}


@pytest.mark.parametrize("expected", [PINNED, Expected()])
def test_a_file_is_fetched_whole(server: Any, target: Path, expected: Expected, heard: Any, patience: Patience) -> None:
    url = server.serve("file", CONTENT, modified="Sat, 01 Jan 2022 00:00:00 GMT")
    validators = download(url, target, expected, patience, heard)
    assert target.read_bytes() == CONTENT
    assert left(target) == {"file.bin"}
    assert validators == Validators('"one"', "Sat, 01 Jan 2022 00:00:00 GMT")
    assert heard.steps[-1] == (len(CONTENT), len(CONTENT))
    assert server.ranges_asked("file") == [None]


def test_a_broken_download_goes_on_where_it_stopped(server: Any, target: Path, patience: Patience, heard: Any) -> None:
    url = server.serve("file", CONTENT, faults=[{"break_after": 10_000}, {"break_after": 20_000}])
    download(url, target, Expected(), patience, heard)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked("file") == [None, "bytes=10000-", "bytes=30000-"]
    assert server.sent["file"] == len(CONTENT), "no byte came twice"
    assert len(heard.notes) == 2
    assert "broke off after 10,000 of 64,000 bytes; trying again in 1 s" in heard.notes[0]


def test_another_call_goes_on(server: Any, target: Path, patience: Patience) -> None:
    url = server.serve("file", CONTENT, faults=[{"break_after": 10_000}, *[{"status": 503}] * 4])
    with pytest.raises(FetchError, match=r"HTTP status 503 .*4 attempts in a row.*what came is kept"):
        download(url, target, PINNED, patience)
    assert left(target) == {"file.bin.part", "file.bin.part.json"}
    download(url, target, PINNED, patience)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked("file")[-1] == "bytes=10000-"
    assert left(target) == {"file.bin"}


def test_waits_grow_and_progress_resets_them(server: Any, target: Path, slept: list[float]) -> None:
    faults = [{"status": 500}, {"status": 502}, {"break_after": 9}, {"status": 504}, {"status": 500}]
    url = server.serve("file", CONTENT, faults=faults)
    download(url, target, PINNED, Patience(attempts=4, sleep=slept.append))
    assert slept == [1.0, 2.0, 1.0, 2.0, 4.0]


def test_a_server_may_say_how_long_to_wait(server: Any, target: Path, patience: Patience, slept: list[float]) -> None:
    faults = [
        {"status": 429, "headers": {"Retry-After": "7"}},
        {"status": 503, "headers": {"Retry-After": "99999"}},
        {"status": 503, "headers": {"Retry-After": "Sat, 01 Jan 2022 00:00:00 GMT"}},
    ]
    download(server.serve("file", CONTENT, faults=faults), target, PINNED, patience)
    assert slept == [7.0, 120.0, 4.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 501])
def test_final_refusals_are_not_retried(server: Any, target: Path, patience: Patience, status: int) -> None:
    url = server.serve("file", CONTENT, faults=[{"status": status}])
    with pytest.raises(FetchError, match=f"/file: HTTP status {status}"):
        download(url, target, PINNED, patience)
    assert len(server.asked) == 1
    assert left(target) == set()


def test_a_stall_is_given_up(server: Any, target: Path, patience: Patience, heard: Any) -> None:
    url = server.serve("file", CONTENT, faults=[{"stall_after": 5_000}])
    download(url, target, PINNED, patience, heard)
    assert target.read_bytes() == CONTENT
    assert "the server is silent" in heard.notes[0]
    assert server.sent["file"] == len(CONTENT), "what came before the silence is kept"


def test_no_server_at_all(server: Any, target: Path, patience: Patience) -> None:
    url = server.url("file")
    server.httpd.shutdown()
    server.httpd.server_close()
    with pytest.raises(FetchError, match="Connection refused"):
        download(url, target, PINNED, patience)


def test_a_file_that_changes_begins_anew(server: Any, target: Path, patience: Patience) -> None:
    url = server.serve("file", b"old" * 20_000, faults=[{"break_after": 10_000}])
    with pytest.raises(FetchError):
        download(url, target, Expected(), Patience(attempts=1))
    server.serve("file", CONTENT, etag='"two"')
    download(url, target, Expected(), patience)
    assert target.read_bytes() == CONTENT


def test_a_server_that_ignores_the_condition_is_noticed(server: Any, target: Path, patience: Patience) -> None:
    """It sends the rest of another version, and says so only in the validators or in the length."""
    for change in ({"etag": '"two"'}, {"etag": ""}):
        url = server.serve("file", b"old" * 20_000, faults=[{"break_after": 10_000}])
        with pytest.raises(FetchError):
            download(url, target, Expected(), Patience(attempts=1))
        server.serve("file", CONTENT, if_range=False, **change)
        download(url, target, Expected(), patience)
        assert target.read_bytes() == CONTENT
        target.unlink()


def test_a_change_that_nothing_tells_is_caught_by_the_checksum(
    server: Any, target: Path, patience: Patience, heard: Any
) -> None:
    url = server.serve("file", b"x" * len(CONTENT), etag="", faults=[{"break_after": 10_000}])
    with pytest.raises(FetchError):
        download(url, target, PINNED, Patience(attempts=1))
    server.serve("file", CONTENT, etag="")
    download(url, target, PINNED, patience, heard)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked("file") == [None, "bytes=10000-", None]
    assert "wrong checksum" in heard.notes[0]


def test_without_validators_an_unknown_file_is_not_gone_on_with(server: Any, target: Path, patience: Patience) -> None:
    url = server.serve("file", CONTENT, etag='W/"weak"', faults=[{"break_after": 10_000}])
    download(url, target, Expected(), patience)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked("file") == [None, None], "a weak ETag does not promise equal bytes"


def test_a_date_is_a_validator(server: Any, target: Path, patience: Patience) -> None:
    date = "Sat, 01 Jan 2022 00:00:00 GMT"
    url = server.serve("file", CONTENT, etag="", modified=date, faults=[{"break_after": 10_000}])
    download(url, target, Expected(), patience)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked("file") == [None, "bytes=10000-"]


def test_a_server_without_ranges_begins_anew(server: Any, target: Path, patience: Patience, heard: Any) -> None:
    url = server.serve("file", CONTENT, ranges=False, faults=[{"break_after": 10_000}])
    download(url, target, PINNED, patience, heard)
    assert target.read_bytes() == CONTENT
    assert server.sent["file"] == 10_000 + len(CONTENT)
    assert any("beginning anew" in note for note in heard.notes)


def test_a_server_that_always_breaks_off_at_the_same_place_is_given_up(
    server: Any, target: Path, patience: Patience
) -> None:
    url = server.serve("file", CONTENT, ranges=False, faults=[{"break_after": 10_000}] * 20)
    with pytest.raises(FetchError, match="broke off after 10,000 of 64,000 bytes"):
        download(url, target, PINNED, patience)
    assert len(server.asked) == 4


def test_a_complete_part_needs_no_more_bytes(server: Any, target: Path, patience: Patience) -> None:
    url = server.serve("file", CONTENT, faults=[{"break_after": 10_000}])
    with pytest.raises(FetchError):
        download(url, target, PINNED, Patience(attempts=1))
    target.with_name("file.bin.part").write_bytes(CONTENT)
    download(url, target, PINNED, patience)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize(("etag", "expected"), [('"one"', PINNED), ("", PINNED), ('"one"', Expected())])
def test_a_part_that_is_longer_than_the_file_is_dropped(
    server: Any, target: Path, patience: Patience, etag: str, expected: Expected
) -> None:
    url = server.serve("file", CONTENT, etag=etag, chunked=True, faults=[{"break_after": 10_000}])
    with pytest.raises(FetchError):
        download(url, target, expected, Patience(attempts=1))
    target.with_name("file.bin.part").write_bytes(b"y" * 100_000)
    download(url, target, expected, patience)
    assert target.read_bytes() == CONTENT


class TestLengths:
    def test_chunked_without_a_length(self, server: Any, target: Path, patience: Patience) -> None:
        url = server.serve("file", CONTENT, chunked=True, faults=[{"break_after": 10_000}])
        download(url, target, Expected(), patience)
        assert target.read_bytes() == CONTENT

    def test_until_the_connection_closes(self, server: Any, target: Path, patience: Patience) -> None:
        """Then only what is expected can tell the end from a break."""
        url = server.serve("file", CONTENT, length=False, faults=[{"break_after": 10_000}])
        download(url, target, PINNED, patience)
        assert target.read_bytes() == CONTENT

    def test_more_stated_than_sent(self, server: Any, target: Path, patience: Patience) -> None:
        url = server.serve("file", CONTENT, lie=100)
        with pytest.raises(FetchError, match=r"expected 64,000 bytes, the server has 64,100"):
            download(url, target, PINNED, patience)
        with pytest.raises(FetchError, match="4 attempts in a row"):
            download(url, target, Expected(), patience)
        assert not target.exists()

    def test_less_stated_than_sent(self, server: Any, target: Path, patience: Patience) -> None:
        url = server.serve("file", CONTENT, lie=-100)
        with pytest.raises(FetchError, match=r"expected 64,000 bytes, the server has 63,900"):
            download(url, target, PINNED, patience)
        assert not target.exists()

    def test_more_sent_than_expected(self, server: Any, target: Path, patience: Patience) -> None:
        url = server.serve("file", CONTENT + b"more", chunked=True)
        with pytest.raises(FetchError, match="the server sends more"):
            download(url, target, PINNED, patience)
        assert left(target) == set()

    def test_less_sent_than_expected(self, server: Any, target: Path, patience: Patience) -> None:
        url = server.serve("file", CONTENT[:-4], chunked=True)
        with pytest.raises(FetchError, match="expected 64,000 bytes, got 63,996"):
            download(url, target, PINNED, patience)
        assert not target.exists()


def test_a_wrong_checksum(server: Any, target: Path, patience: Patience) -> None:
    wrong = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    url = server.serve("file", wrong)
    with pytest.raises(FetchError, match=f"wrong checksum: expected SHA-256 {SHA256}, got [0-9a-f]{{64}}"):
        download(url, target, PINNED, patience)
    assert left(target) == set(), "nothing of it remains to be gone on with"
    assert len(server.asked) == 1, "what came fresh and wrong is not asked for again"


def test_what_was_there_stays_until_the_new_file_is_right(server: Any, target: Path, patience: Patience) -> None:
    target.write_bytes(b"before")
    with pytest.raises(FetchError):
        download(server.serve("file", b"wrong" * 9), target, Expected(None, SHA256), patience)
    assert target.read_bytes() == b"before"
    download(server.serve("file", CONTENT), target, PINNED, patience)
    assert target.read_bytes() == CONTENT


class TestRedirects:
    def test_they_are_followed_and_the_range_goes_along(self, server: Any, target: Path, patience: Patience) -> None:
        there = server.serve("there", CONTENT, faults=[{"break_after": 10_000}])
        download(server.serve("file", b"", redirect=there), target, PINNED, patience)
        assert target.read_bytes() == CONTENT
        assert server.ranges_asked("there") == [None, "bytes=10000-"]

    @pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/"])
    def test_not_to_other_schemes(self, server: Any, target: Path, patience: Patience, elsewhere: str) -> None:
        with pytest.raises(FetchError, match=r"redirected to|not allowed"):
            download(server.serve("file", b"", redirect=elsewhere), target, PINNED, patience)

    def test_not_for_ever(self, server: Any, target: Path, patience: Patience) -> None:
        with pytest.raises(FetchError, match="302"):
            download(server.serve("file", b"", redirect=server.url("file")), target, PINNED, patience)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "file:///etc/passwd",
        "ftp://host/x",
        "http://",
        "http://host:99999/",
        "http://a b/",
        "http://[x/",
    ],
)
def test_addresses_that_are_none(url: str, target: Path) -> None:
    with pytest.raises(FetchError, match="is not an address; expected http"):
        download(url, target)


def test_an_encoded_answer_is_refused(server: Any, target: Path, patience: Patience) -> None:
    url = server.serve("file", CONTENT, headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchError, match=r"encodes the file \(gzip\)"):
        download(url, target, PINNED, patience)


@pytest.mark.parametrize(
    "state", ["", "{}", "[]", "null", "\udc80", '{"url": 1, "start": "x"}', '{"url": "u", "validators": {"etag": 1}}']
)
def test_a_damaged_description_of_a_part_means_beginning_anew(
    server: Any, target: Path, patience: Patience, state: str
) -> None:
    target.with_name("file.bin.part").write_bytes(b"z" * 100)
    target.with_name("file.bin.part.json").write_bytes(state.encode("utf-8", "surrogateescape"))
    download(server.serve("file", CONTENT), target, PINNED, patience)
    assert target.read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_used(server: Any, target: Path, patience: Patience) -> None:
    other = server.serve("other", b"o" * 64_000, faults=[{"break_after": 10_000}])
    with pytest.raises(FetchError):
        download(other, target, PINNED, Patience(attempts=1))
    download(server.serve("file", CONTENT), target, PINNED, patience)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked("file") == [None]


def test_a_disk_that_takes_no_more(server: Any, target: Path, patience: Patience) -> None:
    """What came is kept; with room again, it goes on."""
    url = server.serve("file", CONTENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot write .*file\.bin\.part: File too large"):
            download(url, target, PINNED, patience)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    have = target.with_name("file.bin.part").stat().st_size
    assert 0 < have <= 30_000
    download(url, target, PINNED, patience)
    assert target.read_bytes() == CONTENT
    assert server.ranges_asked("file") == [None, f"bytes={have}-"]


def test_a_folder_that_is_not_there(server: Any, tmp_path: Path, patience: Patience) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        download(server.serve("file", CONTENT), tmp_path / "none" / "file.bin", PINNED, patience)


class TestParts:
    VALIDATORS = Validators('"one"')

    def test_a_part(self, server: Any, target: Path, patience: Patience) -> None:
        url = server.serve("file", CONTENT, faults=[{"break_after": 1_000}])
        download_part(url, target, 5_000, 9_000, self.VALIDATORS, patience)
        assert target.read_bytes() == CONTENT[5_000:9_000]
        assert server.ranges_asked("file") == ["bytes=5000-8999", "bytes=6000-8999"]

    @pytest.mark.parametrize("behavior", [{"ranges": False}, {"etag": '"two"'}, {"etag": '"two"', "if_range": False}])
    def test_what_is_no_part_of_this_version(
        self, server: Any, target: Path, patience: Patience, behavior: dict[str, Any]
    ) -> None:
        url = server.serve("file", CONTENT, **behavior)
        with pytest.raises(RangesRefusedError):
            download_part(url, target, 5_000, 9_000, self.VALIDATORS, patience)

    def test_behind_the_end(self, server: Any, target: Path, patience: Patience) -> None:
        with pytest.raises(RangesRefusedError):
            download_part(server.serve("file", CONTENT), target, 70_000, 80_000, self.VALIDATORS, patience)

    @pytest.mark.parametrize(
        "stated", ["bytes 0-3999/64000", "bytes 5000-99999/64000", "bytes 5000-4000/64000", "nonsense", "bytes */64000"]
    )
    def test_another_part_than_asked_for(self, server: Any, target: Path, patience: Patience, stated: str) -> None:
        url = server.serve("file", CONTENT, faults=[{"content_range": stated}] * 9)
        with pytest.raises(FetchError, match="asked for"):
            download_part(url, target, 5_000, 9_000, self.VALIDATORS, patience)
        assert not target.exists()


def test_silence_is_a_progress() -> None:
    silent = Silent()
    silent.stage("download")
    silent.step(1, None)
    silent.note("x")


def test_interrupted_writing_leaves_a_part_to_go_on_with(
    server: Any, target: Path, patience: Patience, random_bytes: Callable[..., bytes]
) -> None:
    """Ctrl-C in the middle of a download."""
    content = random_bytes(1_000_000)
    url = server.serve("file", content)

    class Interrupting(Silent):
        def step(self, done: int, total: int | None) -> None:
            if done >= 300_000:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(url, target, Expected(), patience, Interrupting())
    have = target.with_name("file.bin.part").stat().st_size
    assert 300_000 <= have < len(content)
    state = json.loads(target.with_name("file.bin.part.json").read_text())
    assert state["total"] == len(content)
    download(url, target, Expected(), patience)
    assert target.read_bytes() == content
    assert server.ranges_asked("file")[-1] == f"bytes={have}-"
