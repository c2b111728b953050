"""The command line: one module per verb, and nothing heavy is imported until the verb runs."""

from gsbench.cli.app import main

__all__ = ["main"]
