"""``gsbench fetch`` as it is typed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from gsbench.cli import main
from gsbench.fetch import catalog as catalog_module
from gsbench.fetch import load_catalog, lpips_folder
from gsbench.fetch.catalog import PinnedFile

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(places: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line here: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["fetch", *arguments])
        out, err = capsys.readouterr()
        return code, click.unstyle(out), err

    return call


@pytest.fixture
def tandt(server: Any, zipped: Any, scenes: dict[str, dict[str, bytes]]) -> str:
    """Address of an archive with the scenes tandt/train and tandt/truck."""
    files = {f"tandt/{new}/{name}": content for old, new in (("garden", "train"), ("room", "truck"))
             for name, content in scenes[old].items()}  # fmt: skip
    return str(server.serve("tandt_db.zip", zipped(files)))


def test_fetch_and_fetch_again(run: Run, tandt: str, places: Path, scenes: Any, contents: Any) -> None:
    code, out, err = run("tandt/train", "--url", tandt)
    assert code == 0
    assert contents(places / "tandt" / "train") == scenes["garden"]
    lines = out.splitlines()
    assert lines[0].split() == ["target", "status", "files", "MB", "folder"]
    assert lines[1].split() == ["tandt/train", "fetched", "6", "0.1", str(places / "tandt" / "train")]
    assert lines[2] == "tandt/train: its hashes are recorded now and compared by: gsbench fetch --verify"
    assert [line[9:] for line in err.splitlines()] == [
        "tandt/train: read directory",
        "tandt/train: download (MB)",
        "tandt/train: unpack (MB)",
        "tandt/train: fetched, 0.1 MB in 6 files",
    ]
    code, out, err = run("tandt/*", "--url", tandt, "--quiet")
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [
        ["tandt/train", "there", "already"],
        ["tandt/truck", "fetched", "6"],
    ]


def test_json(run: Run, tandt: str, places: Path) -> None:
    code, out, _ = run("tandt", "--url", tandt, "--json", "--images", "images_4")
    assert code == 0
    value = json.loads(out)
    assert value["schema"] == "gsbench.fetch/1"
    assert [t["target"] for t in value["targets"]] == ["tandt/train", "tandt/truck"]
    assert value["targets"][0] == {
        "target": "tandt/train",
        "status": "fetched",
        "folder": str(places / "tandt" / "train"),
        "files": 4,
        "bytes": 5_000 + 24_000 + 5,
        "note": "its hashes are recorded now and compared by: gsbench fetch --verify",
        "error": None,
    }


def test_a_failure_is_one_line_on_stderr(run: Run, server: Any) -> None:
    code, out, err = run("tandt/train", "--url", server.url("none.zip"), "--quiet")
    assert (code, out) == (1, "")
    assert err == f"gsbench: error: tandt/train: {server.url('none.zip')}: HTTP status 404 Not Found\n"
    code, out, err = run("tandt/train", "--url", server.url("none.zip"), "--quiet", "--json")
    assert code == 1
    (target,) = json.loads(out)["targets"]
    assert (target["status"], target["error"]) == ("failed", f"{server.url('none.zip')}: HTTP status 404 Not Found")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to fetch is given; expected a data set, DATASET/SCENE or lpips (known: mipnerf360, tandt"),
        (["tantd"], "did you mean 'tandt'"),
        (["bungee/rome"], "BungeeNeRF cannot be fetched automatically"),
        (["mipnerf360", "--url", "x.zip"], "these targets come from 2: 360_extra_scenes.zip, 360_v2.zip"),
        (["tandt", "lpips", "--url", "x.zip"], "fetch lpips by itself"),
        (["tandt/train", "--url", "ftp://host/x.zip"], "--url ftp://host/x.zip: expected http://..., https://... or a"),
        (["--list", "--verify"], "--list goes with targets and --json only"),
        (["--verify", "--force"], "it fetches nothing"),
        (["tandt", "--images", ""], "has an empty name"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_data_folder_that_cannot_be_used(run: Run, places: Path, tandt: str) -> None:
    places.write_text("")
    code, out, err = run("tandt/train", "--url", tandt, "--quiet")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "set GSBENCH_DATA" in err


class TestList:
    def test_what_can_be_fetched(self, run: Run, places: Path) -> None:
        code, out, err = run("--list")
        assert (code, err) == (0, "")
        lines = [line.split() for line in out.splitlines()]
        assert ["mipnerf360/garden", "absent", "—", "—", "12,500"] in lines
        assert any(line[:2] == ["lpips", "absent"] for line in lines)
        assert f"Data sets lie in {places}" in out
        assert "https://jonbarron.info/mipnerf360/" in out

    def test_what_is_there(self, run: Run, tandt: str, places: Path) -> None:
        run("tandt", "--url", tandt)
        shutil.rmtree(places / "tandt" / "truck" / "images")
        (places / "bungee" / "rome").mkdir(parents=True)
        code, out, _ = run("tandt", "bungee/*", "--list", "--json")
        assert code == 0
        status = {t["target"]: (t["status"], t["note"]) for t in json.loads(out)["targets"]}
        assert status["tandt/train"] == ("fetched", "")
        assert status["tandt/truck"] == ("incomplete", "2 files are missing")
        assert status["bungee/rome"][0] == "by hand"
        assert status["bungee/quebec"] == ("absent", "to be placed by hand: gsbench fetch bungee/quebec says how")

    def test_a_damaged_record(self, run: Run, tandt: str, places: Path) -> None:
        run("tandt", "--url", tandt)
        (places / "tandt" / "truck.fetched.json").write_text("{")
        code, out, _ = run("tandt", "--list", "--json")
        assert code == 0
        assert [t["status"] for t in json.loads(out)["targets"]] == ["fetched", "damaged"]
        code, out, err = run("tandt", "--verify")
        assert code == 4
        assert "is not the record of a fetched scene" in out
        assert "tandt/truck: not as fetched" in err


class TestVerify:
    def test_all_is_well(self, run: Run, tandt: str, places: Path) -> None:
        assert run("--verify")[:2] == (0, "Nothing is fetched yet.\n")
        run("tandt/train", "--url", tandt)
        (places / "tandt" / "train" / "mine").touch()
        code, out, err = run("--verify")
        assert code == 0
        assert [line.split()[:2] for line in out.splitlines()[1:]] == [["tandt/train", "verified"]]
        assert "not from the fetch: mine" in out
        assert "tandt/train: verify (MB)" in err

    def test_a_changed_byte(self, run: Run, tandt: str, places: Path) -> None:
        run("tandt", "--url", tandt)
        path = places / "tandt" / "train" / "images" / "b.jpg"
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        code, out, err = run("tandt", "--verify", "--quiet")
        assert code == 4
        assert "changed: images/b.jpg" in out
        assert "tandt/truck  verified" in out
        assert err == ("gsbench: error: tandt/train: not as fetched; gsbench fetch --force tandt/train replaces them\n")
        assert run("tandt/train", "--force", "--url", tandt)[0] == 0
        assert run("tandt", "--verify")[0] == 0

    def test_what_is_not_there(self, run: Run) -> None:
        code, out, _ = run("tandt/train", "--verify", "--json")
        assert code == 1
        assert json.loads(out)["targets"][0]["status"] == "absent"


class TestProcesses:
    """The command in a process of its own."""

    @pytest.fixture
    def start(self, places: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
        def begin(*arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "gsbench", "fetch", *arguments]
            return subprocess.Popen(
                command, cwd=tmp_path, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )

        return begin

    def wait_for(self, places: Path, size: int) -> None:
        end = time.monotonic() + 20
        while not any(p.stat().st_size >= size for p in (places / ".downloads").glob("*.part")):
            assert time.monotonic() < end, "the download did not get that far"
            time.sleep(0.02)

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
    def test_stopped_in_the_middle(
        self, server: Any, tandt: str, places: Path, scenes: Any, contents: Any, start: Any, number: int, code: int
    ) -> None:
        """The next call goes on with the bytes that came, and the lock of the killed one does not hold."""
        server.files["tandt_db.zip"].faults = [{}, {}, {"stall_after": 20_000}]
        with start("tandt/train", "--url", tandt) as running:
            self.wait_for(places, 20_000)
            with start("tandt/truck", "--url", tandt) as second:
                _, err = second.communicate(timeout=30)
            assert second.returncode == 2
            assert "another gsbench fetch is using" in err
            running.send_signal(number)
            _, err = running.communicate(timeout=30)
        assert running.returncode == code
        if number == signal.SIGINT:
            assert "the same command goes on from here" in err
        assert not (places / "tandt" / "train").exists()
        with start("tandt/train", "--url", tandt) as running:
            running.communicate(timeout=30)
        assert running.returncode == 0
        assert contents(places / "tandt" / "train") == scenes["garden"]
        first, second_try = (r for r in server.ranges_asked("tandt_db.zip") if r is not None and long(r))
        assert int(second_try.removeprefix("bytes=").split("-")[0]) == int(first[6:].split("-")[0]) + 20_000


def long(header: str) -> bool:
    """Whether a Range asks for the members of a scene, and neither for the first byte nor for the archive's end."""
    start, end = (int(text) for text in header.removeprefix("bytes=").split("-"))
    return end > start and start < 40_000 and end < 80_000


