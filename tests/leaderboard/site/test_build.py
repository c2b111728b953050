"""The site as files: whole, the same twice, free of surprises."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from gsbench.errors import UsageError
from gsbench.leaderboard.board import Board, Reported
from gsbench.leaderboard.build import build_board
from gsbench.leaderboard.site import SiteOptions, write_site
from gsbench.leaderboard.site.build import MARKER

PLAIN = SiteOptions(images=False, viewer=False)
REPORTED = (
    Reported("3DGS", "30k", "demo", 27.21, 0.815, 0.214, 734.0, None, "Kerbl et al., 2023", "https://example.org/3dgs"),
)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Links(HTMLParser):
    """What a page loads and what it links, and the names of places in it."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.append(values["id"])
        if "src" in values:
            self.loads.append(values["src"])
        if tag == "link":
            self.loads.append(values["href"])
        elif "href" in values:
            self.links.append(values["href"])
        assert "style" not in values or "url(" not in values["style"]


def links_of(page: Path) -> Links:
    found = Links()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def data_of(path: Path, variable: str) -> dict[str, object]:
    value = json.loads(path.read_text(encoding="utf-8").removeprefix(f"window.{variable}=").removesuffix(";\n"))
    assert isinstance(value, dict)
    return value


@pytest.fixture
def several(put: Callable[..., Path], tmp_path: Path) -> Path:
    """Two methods with four rate points and two seeds on nine scenes; one method lacks one scene at one point."""
    runs = tmp_path / "several"
    scenes = ("bicycle", "flowers", "garden", "stump", "treehill", "room", "counter", "kitchen", "bonsai")
    for method, shift in (("hac", 0.0), ("hac++", 0.4)):
        for place, rate in enumerate(("0.004", "0.002", "0.001", "0.0005")):
            for index, scene in enumerate(scenes):
                if method == "hac++" and rate == "0.0005" and scene == "stump":
                    continue
                for seed in range(2):
                    quality = 25 + shift + place * 0.5 + index * 0.1 + seed * 0.05
                    metrics = {"psnr": quality, "ssim": 0.7 + 0.02 * place, "lpips_vgg": None}
                    size = 1000 * 2**place + 7 * index + seed
                    put(
                        runs, method, rate, dataset="mipnerf360", scene=scene, seed=seed, metrics=metrics,
                        artifact=bytes(size),
                    )  # fmt: skip
    return runs


def test_pages_lead_to_each_other_and_load_only_their_own_files(site: Callable[[], Path], tmp_path: Path) -> None:
    root = site()
    pages = sorted(root.rglob("*.html"))
    assert {p.relative_to(root).as_posix() for p in pages} >= {
        "index.html", "protocols.html", "reported.html", "methods/index.html", "methods/hac.html",
        "gs1600-demo/index.html", "gs1600-demo/demo.html",
    }  # fmt: skip
    places = {page.resolve(): set(links_of(page).ids) for page in pages}
    for page in pages:
        found = links_of(page)
        for address in [*found.loads, *found.links]:
            if address == "data:," or (address.startswith("https://") and address in found.links):
                continue  # links that readers may follow
            path, fragment = urldefrag(address)
            target = (page.parent / unquote(path)).resolve() if path else page.resolve()
            assert target.is_file(), f"{page}: {address}"
            assert root.resolve() in target.parents
            assert not fragment or unquote(fragment) in places[target], f"{page}: {address}"
        assert len(found.ids) == len(set(found.ids))


def test_the_same_records_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_site(build_board([results], reported=REPORTED), tmp_path / name, options=SiteOptions(views=2, threads=1))
    one = digests(tmp_path / "one")
    assert one == digests(tmp_path / "two")
    assert any(name.endswith(".webp") for name in one)
    assert any(name.startswith("splats/") for name in one)


def test_nothing_tells_of_the_machine(site: Callable[[], Path], results: Path) -> None:
    for path in site().rglob("*"):
        if path.is_file():
            assert str(results).encode() not in path.read_bytes()
            assert str(Path.home() / ".cache").encode() not in path.read_bytes()


def test_downloads_are_the_files_of_the_run(site: Callable[[], Path], results: Path) -> None:
    root = site()
    for record in sorted(results.glob("*/*/*/*/*.json")):
        name = record.relative_to(results)
        assert (root / "records" / name).read_bytes() == record.read_bytes()
    artifacts = [p for p in results.glob("*/*/*/*/*") if p.suffix in (".ply", ".gsb")]
    assert len(artifacts) == 2
    for artifact in artifacts:
        assert (root / "artifacts" / artifact.relative_to(results)).read_bytes() == artifact.read_bytes()


def test_large_artifacts_and_records_stay_out_where_that_is_asked(results: Path, tmp_path: Path) -> None:
    options = replace(PLAIN, artifact_bytes=10, records=False)
    write_site(build_board([results]), tmp_path / "site", options=options)
    assert not (tmp_path / "site" / "artifacts").exists()
    assert not (tmp_path / "site" / "records").exists()


