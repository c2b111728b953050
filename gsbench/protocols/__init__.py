"""Evaluation protocols: what a result must share with another to be comparable to it."""

from gsbench.protocols.protocol import BLENDER, BUNGEE, GS1600, PNG4, SHIPPED, Protocol

__all__ = ["BLENDER", "BUNGEE", "GS1600", "PNG4", "SHIPPED", "Protocol"]
