"""The artifact: the one file that a method encodes to, whose size is the rate.

Either a container (``.gsb``; its byte layout is in `gsbench.artifact.container`) or a native file of another format
(``.ply``, ...) that other software opens.
"""

from gsbench.artifact.coders import BYTE_CODERS
from gsbench.artifact.container import Section
from gsbench.artifact.inspect import inspect_artifact, inspectors
from gsbench.artifact.reader import ArtifactReader, open_artifact
from gsbench.artifact.writer import ArtifactWriter

__all__ = [
    "BYTE_CODERS",
    "ArtifactReader",
    "ArtifactWriter",
    "Section",
    "inspect_artifact",
    "inspectors",
    "open_artifact",
]
