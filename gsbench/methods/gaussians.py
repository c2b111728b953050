"""`SplatsModel`: a model that is nothing but Gaussians, for methods that compress those of a base."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from gsbench.methods.api import Model
from gsbench.methods.rendering import SplatsRenderable
from gsbench.splats import Splats


class SplatsModel(SplatsRenderable, Model):
    """Gaussians as a model: what `fit` of a post-processing or format method returns."""

    def state(self) -> dict[str, Any]:
        """The tensors of `Splats`, by field name."""
        splats = self.splats()
        return {field.name: getattr(splats, field.name) for field in fields(splats)}

    @classmethod
    def from_state(cls, state: dict[str, Any], config: Any) -> SplatsModel:
        """Inverse of `state`; `config` plays no part."""
        return cls(Splats(**state))
