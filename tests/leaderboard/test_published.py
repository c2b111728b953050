"""What is published in this repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsbench.leaderboard.load import artifact_beside, find_records
from gsbench.leaderboard.publish import check_folder
from gsbench.leaderboard.verify import verify_record
from gsbench.records import read_record

FOLDER = Path(__file__).resolve().parents[2] / "leaderboards"


def published() -> list[Path]:
    """Records whose artifact is published with them."""
    boards = [path for path in sorted(FOLDER.iterdir()) if (path / "SHA256SUMS").is_file()]
    found = find_records(boards) if boards else []
    return [path for path in found if artifact_beside(path, read_record(path)).is_file()]


def test_the_folder_is_in_order() -> None:
    found = check_folder(FOLDER)
    assert found.problems == ()
    assert found.reported >= 40


@pytest.mark.slow
@pytest.mark.parametrize("path", published(), ids=lambda path: str(path.relative_to(FOLDER)))
def test_published_numbers_follow_from_published_artifacts(path: Path) -> None:
    result = verify_record(path)
    assert result.ok, [check for check in result.checks if check.outcome != "ok"]
