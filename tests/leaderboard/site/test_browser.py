"""Built sites in a browser, opened from disk: what readers see and do, without errors and without a network."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from gsbench.leaderboard.board import Reported
from gsbench.leaderboard.build import build_board
from gsbench.leaderboard.site import SiteOptions, write_site

SCENES = ("bicycle", "flowers", "garden", "stump", "treehill", "room", "counter", "kitchen", "bonsai")
READY = "document.documentElement.dataset.page === 'ready'"
TABLE = f"{READY} && document.documentElement.dataset.table === 'ready'"


@pytest.fixture(autouse=True)
def _quiet(browser: Any) -> Iterator[None]:
    """After every test: no console errors or warnings, and nothing was asked of a network."""
    yield
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:", "about:"))] == []


@pytest.fixture
def several(put: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The section page of three methods on nine scenes: hac++ is better than hac, has two seeds, and lacks a scene at
    its last point; 3dgs has one point.
    """
    out = tmp_path_factory.getbasetemp() / "several"
    if not out.exists():
        runs = tmp_path_factory.mktemp("several") / "runs"
        for method, shift, seeds in (("hac", 0.0, 1), ("hac++", 0.05, 2)):
            for place, rate in enumerate(("0.004", "0.002", "0.001", "0.0005")):
                for index, scene in enumerate(SCENES):
                    if (method, rate, scene) == ("hac++", "0.0005", "stump"):
                        continue
                    for seed in range(seeds):
                        psnr = 25 + shift + place * 0.5 + index * 0.1 + seed * 0.4
                        metrics = {
                            "psnr": psnr,
                            "ssim": 0.7 + 0.02 * place + shift / 100,
                            "lpips_vgg": 0.3 - 0.02 * place,
                        }
                        put(
                            runs, method, rate, dataset="mipnerf360", scene=scene, seed=seed, metrics=metrics,
                            artifact=bytes(20000 * 2**place + 7 * index),
                        )  # fmt: skip
        for scene in SCENES:
            metrics = {"psnr": 27.5, "ssim": 0.81, "lpips_vgg": 0.2}
            put(
                runs, "3dgs", "default", dataset="mipnerf360", scene=scene, metrics=metrics, artifact=bytes(10**6),
                suffix=".ply",
            )  # fmt: skip
        reported = Reported("Paper", "", "mipnerf360", 27.77, 0.81, 0.2, 700.0, 3_000_000, "A paper")
        options = SiteOptions(images=False, viewer=False)
        write_site(build_board([runs], reported=[reported]), out, options=options)
    (page,) = out.glob("gs1600-*/index.html")
    return page


