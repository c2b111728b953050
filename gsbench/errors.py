"""Every error that gsbench raises on purpose, in one hierarchy.

A `GsbenchError` is a message for the person at the keyboard: what was wrong, where, and what was expected.
The command line prints it without a traceback and exits with its `exit_code`. Anything else that escapes is a
bug of ours. Wrong arguments to library functions (a tensor of the wrong shape, say) raise `ValueError` or
`TypeError` as usual in Python, and features that are not there yet raise `NotImplementedError`.
"""

from __future__ import annotations


class GsbenchError(Exception):
    """Base of the errors whose message is for the user. Never raised itself."""

    exit_code: int = 3


class UsageError(GsbenchError):
    """The request itself is wrong: an unknown method, scene, option or value."""

    exit_code = 2


class SceneError(GsbenchError):
    """A scene cannot be read: a missing folder, a damaged model, an image that is not one."""

    exit_code = 2


class ArtifactError(GsbenchError):
    """An artifact is damaged, truncated, or not what its reader expects."""

    exit_code = 1


class FormatError(ArtifactError):
    """A splat file (PLY, SPZ, ...) is damaged or not of the stated format."""


class JobError(GsbenchError):
    """A stage of a job failed; the message names the stage and the log."""

    exit_code = 1


class StoreError(GsbenchError):
    """The results folder cannot be used: no permission, a full disk, another run holds it."""

    exit_code = 2


class RecordError(GsbenchError):
    """Records are refused: unknown keys, a missing artifact, a wrong hash, a number that changed. Each has its path."""

    exit_code = 1


class FetchError(GsbenchError):
    """Files cannot be fetched: no connection, a wrong checksum, an archive that is damaged or hostile."""

    exit_code = 1


class PluginError(GsbenchError):
    """A plugin cannot be loaded, or clashes with another."""

    exit_code = 2


class TaskError(GsbenchError):
    """A scheduled training task failed or cannot be registered; the message names the task and its step."""

    exit_code = 1


class NativeError(GsbenchError):
    """The native library is missing, of another version, or reported a failure."""

    exit_code = 3


class VerificationError(GsbenchError):
    """A published number does not follow from its artifact."""

    exit_code = 4
