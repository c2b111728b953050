"""The shipped catalog, and what can be typed for it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gsbench.errors import UsageError
from gsbench.fetch import cache_root, data_root, dataset_folder, load_catalog, lpips_folder
from gsbench.fetch.catalog import parse_catalog
from gsbench.fetch.http import check_url
from gsbench.fetch.targets import Target, resolve_targets

CATALOG = load_catalog()

#: The scenes of the field's benchmarks, as papers list them.
SCENES = {
    "mipnerf360": {"bicycle", "garden", "stump", "bonsai", "counter", "kitchen", "room", "flowers", "treehill"},
    "tandt": {"train", "truck"},
    "db": {"drjohnson", "playroom"},
    "nerf_synthetic": {"chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship"},
    "bungee": {"amsterdam", "bilbao", "hollywood", "pompidou", "quebec", "rome"},
}


def test_the_scenes_are_those_of_the_benchmarks() -> None:
    assert {name: set(dataset.scenes) for name, dataset in CATALOG.datasets.items()} == SCENES


def test_every_scene_has_a_source_or_says_what_to_do() -> None:
    for dataset in CATALOG.datasets.values():
        assert dataset.title
        assert dataset.citation
        assert urlsplit(dataset.terms).scheme in ("http", "https")
        for scene in dataset.scenes:
            archive = dataset.archive(scene)
            if archive is None:
                assert dataset.manual
                continue
            assert archive.urls
            for url in archive.urls:
                check_url(url)
                assert url.startswith("https://")
                assert urlsplit(url).path.endswith(f"/{archive.name}")
            assert archive.scenes[scene].split("/")[-1] == scene


def test_archives_of_equal_names_are_the_same_file() -> None:
    urls: dict[str, Any] = {}
    for dataset in CATALOG.datasets.values():
        for archive in dataset.archives:
            assert urls.setdefault(archive.name, archive.urls) == archive.urls


def test_the_weights_have_addresses() -> None:
    for name, file in CATALOG.lpips.files.items():
        for url in file.urls:
            check_url(url)
            assert url.startswith("https://")
            assert url.endswith(f"/{name}")
            assert file.bytes > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema="other"), "expected schema"),
        (lambda c: c["datasets"].update({"../x": c["datasets"]["db"]}), "no name"),
        (lambda c: c["lpips"]["files"][0].update(sha256="12"), "no SHA-256"),
        (lambda c: c["datasets"]["db"]["archives"][0].update(files={"playroom": {"a": "x"}}), "no SHA-256"),
    ],
)
def test_a_wrong_catalog_is_refused(change: Any, message: str) -> None:
    value = json.loads(resources.files("gsbench.fetch").joinpath("catalog.json").read_text())
    change(value)
    with pytest.raises(ValueError, match=message):
        parse_catalog(json.dumps(value))


class TestTargets:
    @pytest.mark.parametrize(
        ("texts", "expected"),
        [
            (["tandt"], ["tandt/train", "tandt/truck"]),
            (["mipnerf360/garden", "mipnerf360/garden"], ["mipnerf360/garden"]),
            (["mipnerf360/[bg]*"], [f"mipnerf360/{s}" for s in ("bicycle", "garden", "bonsai")]),
            (["t*", "db/p*"], ["tandt/train", "tandt/truck", "db/playroom"]),
            (["*/r*"], ["mipnerf360/room"]),
        ],
    )
    def test_patterns(self, texts: list[str], expected: list[str]) -> None:
        found, lpips = resolve_targets(texts, CATALOG)
        assert [str(t) for t in found] == expected
        assert not lpips

    def test_everything(self) -> None:
        found, lpips = resolve_targets(["*", "lpips"], CATALOG)
        assert {t.dataset for t in found} == set(SCENES) - {"bungee"}
        assert lpips
        assert Target("bungee", "rome") in resolve_targets(["*"], CATALOG, manual=True)[0]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("mipnerf36", "nothing to fetch is called 'mipnerf36'; did you mean 'mipnerf360'"),
            ("lpisp", "did you mean 'lpips'"),
            ("garden", "unknown data set 'garden'; did you mean 'mipnerf360/garden'"),
            ("tandt/trian", "data set 'tandt' has no scene 'trian'; did you mean 'train'"),
            ("", "nothing to fetch is called ''"),
            ("demo", "nothing to fetch is called 'demo'"),
            ("bungee", "BungeeNeRF cannot be fetched automatically: download .*bungee/SCENE"),
            ("bungee/rome", "BungeeNeRF cannot be fetched automatically: download .*bungee/rome"),
        ],
    )
    def test_what_means_nothing(self, text: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            resolve_targets([text], CATALOG)


class TestPlaces:
    def test_by_default_all_is_in_the_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("GSBENCH_CACHE", "GSBENCH_DATA", "GSBENCH_WEIGHTS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_root() == tmp_path / ".cache/gsbench"
        assert data_root() == tmp_path / ".cache/gsbench/data"
        assert lpips_folder() == tmp_path / ".cache/gsbench/weights/lpips"
        monkeypatch.setenv("GSBENCH_CACHE", "/c")
        assert (data_root(), lpips_folder()) == (Path("/c/data"), Path("/c/weights/lpips"))
        monkeypatch.setenv("GSBENCH_DATA", "~/d")
        monkeypatch.setenv("GSBENCH_WEIGHTS", "~/w")
        assert (data_root(), lpips_folder()) == (tmp_path / "d", tmp_path / "w/lpips")
        assert dataset_folder("tandt", "train") == tmp_path / "d/tandt/train"

    @pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x\0"])
    def test_names_stay_inside(self, name: str) -> None:
        for arguments in ((name, "scene"), ("set", name)):
            with pytest.raises(UsageError, match="is no name of a data set or scene"):
                dataset_folder(*arguments)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, gsbench.fetch, gsbench.fetch.scenes, gsbench.fetch.weights;"
        "gsbench.fetch.load_catalog();"
        "assert not {'torch', 'numpy', 'rich', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
