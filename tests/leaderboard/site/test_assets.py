"""The vendored libraries, and what becomes of them in a site."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

import pytest

from gsbench.leaderboard.site.assets import classic_script, classic_workers, write_assets

VENDOR = Path(str(files("gsbench.leaderboard.site"))) / "vendor"
LISTED = dict(re.findall(r"^\| `(\S+)` \| `\S+` \| `([0-9a-f]{64})` \|$", (VENDOR / "VENDORED.md").read_text(), re.M))


def test_every_vendored_file_is_listed_with_its_hash_and_has_a_license() -> None:
    found = [p for p in VENDOR.rglob("*") if p.is_file() and p.name not in ("LICENSE", "VENDORED.md")]
    assert {p.relative_to(VENDOR).as_posix() for p in found} == set(LISTED)
    for path in found:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == LISTED[path.relative_to(VENDOR).as_posix()]
        license_text = (path.parent / "LICENSE").read_text()
        assert "MIT License" in license_text
        assert "Copyright (c)" in license_text


def test_the_package_stays_small() -> None:
    folder = VENDOR.parent
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc") < 2_000_000


def test_assets_name_no_other_files(tmp_path: Path) -> None:
    write_assets(tmp_path / "assets")
    scripts = sorted(p for p in tmp_path.rglob("*") if p.suffix in (".js", ".css"))
    assert len(scripts) >= 10
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        assert "sourceMappingURL" not in text
        assert "import.meta" not in text
        assert not re.search(r"^export\b", text, re.M)
        assert not re.search(r"@import|url\((?!\"?data:|#)", text) or path.suffix == ".js"


def test_a_module_becomes_a_script() -> None:
    module = "const a = 1, u = import.meta.url;\nclass B {}\nexport {\n  a as first,\n  B as Second\n};\n"
    found = classic_script(module, "LIB")
    assert "window.LIB = { first: a, Second: B };" in found
    assert "import.meta" not in found
    assert "export" not in found


@pytest.mark.parametrize(
    "module",
    [
        "const a = 1;\n",
        'import x from "./x.js";\nexport {\n  x as y\n};\n',
        "const a = 1;\nexport {\n  a\n};\n",
    ],
)
def test_other_modules_are_refused(module: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        classic_script(module, "LIB")


def test_a_library_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="expected workers"):
        classic_workers("const a = 1;\n")
