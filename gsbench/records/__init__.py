"""Records: one JSON file per result, with everything needed to judge and repeat it."""

from gsbench.records.io import read_record, record_from_json, record_to_json, write_record
from gsbench.records.record import (
    RECORD_SCHEMA,
    BaseInfo,
    Environment,
    ErrorInfo,
    Isolation,
    MethodInfo,
    ProtocolInfo,
    Record,
    RenderTimes,
    Seconds,
    Status,
    ViewMetrics,
    record_json_schema,
    record_path,
)

__all__ = [
    "RECORD_SCHEMA",
    "BaseInfo",
    "Environment",
    "ErrorInfo",
    "Isolation",
    "MethodInfo",
    "ProtocolInfo",
    "Record",
    "RenderTimes",
    "Seconds",
    "Status",
    "ViewMetrics",
    "read_record",
    "record_from_json",
    "record_json_schema",
    "record_path",
    "record_to_json",
    "write_record",
]
