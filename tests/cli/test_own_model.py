"""The commands of the README's section "Your own model", typed as they stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gsbench.formats.ply import write_ply
from gsbench.testing import random_splats

Here = Callable[..., tuple[int, str, str]]


@pytest.mark.usefixtures("one_process")
def test_the_commands_of_the_readme_work(here: Here, tiny_capture: Path, repository: Path, tmp_path: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Your own model\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    commands = [shlex.split(line) for line in block.splitlines()]
    assert [words[:2] for words in commands] == [
        ["gsbench", "encode"],
        ["gsbench", "render"],
        ["gsbench", "render"],
        ["gsbench", "run"],
    ]
    write_ply(tmp_path / "point_cloud.ply", random_splats(60))
    meant = {"METHOD": "halved", "path:/my/scene": f"path:{tiny_capture}"}
    for _, *words in commands:
        code, out, err = here(*(meant.get(word, word) for word in words))
        assert code == 0, (words, err)
        assert out
    assert (tmp_path / "scene.gsb").stat().st_size < (tmp_path / "point_cloud.ply").stat().st_size
    assert len(list((tmp_path / "images").glob("*.png"))) == 2
    with Image.open(tmp_path / "turntable.webp") as video:
        assert video.n_frames == 120  # type: ignore[attr-defined]
    assert list((tmp_path / "runs").glob("gs1600/path/tiny/halved/default.json"))
