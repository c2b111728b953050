"""Density-control strategies with gsplat's interface, usable in any loop or registered as tasks."""

from gsbench.training.strategies.base import Strategy
from gsbench.training.strategies.default import DefaultStrategy
from gsbench.training.strategies.mcmc import MCMCStrategy

__all__ = ["DefaultStrategy", "MCMCStrategy", "Strategy"]