def pixels(png: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def labels(browser: Any) -> list[str]:
    """The rows of the table as they stand, top to bottom."""
    found = browser.run("GSB.table.getRows('active').map(row => row.getData().label)")
    assert isinstance(found, list)
    return found


def column(browser: Any, field: str) -> list[float | None]:
    found = browser.run(f"GSB.table.getRows('active').map(row => row.getData()[{field!r}])")
    assert isinstance(found, list)
    return found


def click(browser: Any, selector: str) -> None:
    """A click at the middle of an element, as a mouse makes it."""
    left, top, width, height = browser.box(selector)
    x, y = left + width / 2, top + height / 2
    browser.mouse("mouseMoved", x, y)
    browser.mouse("mousePressed", x, y, held=True)
    browser.mouse("mouseReleased", x, y)


def choose(browser: Any, name: str, value: str) -> None:
    browser.run(
        f"(() => {{ const s = document.getElementById({name!r}); s.value = {value!r};"
        "if (s.value !== " + repr(value) + ") throw new Error('no such choice');"
        "s.dispatchEvent(new Event('change')); })()"
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_plots_are_drawn(browser: Any, several: Path, width: int, dark: bool) -> None:
    browser.open(several, width=width, dark=dark)
    browser.wait(TABLE)
    titles = browser.run("[...document.querySelectorAll('.plot strong')].map(e => e.textContent)")
    assert titles == ["PSNR", "SSIM", "LPIPS"]
    image = pixels(browser.screenshot(".plot canvas"))
    background = np.array([19, 22, 26] if dark else [255, 255, 255])
    drawn = (np.abs(image.astype(int) - background).max(axis=2) > 40).mean()
    assert 0.005 < drawn < 0.5
    # Colors of the three methods are there: pixels with a hue.
    spread = image.max(axis=2).astype(int) - image.min(axis=2)
    assert (spread > 70).sum() > 100
    # Nothing sticks out of the page.
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_points_are_where_the_records_say(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)
    found = browser.run("GSB.plots.charts[0].data.datasets.map(d => [d.label, d.data.map(p => [p.x, p.y, p.sy])])")
    by_label = dict(found)
    # hac has one seed; the mean over the nine scenes adds 0.4 to the first one.
    assert [point[1] for point in by_label["hac"]] == pytest.approx([25.4, 25.9, 26.4, 26.9])
    assert [point[0] for point in by_label["hac"]] == pytest.approx([(20000 * 2**i + 28) / 1e6 for i in range(4)])
    # The last point of hac++ lacks a scene: no mean over the data set.
    assert [point[1] for point in by_label["hac++"]] == pytest.approx([25.65, 26.15, 26.65])
    assert by_label["hac++"][0][2] == pytest.approx(0.4 / 2**0.5, rel=1e-5)
    front = [point[:2] for point in by_label["Pareto front"]]
    assert front == [point[:2] for point in [*by_label["hac++"], by_label["hac"][-1], *by_label["3dgs"]]]


def test_hovering_shows_the_record_and_a_click_what_is_behind_it(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)
    browser.run("document.querySelector('.plot canvas').scrollIntoView({block: 'center', behavior: 'instant'})")
    x, y = browser.hover(
        "(() => { const c = GSB.plots.charts[0], s = c.data.datasets.findIndex(d => d.label === '3dgs');"
        "const p = c.getDatasetMeta(s).data[0], b = c.canvas.getBoundingClientRect();"
        "return [b.x + p.x, b.y + p.y]; })()",
        "GSB.plots.charts[0].tooltip.opacity > 0",
    )
    lines = browser.run(
        "[...GSB.plots.charts[0].tooltip.title, ...GSB.plots.charts[0].tooltip.body.flatMap(b => b.lines)]"
    )
    assert lines[0] == "3dgs"
    assert "1.00 MB" in lines
    assert "PSNR 27.50 dB" in lines
    assert "9/9 scenes, 1 seed, claimed" in lines
    browser.mouse("mousePressed", x, y, held=True)
    browser.mouse("mouseReleased", x, y)
    browser.wait("!document.getElementById('selected').hidden")
    assert "3dgs" in browser.run("document.getElementById('selected').textContent")


def test_methods_toggle(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)
    visible = "GSB.plots.charts[0].data.datasets.map((d, i) => GSB.plots.charts[0].isDatasetVisible(i))"
    assert all(browser.run(visible))
    click(browser, "#legend button")
    assert browser.run(visible).count(False) == 1
    assert browser.run("document.querySelector('#legend button').getAttribute('aria-pressed')") == "false"


def test_a_scene_of_its_own_can_be_shown(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)
    choose(browser, "scope", str(browser.run("GSB_SECTION.scenes.findIndex(s => s.name === 'bonsai')")))
    points = dict(browser.run("GSB.plots.charts[0].data.datasets.map(d => [d.label, d.data.map(p => p.y)])"))
    assert points["hac"] == pytest.approx([25.8, 26.3, 26.8, 27.3])
    browser.wait("GSB.table.getRows().find(r => r.getData().label === 'hac 0.004').getData().m_psnr > 25.7")


def test_a_line_goes_through_the_chosen_row(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)
    place = browser.run("GSB_SECTION.entries.findIndex(e => e.label === 'hac 0.001')")
    choose(browser, "reference", str(place))
    assert browser.run("GSB.plots.charts[0].options.reference.y") == pytest.approx(26.4)
    assert browser.run("GSB.plots.charts[0].options.reference.label") == "hac 0.001: 26.40"


def test_the_table_sorts_with_missing_values_last(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)
    sizes = column(browser, "bytes")
    assert sizes[:-1] == sorted(size for size in sizes if size is not None)
    assert sizes[-1] is None
    heading = ".tabulator-col[tabulator-field='m_psnr']"
    click(browser, heading)
    falling = column(browser, "m_psnr")
    assert falling[:-1] == sorted((v for v in falling if v is not None), reverse=True)
    assert falling[-1] is None
    assert labels(browser)[0] == "3dgs"
    click(browser, heading)
    rising = column(browser, "m_psnr")
    assert rising[:-1] == falling[-2::-1]
    assert rising[-1] is None


def test_the_table_filters(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)

    def search(text: str) -> None:
        browser.run(
            f"(() => {{ const i = document.getElementById('search'); i.value = {text!r};"
            "i.dispatchEvent(new Event('input')); })()"
        )

    assert len(labels(browser)) == 9
    search("hac++")
    assert set(labels(browser)) == {f"hac++ {rate}" for rate in ("0.004", "0.002", "0.001", "0.0005")}
    assert browser.run("document.getElementById('count').textContent") == "4 of 9 rows"
    click(browser, "#complete")
    assert "hac++ 0.0005" not in labels(browser)
    assert len(labels(browser)) == 3
    search("nothing like that")
    assert labels(browser) == []
    assert "No row matches." in browser.run("document.getElementById('results').textContent")
    search("")
    click(browser, "#complete")
    click(browser, "#pareto")
    assert 0 < len(labels(browser)) < 9


def test_the_table_says_spread_scenes_and_ties(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)
    cells = browser.run(
        "(() => { const row = GSB.table.getRows().find(r => r.getData().label === 'hac++ 0.0005').getElement();"
        "return Object.fromEntries([...row.querySelectorAll('.tabulator-cell')].map("
        "c => [c.getAttribute('tabulator-field'), [c.textContent, c.querySelector('[title]')?.title]])); })()"
    )
    assert cells["scenes"][0] == "8/9"
    assert cells["m_psnr"][0] == "\N{EM DASH}"
    assert "8/9" in cells["m_psnr"][1]
    cells = browser.run(
        "(() => { const row = GSB.table.getRows().find(r => r.getData().label === 'hac++ 0.004').getElement();"
        "return Object.fromEntries([...row.querySelectorAll('.tabulator-cell')].map("
        "c => [c.getAttribute('tabulator-field'), [c.textContent, c.querySelector('.mark')?.title]])); })()"
    )
    assert cells["m_psnr"][0] == "25.65\N{PLUS-MINUS SIGN}0.28\N{ALMOST EQUAL TO}"
    assert cells["m_psnr"][1].startswith("Within the spread of the seeds of ")
    assert cells["m_ssim"][1] is None


def test_bd_rates_against_a_chosen_anchor(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)

    def rows() -> dict[str, list[str]]:
        found = browser.run(
            "[...document.querySelectorAll('#bd tr')].map(r => [...r.children].map(c => c.textContent))"
        )
        return {row[0]: row[1:] for row in found}

    curves = browser.run("GSB_SECTION.curves")
    choose(browser, "bd-anchor", str(curves.index("hac")))
    choose(browser, "bd-metric", "psnr")
    found = rows()
    assert found["3dgs"][0] == "n/a"
    assert "rate point" in found["3dgs"][3]
    assert set(found) == {"3dgs", "hac++"}
    one, other = curves.index("hac"), curves.index("hac++")
    value = browser.run(f"GSB_SECTION.bd.find(b => b.m === 'psnr' && b.a === {one} && b.c === {other}).v")
    assert value < 0
    assert found["hac++"][0] == f"{value:.1f} %".replace("-", "\N{MINUS SIGN}")
    assert found["hac++"][2] == "9/9"
    assert "by scene" in found["hac++"][3]
    assert "overlap" in found["hac++"][3]
    choose(browser, "bd-anchor", str(curves.index("hac++")))
    assert rows()["hac"][0].startswith("+")


def test_the_theme_can_be_switched(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)
    color = "getComputedStyle(document.body).backgroundColor"
    assert browser.run(color) == "rgb(255, 255, 255)"
    click(browser, "#theme")
    assert browser.run(color) == "rgb(19, 22, 26)"
    assert pixels(browser.screenshot())[450, 5].tolist() == [19, 22, 26]
    click(browser, "#theme")
    assert browser.run(color) == "rgb(255, 255, 255)"


def test_other_pages_open_without_errors(browser: Any, site: Callable[[], Path]) -> None:
    root = site()
    for page in sorted(root.rglob("*.html")):
        for width in (1280, 390):
            browser.open(page, width=width)
            assert browser.run("document.querySelector('h1').textContent.length") > 0
            assert browser.run("document.documentElement.scrollWidth") <= width, page
            assert browser.problems == [], page
            assert [url for url in browser.requests if not url.startswith(("file:", "data:", "about:"))] == [], page


def test_the_slider_moves_between_images(browser: Any, site: Callable[[], Path]) -> None:
    browser.open(site() / "gs1600-demo" / "demo.html", width=900)
    browser.wait(TABLE)
    browser.wait("[...document.querySelectorAll('#images img')].every(i => i.complete && i.naturalWidth > 0)")
    before = pixels(browser.screenshot("img-comparison-slider"))
    x, top, width, height = browser.box("img-comparison-slider")
    y = top + height / 2
    browser.mouse("mouseMoved", x + width / 2, y)
    browser.mouse("mousePressed", x + width / 2, y, held=True)
    for step in range(5):
        browser.mouse("mouseMoved", x + width * (0.5 - 0.08 * step), y, held=True)
    browser.mouse("mouseReleased", x + width * 0.18, y)
    browser.wait("document.querySelector('img-comparison-slider').value < 25")
    after = pixels(browser.screenshot("img-comparison-slider"))
    assert before.shape == after.shape
    changed = np.abs(before.astype(int) - after).max(axis=2) > 8
    share = changed.mean(axis=0)
    left, right = int(0.22 * len(share)), int(0.45 * len(share))
    assert share[left:right].mean() > 0.3  # truth became render
    assert share[int(0.6 * len(share)) :].mean() < 0.02
    browser.run("document.querySelector('img-comparison-slider').focus()")
    value = browser.run("document.querySelector('img-comparison-slider').value")
    browser.key("ArrowRight", "keyDown")
    browser.wait(f"document.querySelector('img-comparison-slider').value > {value + 5}")
    browser.key("ArrowRight", "keyUp")


def test_error_maps_and_captions(browser: Any, site: Callable[[], Path]) -> None:
    browser.open(site() / "gs1600-demo" / "demo.html")
    browser.wait(TABLE)
    options = browser.run("[...document.querySelectorAll('#right option')].map(o => o.value)")
    error = next(value for value in options if value.startswith("e 3dgs"))
    choose(browser, "right", error)
    browser.wait("document.querySelector('#images img[slot=second]').src.endsWith('.error.webp')")
    caption = browser.run("document.querySelectorAll('.caption')[1].textContent")
    assert "PSNR" in caption
    assert "seed 0" in caption
    assert not browser.run("document.getElementById('error-scale').hidden")
    choose(browser, "view", "2")
    browser.wait("document.querySelector('#images img[slot=first]').src.includes('0005.truth')")


def test_bytes_of_the_bars_are_those_of_the_record(browser: Any, site: Callable[[], Path]) -> None:
    browser.open(site() / "gs1600-demo" / "demo.html")
    browser.wait(TABLE)
    rows = browser.run(
        "[...document.querySelectorAll('.part-row')].map(r => [r.querySelector('.part-name').textContent,"
        "[...r.querySelectorAll('.piece')].reduce((sum, p) => sum + p.getBoundingClientRect().width, 0)])"
    )
    assert [row[0].split()[0] for row in rows] == ["hac", "3dgs"]  # the smaller first
    sizes = browser.run("GSB_SCENE.entries.map(e => [e.method, e.parts.reduce((s, p) => s + p[1], 0), e.q[0][0]])")
    for _, parts, total in sizes:
        assert parts == total
    by_method = {method: total for method, _, total in sizes}
    assert rows[0][1] / rows[1][1] == pytest.approx(by_method["hac"] / by_method["3dgs"], rel=0.2)


def test_a_scene_without_files_says_so(browser: Any, several: Path) -> None:
    browser.open(several.parent / "garden.html")
    browser.wait(TABLE)
    text = browser.run("document.getElementById('images').textContent")
    assert text == "No images: this page was made without images."
    assert browser.run("document.getElementById('no-viewer').textContent").startswith("Nothing to show: ")
    assert browser.run("document.querySelectorAll('.part-row').length") == 9


def test_rows_can_be_chosen_by_keyboard(browser: Any, several: Path) -> None:
    browser.open(several)
    browser.wait(TABLE)
    # Tabulator lays itself out once more when it comes into sight.
    browser.run("document.getElementById('results').scrollIntoView({block: 'start', behavior: 'instant'})")
    browser.screenshot()
    browser.wait(
        "(row => { row.focus({preventScroll: true}); return document.activeElement === row; })"
        "(GSB.table.getRows('active')[0].getElement())"
    )
    browser.key("Enter")
    browser.wait("!document.getElementById('selected').hidden")
    assert browser.run("GSB.table.getSelectedData().length") == 1


def test_provenance_of_a_number(browser: Any, site: Callable[[], Path], results: Path) -> None:
    browser.open(site() / "gs1600-demo" / "demo.html", anchor="#hac%2F0.002")
    browser.wait(f"{TABLE} && !document.getElementById('provenance').hidden")
    record = build_board([results]).sections[0].entry("hac/0.002").scenes[0].results[0]
    text = browser.run("document.getElementById('provenance').textContent")
    assert str(record.provenance.artifact_sha256) in text
    assert record.provenance.record_sha256 in text
    assert record.rerun in text
    assert record.record.environment is not None
    assert record.record.environment.cpu in text
    assert "claimed" in text
    links = browser.run("[...document.querySelectorAll('#records a')].map(a => a.href)")
    assert len(links) == 4
    assert all(Path(link.removeprefix("file://").replace("%20", " ")).is_file() for link in links)


@pytest.mark.parametrize("method", ["3dgs", "hac"])
def test_the_viewer_shows_splats(browser: Any, site: Callable[[], Path], method: str) -> None:
    browser.open(site() / "gs1600-demo" / "demo.html", width=420)
    browser.wait(TABLE)
    key = browser.run(f"GSB_SCENE.entries.find(e => e.method === {method!r}).key")
    choose(browser, "viewer-entry", key)
    text = browser.run("document.getElementById('viewer-text').textContent")
    assert "Re-encoded for viewing" in text
    assert " dB PSNR against the method's own render" in text
    assert ("depend on where they are seen from" in text) == (method == "hac")
    click(browser, "#load")
    browser.wait("document.getElementById('stage').dataset.drawn")
    shown = middle(browser.screenshot("canvas.splats"))
    assert shown.std() > 3  # not one color
    # It looks like the method's own render from the same camera.
    camera = browser.run("GSB_SCENE.viewer[''].name")
    views = browser.run("GSB_SCENE.images.views")
    (index,) = (view["index"] for view in views if view["name"] == camera)
    (path,) = (site() / "images" / "gs1600-demo" / "demo").glob(f"{method}-*/{index:04d}.webp")
    with Image.open(path) as image:
        buffer = io.BytesIO()
        width, height = browser.run("(c => [c.clientWidth, c.clientHeight])(document.querySelector('canvas.splats'))")
        image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(buffer, format="PNG")
    expected = middle(buffer.getvalue())
    error = np.mean((shown - expected) ** 2)
    assert 10 * np.log10(255**2 / error) > 24
    assert error < 0.3 * expected.var()
    # Turned, it shows something else; the button leads back.
    browser.run("document.querySelector('canvas.splats').focus()")
    for _ in range(6):
        browser.key("ArrowLeft")
    difference = 0.0
    for _ in range(40):
        difference = float(np.abs(middle(browser.screenshot("canvas.splats")) - shown).mean())
        if difference > 3:
            break
    assert difference > 3
    click(browser, "#reset")
    for _ in range(40):
        difference = float(np.abs(middle(browser.screenshot("canvas.splats")) - shown).mean())
        if difference < 1:
            break
    assert difference < 1


def middle(png: bytes) -> npt.NDArray[np.float64]:
    """The inner part of an image, without the canvas's rounded corners."""
    image = pixels(png)
    height, width = image.shape[:2]
    return image[height // 10 : -(height // 10), width // 10 : -(width // 10)].astype(np.float64)