def test_data_of_a_section(several: Path, tmp_path: Path) -> None:
    board = build_board([several])
    write_site(board, tmp_path / "site", options=PLAIN)
    section = board.sections[0]
    data = data_of(tmp_path / "site" / "data" / f"{section.slug}.js", "GSB_SECTION")
    rows = {row["key"]: row for row in data["entries"]}  # type: ignore[attr-defined]
    assert len(rows) == 8
    for entry in section.entries:
        row = rows[entry.key]
        assert (row["n"], row["of"]) == (entry.scenes_present, 9)
        if entry.complete:
            assert row["m"]["psnr"] == pytest.approx(
                [entry.metrics["psnr"].mean, entry.metrics["psnr"].spread, entry.metrics["psnr"].seeds]
            )
            assert row["q"][0][0] == pytest.approx(entry.bytes.mean)
        else:
            assert isinstance(row["m"]["psnr"], str)  # why there is no mean
        assert len(row["s"]) == entry.scenes_present
    missing = next(metric for metric in data["metrics"] if metric["name"] == "lpips_vgg")  # type: ignore[attr-defined]
    assert not missing["has"]
    assert missing["why"] == "no weights"
    page = (tmp_path / "site" / section.slug / "index.html").read_text(encoding="utf-8")
    assert "No LPIPS: no weights." in page


def test_reported_numbers_are_in_tables_of_their_own(several: Path, tmp_path: Path) -> None:
    reported = (replace(REPORTED[0], dataset="mipnerf360"), replace(REPORTED[0], dataset="tandt", method="Other"))
    write_site(build_board([several], reported=reported), tmp_path / "site", options=PLAIN)
    root = tmp_path / "site"
    section = next(root.glob("gs1600-*/index.html")).read_text(encoding="utf-8")
    before, after = section.split('class="reported"')
    assert "27.21" not in before
    assert "27.21" in after
    assert "not measured here" in after
    assert "Other" not in after  # of another data set
    own = (root / "reported.html").read_text(encoding="utf-8")
    assert "Other" in own
    for data in (root / "data").iterdir():
        assert "27.21" not in data.read_text(encoding="utf-8")


def test_text_of_records_is_never_markup(put: Callable[..., Path], tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    put(tmp_path / "runs", "hac", "low", metrics={"psnr": 27.0})
    put(
        tmp_path / "runs", "hac", "high<b>", status="failed", metrics={}, bytes=None, sha256=None, artifact=b"",
        error={"stage": "train", "message": evil},
    )  # fmt: skip
    write_site(build_board([tmp_path / "runs"], title="<i>T</i>"), tmp_path / "site", options=PLAIN)
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<img" not in text
        assert "<i>" not in text
        assert "<b>" not in text
    section = (tmp_path / "site" / "gs1600-demo" / "index.html").read_text(encoding="utf-8")
    assert "&lt;img src=x onerror=alert(1)&gt;" in section


def test_a_site_replaces_only_sites(results: Path, tmp_path: Path) -> None:
    board = build_board([results])
    out = tmp_path / "site"
    out.mkdir()
    write_site(board, out, options=PLAIN)
    (out / "left").write_text("from before")
    write_site(board, out, options=PLAIN)
    assert not (out / "left").exists()

    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds other files"):
        write_site(board, other, options=PLAIN)
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        write_site(board, tmp_path / "file", options=PLAIN)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "other", "site"]


def test_what_fails_leaves_the_earlier_site(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = build_board([results])
    write_site(board, tmp_path / "site", options=PLAIN)
    before = digests(tmp_path / "site")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr("gsbench.leaderboard.site.pages.Pages.scene", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        write_site(board, tmp_path / "site", options=PLAIN)
    assert digests(tmp_path / "site") == before
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_an_empty_board_has_a_page(tmp_path: Path) -> None:
    write_site(Board("Nothing yet", (), {}), tmp_path / "site", options=PLAIN)
    assert "nothing measured" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / MARKER).is_file()


def test_pages_say_why_there_are_no_images(put: Callable[..., Path], tmp_path: Path) -> None:
    put(tmp_path / "runs", "hac", "low")
    write_site(build_board([tmp_path / "runs"]), tmp_path / "site", options=SiteOptions(threads=1))
    data = data_of(tmp_path / "site" / "data" / "gs1600-demo.demo.js", "GSB_SCENE")
    images, viewer = data["images"], data["viewer"]
    assert isinstance(images, dict)
    assert images["views"] == []
    assert "differ from the record's" in images["reason"]
    assert isinstance(viewer, dict)
    assert "differ from the record's" in viewer[""]


def test_protocols_say_how_they_were_changed(put: Callable[..., Path], tmp_path: Path) -> None:
    put(tmp_path / "runs", "hac", "low", protocol=("gs1600+w800+bg1-1-1", "ab" * 8))
    write_site(build_board([tmp_path / "runs"]), tmp_path / "site", options=PLAIN)
    text = (tmp_path / "site" / "protocols.html").read_text(encoding="utf-8")
    assert "Changed from gs1600: photos at most 800 pixels wide, background RGB 1-1-1." in text
    assert re.search(r"<code>(ab){8}</code>", text)


@pytest.mark.slow
def test_ten_thousand_records_take_less_than_a_minute(put: Callable[..., Path], tmp_path: Path) -> None:
    count = 0
    for method in (f"method{i:02d}" for i in range(40)):
        for rate in (f"r{i}" for i in range(10)):
            for scene in (f"scene{i}" for i in range(5)):
                for seed in range(5):
                    quality = 20 + int(method[6:]) * 0.1 + int(rate[1:]) * 0.5 + seed * 0.02
                    metrics = {"psnr": quality, "ssim": 0.5 + quality / 100}
                    size = 200 + 50 * int(rate[1:])
                    put(
                        tmp_path / "runs", method, rate, dataset="big", scene=scene, seed=seed, artifact=bytes(size),
                        metrics=metrics,
                    )  # fmt: skip
                    count += 1
    assert count == 10_000
    begin = time.perf_counter()
    write_site(build_board([tmp_path / "runs"]), tmp_path / "site", options=PLAIN)
    assert time.perf_counter() - begin < 60
