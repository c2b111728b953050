"""The error hierarchy: exit codes as the command line documents them, one message for the user."""

from __future__ import annotations

import inspect

import pytest

from gsbench import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]

#: 0 and 130 are not errors; 1 jobs, 2 usage, 3 internal, 4 verification.
CODES = {
    "GsbenchError": 3,
    "UsageError": 2,
    "SceneError": 2,
    "ArtifactError": 1,
    "FormatError": 1,
    "JobError": 1,
    "StoreError": 2,
    "RecordError": 1,
    "FetchError": 1,
    "PluginError": 2,
    "TaskError": 1,
    "NativeError": 3,
    "VerificationError": 4,
}


def test_every_class_has_a_stated_exit_code() -> None:
    assert {cls.__name__: cls.exit_code for cls in CLASSES} == CODES


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_is_documented_and_its_text_is_its_message(cls: type[errors.GsbenchError]) -> None:
    assert inspect.getdoc(cls)
    assert issubclass(cls, errors.GsbenchError)
    assert not issubclass(cls, ValueError | TypeError), "library misuse is reported by Python's own exceptions"
    assert str(cls("expected 3 of 4")) == "expected 3 of 4"


def test_a_damaged_splat_file_is_a_damaged_artifact() -> None:
    assert issubclass(errors.FormatError, errors.ArtifactError)
