"""AIPerf's records of single requests, `profile_export.jsonl`.

Source: docs.nvidia.com/aiperf, Working with Profile Export Files. Requests of the warm-up are no part of the
measured load, and failed ones have no lengths: both are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slaplanner.adapters.traces.reader import JsonLines
from slaplanner.adapters.traces.rows import LeftOutError, NotARequestError, Rows, number, tokens
from slaplanner.adapters.traces.times import TimeUnit


class AiPerf(JsonLines):
    """A request in each line."""

    NAME = "AIPerf profile_export.jsonl"
    UNIT = TimeUnit.NS

    def entry(self, entry: Mapping[str, Any], rows: Rows) -> None:
        metadata, metrics = entry.get("metadata"), entry.get("metrics")
        if not isinstance(metadata, dict) or not isinstance(metrics, dict):
            raise NotARequestError("no metadata and metrics of AIPerf's")
        if metadata.get("benchmark_phase", metadata.get("credit_phase")) == "warmup":
            raise LeftOutError("requests of the warm-up")
        if entry.get("error") or metadata.get("was_cancelled"):
            raise LeftOutError("failed or cancelled requests")
        start = metadata.get("request_start_ns", metadata.get("timestamp_ns"))
        rows.add(
            number(start, "request_start_ns"),
            tokens(_value(metrics, "input_sequence_length"), "input_sequence_length"),
            tokens(_value(metrics, "output_sequence_length"), "output_sequence_length"),
        )


def _value(metrics: Mapping[str, Any], name: str) -> float:
    metric = metrics.get(name)
    return number(metric.get("value") if isinstance(metric, dict) else metric, name)
