"""Records: one JSON file per result, with everything needed to judge and repeat it."""

from gsbench.records.record import (
    RECORD_SCHEMA,
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
)

__all__ = [
    "RECORD_SCHEMA",
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
    "record_json_schema",
]
