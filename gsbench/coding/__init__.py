"""Entropy coders: what they must do, so that methods and plugins can exchange them by name."""

from gsbench.coding.api import TOTAL, Decoder, Encoder, EntropyCoder

__all__ = ["TOTAL", "Decoder", "Encoder", "EntropyCoder"]
