"""Entropy coding: the interface of coders, gsbench's own, and the models of symbols that methods use with it.

`api` is the protocol; `range` the default coder. `gaussian` codes integers by conditional Gaussians and has their rate
for training, `steps` the adaptive step that goes with it.
"""

from gsbench.coding.api import TOTAL, Decoder, Encoder, EntropyCoder

__all__ = ["TOTAL", "Decoder", "Encoder", "EntropyCoder"]
