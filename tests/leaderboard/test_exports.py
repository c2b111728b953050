"""CSV, JSON, Markdown, LaTeX and reported numbers; the same records give the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gsbench.errors import RecordError
from gsbench.leaderboard.build import build_board
from gsbench.leaderboard.exports import SURVEY_COLUMNS, export_files, write_exports
from gsbench.leaderboard.reported import read_reported, write_reported
from gsbench.leaderboard.tables import escape_latex

Put = Callable[..., Path]
RATES = {"low": (1000, 25.0), "mid": (2000, 26.0), "high": (4000, 27.0)}


@pytest.fixture
def runs(tmp_path: Path, put: Put) -> Path:
    folder = tmp_path / "runs"
    for scene in ("train", "truck"):
        for rate, (size, psnr) in RATES.items():
            for seed in (0, 1):
                metrics = {"psnr": psnr + 0.1 * seed, "ssim": 0.8, "lpips_vgg": 0.2, "lpips_vgg_raw": 0.25}
                put(folder, "hac_&", rate, dataset="tandt", scene=scene, seed=seed, artifact=b"x" * size,
                    metrics=metrics)  # fmt: skip
        put(folder, "3dgs", "default", dataset="tandt", scene=scene, suffix=".ply", artifact=b"x" * 9000)
    return folder


def test_the_survey_can_read_its_files(runs: Path) -> None:
    files = export_files(build_board([runs]))
    text = files["gs1600-tandt/3dgs-zip/hac_/TanksAndTemples/truck.csv"]
    rows = list(csv.reader(io.StringIO(text)))
    assert tuple(rows[0]) == SURVEY_COLUMNS == ("Submethod", "PSNR", "SSIM", "LPIPS", "Size [Bytes]", "#Gaussians")
    assert [row[0] for row in rows[1:]] == ["-low", "", "-high"]
    assert [row[4] for row in rows[1:]] == ["1000", "2000", "4000"]
    assert float(rows[1][1]) == pytest.approx(25.05)
    assert float(rows[1][3]) == pytest.approx(0.25), "LPIPS in the original code's convention"
    base = list(csv.reader(io.StringIO(files["gs1600-tandt/3dgs-zip/3dgs/TanksAndTemples/train.csv"])))
    assert base[1][0] == "Baseline"
    assert base[1][3] == "", "not computed"


def test_the_full_table_has_every_scene_and_the_mean(runs: Path) -> None:
    (text,) = [text for name, text in export_files(build_board([runs])).items() if name == "gs1600-tandt.csv"]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 4 * 3
    low = {row["scene"]: row for row in rows if row["rate"] == "low"}
    assert set(low) == {"train", "truck", "*"}
    assert (low["*"]["scenes"], low["*"]["seeds"], low["*"]["bytes"]) == ("2/2", "0 1", "1000")
    assert float(low["*"]["psnr_spread"]) == pytest.approx(0.1 / 2**0.5)
    assert len(low["train"]["artifact_sha256"].split()) == 2


def test_curves_as_compressai_has_them(runs: Path) -> None:
    value = json.loads(export_files(build_board([runs]))["gs1600-tandt/hac_.json"])
    assert value["name"] == "hac_&"
    assert value["results"]["bytes"] == [1000.0, 2000.0, 4000.0]
    assert value["results"]["psnr"] == pytest.approx([25.05, 26.05, 27.05])
    assert all(len(column) == 3 for column in value["results"].values())


def test_tables_are_escaped_and_say_what_they_are(runs: Path) -> None:
    files = export_files(build_board([runs]))
    markdown, latex = files["gs1600-tandt.md"], files["gs1600-tandt.tex"]
    assert "| hac\\_& | low | 2/2 | 2 | 1,500 |" in markdown
    assert "25.05 ± 0.07" in markdown
    assert "hac\\_\\& & low & 2/2" in latex
    for word in ("\\toprule", "\\midrule", "\\bottomrule", "25.05 $\\pm$ 0.07", "$10^6$ bytes"):
        assert word in latex
    body = [line for line in latex.splitlines() if line.endswith("\\\\")]
    assert len({line.replace("\\&", "").count("&") for line in body}) == 1, "as many cells in every row"
    assert latex.isascii()
    assert escape_latex("a_b%{}\\~^#$&<>") == (
        r"a\_b\%\{\}\textbackslash{}\textasciitilde{}\textasciicircum{}\#\$\&\textless{}\textgreater{}"
    )


def test_the_same_records_give_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_exports(build_board([runs]), tmp_path / name)
    first = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    second = {p.relative_to(tmp_path / "b"): p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()}
    assert first == second
    assert len(first) == 3 + 2 + 4


def test_reported_rows_come_back_and_stay_apart(tmp_path: Path, runs: Path) -> None:
    table = tmp_path / "survey.csv"
    table.write_text(
        "method,variant,dataset,psnr,ssim,lpips,size_mb,gaussians_k,source\n"
        "HAC,low,MipNeRF360,27.53,0.807,0.238,16.0,2166,3DGS.zip survey\n"
        "OMG,M,TanksAndTemples,27.21,,,5.57,,paper v1\n"
    )
    rows = read_reported([table])
    assert [(r.method, r.dataset, r.megabytes, r.gaussians) for r in rows] == [
        ("HAC", "mipnerf360", 16.0, 2_166_000),
        ("OMG", "tandt", 5.57, None),
    ]
    assert rows[0].source_url.startswith("https://")
    write_reported(rows, tmp_path / "ours.csv")
    assert read_reported([tmp_path / "ours.csv"]) == rows
    board = build_board([runs], reported=rows)
    assert board.reported == tuple(rows)
    assert {entry.method for section in board.sections for entry in section.entries} == {"3dgs", "hac_&"}
    assert "OMG" not in export_files(board)["gs1600-tandt.csv"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("method,dataset\nHAC,db\n", "no column 'source'"),
        ("method,dataset,source,stars\nHAC,db,x,5\n", "unknown column 'stars'"),
        ("method,dataset,source,psnr\nHAC,db,,27\n", "line 2: source is empty"),
        ("method,dataset,source,psnr\nHAC,db,x,good\n", "psnr is 'good'"),
        ("method,dataset,source,psnr\nHAC,db,x,nan\n", "psnr is 'nan'"),
        ("method,dataset,source,psnr\nHAC,db,x,270\n", "expected 0 to 100"),
        ("method,dataset,source,bytes\nHAC,db,x,-3\n", "expected more than 0"),
        ("method,dataset,source,psnr\nHAC,db,x,\n", "no number at all"),
        ("method,dataset,source,psnr\nHAC,db,x\n", "3 cells, expected 4"),
        ("method,dataset,source,psnr\nHAC,db,x,27\nHAC,db,x,28\n", "line 3: HAC db x was given before"),
    ],
)
def test_reported_rows_that_say_nothing_are_refused(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(RecordError, match=reason) as caught:
        read_reported([path])
    assert str(caught.value).startswith(str(path))
