"""Results of `vllm bench serve --save-result --save-detailed`: one JSON object, or one in each line.

Source: docs.vllm.ai, Benchmark CLI; the fields are those of vllm/benchmarks/serve.py. `start_times` are seconds
of the client's own clock, so they count from the first of them. Results without them do not say when requests came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.reader import Reader, parsed_document
from slaplanner.adapters.traces.rows import LeftOutError, NotARequestError, Rows, number, tokens
from slaplanner.adapters.traces.times import TimeUnit

MAX_DOCUMENT_BYTES = 512 << 20
"""Generated texts may be among the results."""

_LISTS = ("start_times", "input_lens", "output_lens")


class VllmBench(Reader):
    """One run, or runs one after the other as `--append-result` writes them."""

    NAME = "vLLM benchmark JSON"
    UNIT = TimeUnit.S
    MOST_LINE_BYTES = MAX_DOCUMENT_BYTES

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._text: list[bytes] = []

    def feed(self, block: bytes, rows: Rows) -> None:
        del rows
        self._text.append(block)

    def finish(self, rows: Rows) -> None:
        text = b"".join(self._text)
        start_s = 0.0
        for run in _runs(text, name=self.file):
            start_s = self._run(run, rows, start_s)

    def _run(self, run: Mapping[str, Any], rows: Rows, start_s: float) -> float:
        """Add the requests of a run that begins at *start_s*; when it ends."""
        lists = [run.get(key) for key in _LISTS]
        times, isls, osls = lists
        if not (isinstance(times, list) and isinstance(isls, list) and isinstance(osls, list)):
            missing = ", ".join(
                key for key, found in zip(_LISTS, lists, strict=True) if not isinstance(found, list)
            )
            raise TraceError(
                f"{self.file}: found a vLLM benchmark result without {missing}, so it does not say when "
                "requests came; wanted one of vllm bench serve --save-result --save-detailed that has them"
            )
        if not len(times) == len(isls) == len(osls):
            raise TraceError(
                f"{self.file}: found {len(times)} start_times, {len(isls)} input_lens and "
                f"{len(osls)} output_lens, wanted as many of each"
            )
        errors = run.get("errors")
        failed = errors if isinstance(errors, list) and len(errors) == len(times) else [None] * len(times)
        clock = [time for time in times if type(time) in (int, float)]
        first_s = min(clock, default=0.0)
        for time, isl, osl, error in zip(times, isls, osls, failed, strict=True):
            try:
                if error or osl == 0:
                    raise LeftOutError("failed requests")
                rows.add(
                    start_s + number(number(time, "start_times") - first_s, "start_times"),
                    tokens(number(isl, "input_lens"), "input_lens"),
                    tokens(number(osl, "output_lens"), "output_lens"),
                )
            except NotARequestError as refusal:
                rows.refuse(refusal)
        return start_s + max(clock, default=0.0) - first_s


def _runs(text: bytes, *, name: str) -> list[Mapping[str, Any]]:
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        runs = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        runs = [parsed_document(text, name=name)]
    if not all(isinstance(run, dict) for run in runs):
        raise TraceError(f"{name}: found JSON that is no object, wanted a vLLM benchmark result")
    return runs
