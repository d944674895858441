"""Request traces of Dynamo's frontend (`DYN_REQUEST_TRACE=1`), as `dynamo.request.trace.v1`.

Source: docs.nvidia.com/dynamo, Request Trace Reference. A `request_end` record has when the request was
received, in Unix milliseconds, and its tokens; other records of the stream are of tools and payloads. A record
may stand alone in its line or under `event`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.reader import JsonLines
from slaplanner.adapters.traces.rows import LeftOutError, NotARequestError, Rows, number, tokens
from slaplanner.adapters.traces.times import TimeUnit

SCHEMAS = ("dynamo.request.trace.v1", "dynamo.agent.trace.v1")
"""The second is the first one's older name, with the same fields."""


class DynamoRequests(JsonLines):
    """A record in each line."""

    NAME = SCHEMAS[0]
    UNIT = TimeUnit.MS

    def entry(self, entry: Mapping[str, Any], rows: Rows) -> None:
        record = record_of(entry)
        if record is None:
            raise NotARequestError("no record of Dynamo's")
        if record["schema"] not in SCHEMAS:
            raise TraceError(f"{self.file}: found schema {record['schema']!r}, wanted {SCHEMAS[0]}")
        if record.get("event_type") != "request_end":
            raise LeftOutError(f"{record.get('event_type')} records")
        request = record.get("request")
        if not isinstance(request, dict):
            raise NotARequestError("a request_end record without its request")
        replay = request.get("replay")
        isl = request.get("input_tokens")
        if isl is None and isinstance(replay, dict):
            isl = replay.get("input_length")
        if not request.get("output_tokens"):
            raise LeftOutError("requests without output tokens (failed or cancelled)")
        rows.add(
            _received_ms(record, request),
            tokens(number(isl, "input_tokens"), "input_tokens"),
            tokens(number(request["output_tokens"], "output_tokens"), "output_tokens"),
        )


def record_of(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The record in a line, with a `schema` of Dynamo's; None where there is none."""
    for record in (entry, entry.get("event")):
        if isinstance(record, dict):
            schema = record.get("schema")
            if isinstance(schema, str) and schema.startswith("dynamo."):
                return record
    return None


def _received_ms(record: Mapping[str, Any], request: Mapping[str, Any]) -> float:
    if request.get("request_received_ms") is not None:
        return number(request["request_received_ms"], "request_received_ms")
    if request.get("total_time_ms") is None:
        raise NotARequestError("no request_received_ms and no total_time_ms")
    end_ms = number(record.get("event_time_unix_ms"), "event_time_unix_ms")
    return number(end_ms - number(request["total_time_ms"], "total_time_ms"), "the time of arrival")
