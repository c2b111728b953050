from __future__ import annotations

from gsbench.testing import MethodConformance


class TestHac(MethodConformance):
    method = "hac"


class TestHacPlus(MethodConformance):
    method = "hac++"
