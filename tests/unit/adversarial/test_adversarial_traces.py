"""Traces and series that somebody wrote to harm: bounded in time, and read alike in every company."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.series import SeriesError, read_series
from slaplanner.adapters.traces.trace import parse_trace
from slaplanner.controller import warmup
from slaplanner.controller.thread_pools import ThreadPool
from slaplanner.controller.warmup import WarmUps, config_map_bytes
from slaplanner.core.errors import WarmUpError

LINE = b'{"timestamp": 7, "input_length": 10, "output_length": 1}'
OTHERS = b"1\n" * 4_000_000
"""8 MB, which pack to some kilobytes."""


def requests_in(data: bytes) -> tuple[int, int]:
    """Requests and other lines."""
    try:
        trace = parse_trace(io.BytesIO(data), name="t")
    except TraceError:
        return 0, -1
    return len(trace), trace.skipped_lines


ODD_NUMBERS = st.sampled_from(
    ["0", "01", "00", "7", "1.0", "-1", "1e3", "+1", "0x1", "", "1_0", "9" * 20, "NaN"]
)


@given(timestamp=ODD_NUMBERS, isl=ODD_NUMBERS, osl=ODD_NUMBERS, spaces=st.booleans())
def test_a_line_counts_whatever_stands_beside_it(timestamp: str, isl: str, osl: str, *, spaces: bool) -> None:
    """T1: the fast path read 01 as a number, the parser of JSON did not."""
    gap = " " if spaces else ""
    line = f'{{"timestamp":{gap}{timestamp},{gap}"input_length":{gap}{isl},{gap}"output_length":{gap}{osl}}}'
    plain = line.encode() + b"\n"
    valid = requests_in(plain)[0]
    assert requests_in(plain * 3)[0] == 3 * valid
    assert requests_in(b'{"other": 1}\n' + plain)[0] == valid
    assert requests_in(LINE + b"\n" + plain)[0] == 1 + valid


@given(
    st.lists(st.sampled_from([LINE, b"1", b"{", b"[" * 3_000, b"\xff", b"", b"null", LINE[:-1], b"\x1f\x8b"]))
)
def test_any_lines_are_requests_or_the_trace_is_refused(lines: list[bytes]) -> None:
    count, _ = requests_in(b"\n".join(lines))
    assert count in {lines.count(LINE), 0}


def series_of(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "load.csv"
        path.write_text(text, encoding="utf-8")
        read_series(path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("t_s,req_per_s\n0,1\n1,1\n1e300,1\n", id="T2-a-span-beyond-indices"),
        pytest.param("t_s,req_per_s\n0,1\n1e-300,1\n1,1\n", id="steps-of-nothing"),
        pytest.param("t_s,req_per_s\n0,1\n1e308,1\n1.7e308,1\n", id="times-beyond-sums"),
    ],
)
def test_spans_beyond_all_bounds_are_refused(text: str) -> None:
    with pytest.raises(SeriesError, match=r"wanted (at most|equal intervals)"):
        series_of(text)


CELLS = st.sampled_from(
    ["0", "1", "2", "1e300", "1e-300", "-1", "nan", "", "x", "1e999", "60", "3.5", '"', "1,2"]
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), st.sampled_from(["t_s", "minute", "x"]))
def test_any_table_is_a_series_or_refused(rows: list[tuple[str, str, str]], time_column: str) -> None:
    text = f"{time_column},request_count,avg_isl\n" + "".join(f"{','.join(row)}\n" for row in rows)
    try:
        series_of(text)
    except SeriesError:
        return


class TestOneTraceStopsNobodyElse:
    """S2: 255 KB of ConfigMap cost 300 CPU seconds in the thread that decides for all, at every plan."""

    def test_lines_that_are_no_requests_are_soon_enough(self) -> None:
        started = time.thread_time()
        with pytest.raises(WarmUpError, match="more than 100,000 lines that are no requests"):
            WarmUps().of(gzip.compress(OTHERS), name="t", interval_s=60.0)
        assert time.thread_time() - started < 5

    def test_reading_takes_no_longer_than_its_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(warmup, "MAX_READING_S", -1.0)
        with pytest.raises(WarmUpError, match="takes too long to read"):
            WarmUps().of(LINE, name="t", interval_s=60.0)

    def test_a_refusal_is_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        warm_ups = WarmUps()
        with pytest.raises(WarmUpError, match="none of them valid"):
            warm_ups.of(b"1\n", name="t", interval_s=60.0)
        monkeypatch.setattr(warmup, "parse_trace", lambda *_, **__: pytest.fail("it was read again"))
        with pytest.raises(WarmUpError, match="none of them valid"):
            warm_ups.of(b"1\n", name="t", interval_s=60.0)

    async def test_a_plan_does_not_wait_for_a_slow_one_and_finds_it_later(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(warmup, "WAIT_S", 0.01)
        gate = threading.Event()
        pool = ThreadPool("traces", size=1)
        blocked = asyncio.ensure_future(pool.run(gate.wait))
        warm_ups = WarmUps(pool)
        data = b"\n".join(
            json.dumps({"timestamp": 30_000 * at, "input_length": 10, "output_length": 1}).encode()
            for at in range(20)
        )
        for _ in range(2):
            with pytest.raises(WarmUpError, match="is still being read"):
                await warm_ups.soon(data, name="t", interval_s=60.0)
        gate.set()
        await blocked
        monkeypatch.setattr(warmup, "WAIT_S", 60.0)
        assert set((await warm_ups.soon(data, name="t", interval_s=60.0)).requests) == {2.0}

    async def test_a_refusal_reaches_whoever_waits(self) -> None:
        warm_ups = WarmUps()
        for _ in range(2):
            with pytest.raises(WarmUpError, match="none of them valid"):
                await warm_ups.soon(b"1\n", name="t", interval_s=60.0)


@given(st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()))
def test_binary_data_is_base64_or_refused(text: str) -> None:
    """E4: text that is not ASCII was an error of another kind."""
    try:
        config_map_bytes("monday", None, {"load.jsonl.gz": text})
    except WarmUpError:
        return
