"""The static site of a leaderboard: a folder of pages that a browser opens from disk, without a network.

    write_site(board, Path("site"), options=SiteOptions(views=2))

Scripts are classic ones and data are assignments in scripts, because pages opened by ``file://`` may neither fetch
files nor import modules. The same records give the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names

if TYPE_CHECKING:
    from gsbench.leaderboard.site.build import write_site as write_site
    from gsbench.leaderboard.site.options import SiteOptions as SiteOptions

_EXPORTS: Final = {"SiteOptions": "gsbench.leaderboard.site.options", "write_site": "gsbench.leaderboard.site.build"}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
