"""`write_distribution`: an installed distribution made on the spot, for tests of whatever needs one."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path


def write_distribution(
    folder: Path,
    name: str,
    modules: Mapping[str, str],
    *,
    entry_points: Mapping[str, str] | None = None,
    group: str = "gsbench",
    version: str = "1.0",
) -> Path:
    """Write into `folder` what installing a pure-Python wheel leaves in site-packages.

    With `folder` on ``sys.path`` (or in ``PYTHONPATH``) the distribution is installed, as far as Python and
    `importlib.metadata` can tell.

    Args:
        folder: created where it is missing; several distributions may share it.
        name: name of the distribution, ``my-plugin``.
        modules: source text by file name relative to `folder`, ``{"my_plugin/__init__.py": "..."}``.
        entry_points: ``{"my-plugin": "my_plugin.plugin"}``; None for no entry points at all.
        group: the group of the entry points.
        version: of the distribution.

    Returns:
        The ``.dist-info`` folder.
    """
    written: dict[str, bytes] = {}
    for relative, source in modules.items():
        written[relative] = source.encode()
    info = f"{re.sub(r'[-_.]+', '_', name)}-{version}.dist-info"
    written[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    written[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    written[f"{info}/INSTALLER"] = b"gsbench.testing\n"
    if entry_points is not None:
        lines = [f"[{group}]", *(f"{key} = {value}" for key, value in entry_points.items())]
        written[f"{info}/entry_points.txt"] = "\n".join([*lines, ""]).encode()
    record = [f"{relative},sha256={_digest(data)},{len(data)}" for relative, data in written.items()]
    written[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    for relative, data in written.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / info


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
