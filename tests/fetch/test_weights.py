"""``lpips``: files whose contents are known beforehand, from a server that misbehaves or from a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from gsbench.errors import FetchError, StoreError
from gsbench.fetch import fetch_lpips, lpips_folder
from gsbench.fetch.catalog import Catalog, PinnedFile, load_catalog
from gsbench.fetch.download import Patience, Silent
from gsbench.fetch.options import FetchOptions, Outcome
from gsbench.fetch.weights import file_problem

CONTENTS = {"vgg16.pth": b"v" * 50_000, "alexnet.pth": b"a" * 30_000, "vgg.pth": b"heads", "alex.pth": b"heads 2"}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights."""
    monkeypatch.setenv("GSBENCH_WEIGHTS", str(tmp_path / "weights"))
    return lpips_folder()


@pytest.fixture
def catalog(server: Any) -> Catalog:
    """Pins `CONTENTS`, which the server serves."""
    files = {}
    for name, content in CONTENTS.items():
        url = server.serve(f"w/{name}", content)
        files[name] = PinnedFile(name, (url,), len(content), hashlib.sha256(content).hexdigest())
    shipped = load_catalog()
    return replace(shipped, lpips=replace(shipped.lpips, files=files))


@pytest.fixture
def fetch(weights: Path, catalog: Catalog, patience: Patience) -> Callable[..., Outcome]:
    def run(shown: Any = None, **options: Any) -> Outcome:
        chosen = FetchOptions(**{"patience": patience, **options})
        return fetch_lpips(chosen, options.pop("catalog", catalog), shown or Silent())

    return run


Fetch = Callable[..., Outcome]


def there(weights: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in weights.iterdir() if p.name != ".lock"}


def test_all_files_are_fetched_once(server: Any, fetch: Fetch, weights: Path, heard: Any) -> None:
    outcome = fetch(heard)
    assert (outcome.status, outcome.files, outcome.bytes) == ("fetched", 4, sum(map(len, CONTENTS.values())))
    assert outcome.folder == weights
    assert there(weights) == CONTENTS
    assert heard.stages == [f"download {name}" for name in CONTENTS]
    asked = len(server.asked)
    assert fetch().status == "present"
    assert len(server.asked) == asked
    assert fetch(force=True).status == "fetched"
    assert len(server.asked) == 2 * asked


def test_a_broken_download_goes_on(server: Any, fetch: Fetch, weights: Path) -> None:
    server.files["w/vgg16.pth"].faults = [{"break_after": 10_000}, *[{"status": 500}] * 3]
    outcome = fetch()
    assert outcome.status == "failed"
    assert isinstance(outcome.error, FetchError)
    assert fetch().status == "fetched"
    assert there(weights) == CONTENTS
    assert server.sent["w/vgg16.pth"] == 50_000


@pytest.mark.parametrize(
    ("content", "behavior", "message"),
    [
        (b"w" * 50_000, {}, "wrong checksum"),
        (b"v" * 49_999, {}, "expected 50,000 bytes, the server has 49,999"),
        (b"v" * 50_001, {}, "expected 50,000 bytes, the server has 50,001"),
        (b"v" * 50_001, {"chunked": True}, "the server sends more"),
        (b"<html>", {"length": False, "etag": ""}, "expected 50,000 bytes"),
    ],
)
def test_what_is_not_the_pinned_file_is_refused(
    server: Any, fetch: Fetch, weights: Path, content: bytes, behavior: dict[str, Any], message: str
) -> None:
    server.serve("w/vgg16.pth", content, **behavior)
    outcome = fetch()
    assert outcome.status == "failed"
    assert message in str(outcome.error)
    assert not (weights / "vgg16.pth").exists()


def test_the_next_address_is_tried(
    server: Any, fetch: Fetch, weights: Path, catalog: Catalog, patience: Patience, heard: Any
) -> None:
    pinned = catalog.lpips.files["vgg.pth"]
    urls = (server.url("gone"), server.serve("wrong", b"wrong"), *pinned.urls)
    files = {**catalog.lpips.files, "vgg.pth": replace(pinned, urls=urls)}
    outcome = fetch_lpips(
        FetchOptions(patience=patience), replace(catalog, lpips=replace(catalog.lpips, files=files)), heard
    )
    assert outcome.status == "fetched"
    assert there(weights) == CONTENTS
    assert [n.endswith("trying the next address") for n in heard.notes] == [True, True]


def test_a_damaged_file_is_fetched_again_alone(server: Any, fetch: Fetch, weights: Path) -> None:
    fetch()
    (weights / "vgg.pth").write_bytes(b"heada")
    assert fetch().status == "fetched"
    assert there(weights) == CONTENTS
    assert [path for path, _ in server.asked].count("w/vgg.pth") == 2
    assert len(server.asked) == 5


class TestMirrors:
    def test_an_address(self, server: Any, fetch: Fetch, weights: Path) -> None:
        for name, content in CONTENTS.items():
            server.serve(f"mirror/{name}", content)
        assert fetch(url=server.url("mirror/")).status == "fetched"
        assert there(weights) == CONTENTS
        assert {path for path, _ in server.asked} == {f"mirror/{name}" for name in CONTENTS}

    def test_a_folder(self, server: Any, fetch: Fetch, weights: Path, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        for name, content in CONTENTS.items():
            (tmp_path / "mine" / name).write_bytes(content)
        assert fetch(url=str(tmp_path / "mine")).status == "fetched"
        assert there(weights) == CONTENTS
        assert not server.asked

    def test_a_folder_with_other_files(self, fetch: Fetch, weights: Path, tmp_path: Path) -> None:
        outcome = fetch(url=str(tmp_path / "none"))
        assert str(outcome.error) == f"{tmp_path}/none/vgg16.pth is not vgg16.pth: it is not there"
        (tmp_path / "vgg16.pth").write_bytes(b"w" * 50_000)
        outcome = fetch(url=str(tmp_path))
        assert "is not vgg16.pth: expected SHA-256" in str(outcome.error)
        assert there(weights) == {}


def test_two_at_once(fetch: Fetch, weights: Path) -> None:
    weights.mkdir(parents=True)
    with FileLock(weights / ".lock"), pytest.raises(StoreError, match="another gsbench fetch is using"):
        fetch()


def test_a_folder_that_is_a_file(fetch: Fetch, weights: Path) -> None:
    weights.parent.parent.mkdir(exist_ok=True)
    weights.parent.write_text("")
    with pytest.raises(StoreError, match="set GSBENCH_WEIGHTS to one"):
        fetch()


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gsbench.fetch import weights as module

    path = tmp_path / "f"
    path.write_bytes(b"content")
    pinned = PinnedFile("f", (), 7, hashlib.sha256(b"content").hexdigest())
    hashed = []
    original = module.file_sha256
    monkeypatch.setattr(module, "file_sha256", lambda file: hashed.append(1) or original(file))
    for _ in range(3):
        assert file_problem(path, pinned) is None
    assert len(hashed) == 1
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(0, 0))
    problem = file_problem(path, pinned)
    assert problem is not None
    assert problem.startswith("expected SHA-256")
    assert len(hashed) == 2
    path.unlink()
    assert file_problem(path, pinned) == "it is not there"
    path.mkdir()
    assert "cannot be read" in str(file_problem(path, pinned)) or "expected 7 bytes" in str(file_problem(path, pinned))
