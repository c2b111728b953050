from __future__ import annotations

from gsbench.testing import MethodConformance


class TestScaffold(MethodConformance):
    method = "scaffold"
