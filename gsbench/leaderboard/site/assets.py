"""The files that all pages share: our styles and scripts, and the vendored libraries with their licenses."""

from __future__ import annotations

import base64
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

#: Text of a vendored library in the package -> its name in the site.
_VENDORED: Final = {
    "chart.js/chart.umd.min.js": "chart.js",
    "tabulator/tabulator.min.js": "tabulator.js",
    "tabulator/tabulator_simple.min.css": "tabulator.css",
    "img-comparison-slider/img-comparison-slider.js": "slider.js",
    "img-comparison-slider/img-comparison-slider.css": "slider.css",
}
_LICENSES: Final = ("chart.js", "tabulator", "img-comparison-slider", "gsplat.js")
_SOURCE_MAP: Final = re.compile(r"\n?(//# sourceMappingURL=\S+|/\*# sourceMappingURL=\S+ \*/)\s*$")
_EXPORT: Final = re.compile(r"\nexport \{\n(?P<names>[\w\s,]+?)\n\};?\s*$")
_WORKER_CODE: Final = re.compile(r'\nconst \w+ = "(?P<text>[A-Za-z0-9+/]{1000,}={0,2})"')
_WORKER_TYPE: Final = re.compile(r'\btype: "module",\s*')
_NAME: Final = re.compile(r"(?P<local>\w+) as (?P<public>\w+)")


def write_assets(folder: Path) -> None:
    """Write the shared files to `folder`, which is created."""
    package = files("gsbench.leaderboard.site")
    (folder / "vendor").mkdir(parents=True)
    for source in sorted(package.joinpath("static").iterdir(), key=lambda item: item.name):
        (folder / source.name).write_bytes(source.read_bytes())
    vendor = package.joinpath("vendor")
    for name, target in _VENDORED.items():
        (folder / "vendor" / target).write_text(_without_source_map(_text(vendor, name)), encoding="utf-8")
    (folder / "vendor" / "gsplat.js").write_text(
        classic_script(classic_workers(_without_source_map(_text(vendor, "gsplat.js/gsplat.es.js"))), "SPLAT"),
        encoding="utf-8",
    )
    for library in _LICENSES:
        (folder / "vendor" / f"{library}.LICENSE.txt").write_text(_text(vendor, f"{library}/LICENSE"), encoding="utf-8")


def classic_script(module: str, variable: str) -> str:
    """An ES module as a script that assigns its exports to ``window.<variable>``: pages opened from disk may not
    import modules.

    Raises:
        ValueError: if the module does not end in one list of exports, or imports something.
    """
    match = _EXPORT.search(module)
    if match is None or re.search(r"^\s*import\b(?!\.meta|\()", module, re.MULTILINE):
        raise ValueError("expected a module without imports whose last statement is a list of exports")
    pairs = [_NAME.fullmatch(name.strip()) for name in match["names"].split(",")]
    exported = ", ".join(f"{pair['public']}: {pair['local']}" for pair in pairs if pair is not None)
    if None in pairs:
        raise ValueError("expected exports of the form 'local as public'")
    body = module[: match.start()].replace("import.meta.url", "document.baseURI")
    return f'(function () {{\n"use strict";\n{body}\nwindow.{variable} = {{ {exported} }};\n}})();\n'


def classic_workers(module: str) -> str:
    """A module whose workers (base64 text in constants) are module workers, with classic workers instead: browsers
    refuse module workers to pages opened from disk.

    Raises:
        ValueError: if it has no such workers, or they import or export something.
    """

    def convert(match: re.Match[str]) -> str:
        code = base64.b64decode(match["text"]).decode("utf-8")
        if re.search(r"^\s*(import\b(?!\.meta)|export\b)", code, re.MULTILINE):
            raise ValueError("expected workers that import and export nothing")
        code = _without_source_map(code).replace("import.meta.url", "self.location.href")
        return match[0].replace(match["text"], base64.b64encode(code.encode("utf-8")).decode("ascii"))

    # The text that each worker begins with is written out in the module.
    module = module.replace("URL.revokeObjectURL(import.meta.url);", "URL.revokeObjectURL(self.location.href);")
    converted, workers = _WORKER_CODE.subn(convert, module)
    converted, places = _WORKER_TYPE.subn("", converted)
    if not workers or not places:
        raise ValueError("expected workers in base64 constants, started as modules")
    return converted


def _text(folder: Traversable, name: str) -> str:
    return folder.joinpath(*name.split("/")).read_text(encoding="utf-8")


def _without_source_map(text: str) -> str:
    """Without the comment that sends a browser's developer tools for a file that is not there."""
    return _SOURCE_MAP.sub("\n", text)