def test_fetched_weights_give_scores(
    run: Run, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From nothing to a column: the reason names the command, the command fetches, and the score has a value."""
    import io

    import numpy as np
    import torch
    import torchmetrics.functional.image.lpips as torchmetrics_lpips
    from PIL import Image

    from gsbench.metrics import lpips as lpips_module
    from gsbench.metrics.lpips_network import STAGES
    from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, write_model

    monkeypatch.setenv("GSBENCH_WEIGHTS", str(tmp_path / "weights"))
    trunk, generator = {}, torch.Generator().manual_seed(0)
    for stage in STAGES["alex"]:
        for c in stage.convolutions:
            shape = (c.outputs, c.inputs, c.kernel, c.kernel)
            trunk[f"features.{c.index}.weight"] = torch.randn(shape, generator=generator) / (c.inputs * c.kernel)
            trunk[f"features.{c.index}.bias"] = torch.zeros(c.outputs)
    buffer = io.BytesIO()
    torch.save(trunk, buffer)
    heads = (Path(torchmetrics_lpips.__file__).parent / "lpips_models" / "alex.pth").read_bytes()
    pins = {}
    for name, content in (("alexnet-owt-7be5be79.pth", buffer.getvalue()), ("alex.pth", heads)):
        url = server.serve(name, content)
        pins[name] = PinnedFile(name, (url,), len(content), hashlib.sha256(content).hexdigest())
    shipped = load_catalog()
    made = replace(shipped, lpips=replace(shipped.lpips, files=pins))
    monkeypatch.setattr(catalog_module, "load_catalog", lambda: made)
    lpips_module._network.cache_clear()

    frames, rng = tmp_path / "frames", np.random.default_rng(0)
    frames.mkdir()
    (tmp_path / "capture" / "images").mkdir(parents=True)
    cameras, views = {1: ColmapCamera(1, "PINHOLE", 48, 36, 40.0, 40.0, 24.0, 18.0)}, {}
    for index in range(1, 10):
        pixels = rng.integers(0, 200, (36, 48, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "capture" / "images" / f"{index}.png")
        views[index] = ColmapImage(index, (1.0, 0.0, 0.0, 0.0), (0.1 * index, 0.0, 2.0), 1, f"{index}.png")
        if index % 8 == 1:
            noisy = pixels + rng.integers(-30, 31, pixels.shape)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(frames / f"{index}.png")
    points = rng.normal(size=(20, 3))
    model = ColmapModel(cameras, views, points, np.full((20, 3), 128, np.uint8))
    write_model(tmp_path / "capture" / "sparse" / "0", model)

    def scored() -> dict[str, Any]:
        capsys.readouterr()
        arguments = ["score", str(frames), "--scene", f"path:{tmp_path / 'capture'}", "--metrics", "psnr,lpips_alex"]
        assert main([*arguments, "--json"]) == 0
        value: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert main(arguments) == 0
        value["text"] = click.unstyle(capsys.readouterr().out)
        return value

    before = scored()
    assert before["metrics"]["lpips_alex"] is None
    assert before["reasons"]["lpips_alex"] == "no LPIPS weights: run `gsbench fetch lpips`"
    assert "— lpips_alex: no LPIPS weights: run `gsbench fetch lpips`" in before["text"]
    code, out, _ = run("lpips")
    assert code == 0
    assert out.splitlines()[1].split()[:3] == ["lpips", "fetched", "2"]
    assert (lpips_folder() / "alex.pth").read_bytes() == heads
    assert run("lpips")[1].splitlines()[1].split()[:3] == ["lpips", "there", "already"]
    assert run("lpips", "--verify")[0] == 0
    after = scored()
    assert 0 < after["metrics"]["lpips_alex"] < 1
    assert "lpips_alex" not in after["reasons"]
    assert f"{after['metrics']['lpips_alex']:.4f}" in after["text"].splitlines()[-1]
    content = bytearray(heads)
    content[-1] ^= 1
    (lpips_folder() / "alex.pth").write_bytes(bytes(content))
    code, out, _ = run("lpips", "--verify")
    assert code == 4
    assert "alex.pth: expected SHA-256" in out
    assert scored()["metrics"]["lpips_alex"] is None
    lpips_module._network.cache_clear()
