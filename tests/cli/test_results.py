"""The table that ends a run, to the letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from gsbench.cli.results import run_output, run_report
from gsbench.cli.tables import Column, Row, megabytes, number, text_table
from gsbench.records import Record

OUT = Path("runs")


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "status": "ok",
        "protocol": {"id": "gs1600", "hash": "0123456789abcdef"},
        "method": "3dgs",
        "method_info": {"distribution": "gsbench-3dgs", "version": "0.1.0", "digest": "d" * 64},
        "dataset": "demo",
        "scene": "demo",
        "rate": "default",
        "seed": 0,
        "config": {"sh_degree": 3},
        "bytes": 10_234_567,
        "artifact": "stages/encode/0a1b/artifact.ply",
        "gaussians": 43210,
        "metrics": {"psnr": 30.1234, "psnr_channelwise": 30.2, "ssim": 0.91234, "lpips_vgg": None},
        "reasons": {"lpips_vgg": "LPIPS weights are missing"},
        "seconds": {"train": 52.31, "encode": 0.14, "decode": 0.42},
        "render_ms": {"median": 8.0, "p95": 9.5},
    }
    return Record.model_validate({**fields, **changes})


def failed(**changes: Any) -> Record:
    error = {"stage": "train", "message": "loss is NaN at step 412\nmore", "log": "stages/train/9f/log.txt"}
    empty = {"bytes": None, "artifact": None, "gaussians": None, "metrics": {}, "reasons": {}, "seconds": {}}
    return record(**{"status": "failed", "error": error, "render_ms": None, **empty, **changes})


def plain(text: str) -> str:
    return click.unstyle(text)


def test_report_of_one_result() -> None:
    assert plain(run_report([record()], OUT)) == (
        "Held-out views, protocol gs1600; MB: 10^6 bytes on disk; train, encode, decode: seconds\n"
        "\n"
        "method  scene  rate        MB   PSNR    SSIM  LPIPS  Gaussians  train  encode  decode  FPS\n"
        "3dgs    demo   default  10.23  30.12  0.9123      —     43,210   52.3     0.1     0.4  125\n"
        "\n"
        "— LPIPS: LPIPS weights are missing\n"
        "\n"
        "Records: runs\n"
        "Next:    gsbench inspect runs/stages/encode/0a1b/artifact.ply"
    )


def test_columns_move_together_where_the_terminal_is_narrow() -> None:
    header, row = plain(run_report([record()], OUT, width=80)).splitlines()[2:4]
    assert header == "method scene rate       MB  PSNR   SSIM LPIPS Gaussians train encode decode FPS"
    assert row == "3dgs   demo  default 10.23 30.12 0.9123     —    43,210  52.3    0.1    0.4 125"
    assert len(header) <= 80


def test_a_failed_job_is_a_row_with_its_stage_and_log_and_the_log_comes_next() -> None:
    lines = plain(run_report([record(), failed(method="hac", rate="low")], OUT)).splitlines()
    assert (
        lines[4]
        == "hac     demo   low      failed in train: loss is NaN at step 412 (log: runs/stages/train/9f/log.txt)"
    )
    assert lines[-1] == "Next:    less runs/stages/train/9f/log.txt"


def test_seeds_are_shown_where_there_are_others_than_0() -> None:
    lines = plain(run_report([record(), record(seed=7)], OUT)).splitlines()
    assert lines[2].split()[:4] == ["method", "scene", "rate", "seed"]
    assert [line.split()[3] for line in lines[3:5]] == ["0", "7"]


def test_protocols_never_share_a_table() -> None:
    text = plain(run_report([record(), record(protocol={"id": "png4", "hash": "f" * 16})], OUT))
    assert text.count("method  scene") == 2
    assert "protocol gs1600;" in text
    assert "protocol png4;" in text


def test_each_reason_is_told_once() -> None:
    text = plain(run_report([record(), record(scene="other", dataset="lab")], OUT))
    assert text.count("LPIPS weights are missing") == 1


def test_paths_with_spaces_are_quoted_in_the_next_command() -> None:
    text = plain(run_report([record()], Path("my runs")))
    assert text.endswith("Next:    gsbench inspect 'my runs/stages/encode/0a1b/artifact.ply'")


def test_json_output_names_files_that_can_be_opened_from_anywhere(tmp_path: Path) -> None:
    output = run_output([record(), failed()], tmp_path)
    assert set(output) == {"schema", "records"}
    first, second = json.loads(json.dumps(output, allow_nan=False))["records"]
    assert first["artifact"] == str(tmp_path / "stages/encode/0a1b/artifact.ply")
    assert first["schema"] == "gsbench.record/1"
    assert first["metrics"]["psnr"] == 30.1234
    assert second["error"]["log"] == str(tmp_path / "stages/train/9f/log.txt")
    assert second["artifact"] is None


@pytest.mark.parametrize(
    ("count", "text"), [(None, "—"), (0, "0.0000"), (1234, "0.0012"), (999_999, "1.0000"), (1_000_000, "1.00")]
)
def test_megabytes_are_ten_to_the_six(count: int | None, text: str) -> None:
    assert megabytes(count) == text


def test_numbers() -> None:
    assert number(None, 2) == "—"
    assert number(1234.5, 1) == "1,234.5"


def test_a_table_aligns_text_left_and_numbers_right() -> None:
    table = text_table([Column("name", "<"), Column("n")], [Row(["a", "1"]), Row(["longer", "100"])])
    assert plain(table).splitlines() == ["name      n", "a         1", "longer  100"]
