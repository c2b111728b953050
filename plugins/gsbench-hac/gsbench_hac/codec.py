"""The file of hac: from a trained model to sections and back.

Sections, in this order; what belongs to anchors is in the order in which `positions` gives them:

    positions   the voxels of the anchors that have a live offset, as an octree
    grid        the signs of the rows of the hash grid that those anchors touch; all others do not matter
    context     the integer network that predicts from the grid
    chunks_<c>  hac++: the integer network of each chunk of the features
    masks       which offsets live
    features, scales, offsets
                integers, each coded by the Gaussian (hac++: features by two) that the context predicts, and worth as
                many of the anchor's adaptive steps; offsets that do not live are left out
    mlps        the networks that make Gaussians of anchors, quantized
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from gsbench import ArtifactReader, ArtifactWriter
from gsbench.coding.bits import decode_flags, encode_flags
from gsbench.coding.gaussian import get_gaussian, put_gaussian
from gsbench.coding.intnet import IntegerNetwork
from gsbench.coding.octree import decode_positions, encode_positions
from gsbench.coding.range import RangeCoder
from gsbench.coding.sign_grid import touched_rows, unpack_signs, pack_signs
from gsbench.coding.steps import dequantize, quantize
from gsbench.errors import ArtifactError
from gsbench.methods.arrays import header_float, header_int, quantize_weights, read_weights, write_weights
from gsbench.training.anchors import AnchorNetworks, AnchorRenderable, Anchors
from gsbench.training.hashgrid import HashLayout
from gsbench_hac.context import GROUPS, HacContext
from gsbench_hac.integers import (
    GRID_BITS,
    Box,
    GroupModel,
    grid_features,
    group_model,
    quantized,
    signs_of,
    split_outputs,
    step_indices,
)
from gsbench_hac.model import LIVE, HacModel
