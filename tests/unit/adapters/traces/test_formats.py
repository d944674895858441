"""Formats of traces: each is found by its content and read right, or refused with what was found."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.series import read_series
from slaplanner.adapters.traces.times import TimeUnit
from slaplanner.adapters.traces.trace import Trace, parse_trace, read_trace

SAMPLES = Path(__file__).parent / "samples"

UNIX_S = 1_779_163_050.0


def _read(text: str | bytes, unit: TimeUnit | None = None) -> Trace:
    data = text if isinstance(text, bytes) else text.encode()
    return parse_trace(io.BytesIO(data), name="t", time_unit=unit)


def _lines(*entries: object) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def _steady(count: int, gap: float, *, start: float = 0.0, **more: object) -> str:
    return _lines(
        *(
            {"timestamp": start + gap * at, "input_length": 1000, "output_length": 100, **more}
            for at in range(count)
        )
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mooncake.jsonl", ""),
        ("unix_seconds.jsonl", "mooncake JSON lines, Unix seconds from 2026-05-19 03:57:30 UTC"),
        ("unix_milliseconds.jsonl", "mooncake JSON lines, Unix milliseconds from 2026-05-19"),
        ("unix_nanoseconds.jsonl", "mooncake JSON lines, Unix nanoseconds from 2026-05-19"),
        ("iso.jsonl", "mooncake JSON lines, Unix seconds from 2026-05-19 03:57:30 UTC"),
        ("created_time.jsonl", ""),
        ("sessions.jsonl", ""),
        ("qwen_bailian.jsonl", "Qwen-Bailian JSON lines, seconds from the trace's start"),
        ("dynamo_request_trace.jsonl", "dynamo.request.trace.v1"),
        ("azure2023.csv", "Azure LLM inference CSV, Unix seconds from 2023-11-16 18:15:46"),
        ("azure2024.csv", "Azure LLM inference CSV, Unix seconds from 2024-05-10"),
        ("burstgpt.csv", "BurstGPT CSV, seconds"),
        ("burstgpt_sessions.csv", "BurstGPT CSV, seconds"),
        ("profile_export.jsonl", "AIPerf profile_export.jsonl, Unix nanoseconds"),
        ("vllm_bench.json", "vLLM benchmark JSON"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_sample_holds_the_same_three_requests(
    name: str, found: str, packed: bool, tmp_path: Path
) -> None:
    data = (SAMPLES / name).read_bytes()
    path = tmp_path / "download"  # the name tells nothing
    path.write_bytes(gzip.compress(data) if packed else data)
    trace = read_trace(path)
    assert f"found {found}" in trace.notes[0] if found else all("found" not in note for note in trace.notes)
    np.testing.assert_allclose(trace.t_s, [0.0, 1.5, 4.0], atol=1e-5)
    assert trace.isl_tokens.tolist() == [374, 396, 879]
    assert trace.osl_tokens.tolist() == [44, 109, 55]
    assert trace.skipped_lines == 0


def test_the_samples_are_all_read() -> None:
    assert len(list(SAMPLES.glob("*.*"))) == 16


class TestUnitsOfTimes:
    @pytest.mark.parametrize(
        ("factor", "clock"), [(1, "seconds"), (10**3, "milliseconds"), (10**6, "micro"), (10**9, "nano")]
    )
    def test_a_unix_clock_shows_its_unit(self, factor: int, clock: str) -> None:
        trace = _read(_steady(7297, factor / 2, start=1_779_163_050 * factor))
        assert trace.span_s == pytest.approx(3648.0, abs=1e-3)
        assert trace.t_s[0] == 0.0
        assert f"Unix {clock}" in trace.clock

    @pytest.mark.parametrize("start", [0.0, 5.0], ids=["from-0", "later"])
    @pytest.mark.parametrize("gap", [0.5, 1.0, 7.0], ids=["2/s", "1/s", "0.14/s"])
    def test_seconds_from_the_start_are_asked_about(self, start: float, gap: float) -> None:
        text = _steady(7297, gap, start=start)
        with pytest.raises(TraceError, match=r"unit is not clear.*--time-unit ms or s"):
            _read(text)
        assert _read(text, TimeUnit.S).span_s == pytest.approx(7296 * gap)
        assert _read(text, TimeUnit.MS).span_s == pytest.approx(7.296 * gap)

    @pytest.mark.parametrize("unit", [TimeUnit.US, TimeUnit.NS])
    def test_finer_units_from_the_start_are_asked_about(self, unit: TimeUnit) -> None:
        text = _steady(7297, unit.per_second / 2)
        with pytest.raises(TraceError, match=rf"unit is not clear.*--time-unit ms or {unit}"):
            _read(text)
        assert _read(text, unit).span_s == pytest.approx(3648.0)

    def test_milliseconds_in_a_format_of_seconds_are_asked_about(self) -> None:
        with pytest.raises(TraceError, match=r"--time-unit s or ms"):
            _read(_steady(7297, 500.0, chat_id=1, parent_chat_id=-1, turn=1))

    @given(
        gap_s=st.floats(0.01, 30.0),
        count=st.integers(200, 400),
        clock=st.sampled_from(
            [(0.0, TimeUnit.S), (0.0, TimeUnit.MS), *((UNIX_S, unit) for unit in TimeUnit)]
        ),
    )
    def test_a_load_is_never_read_at_another_rate(
        self, gap_s: float, count: int, clock: tuple[float, TimeUnit]
    ) -> None:
        start_s, unit = clock
        start = round(start_s * unit.per_second)
        times = [start + round(gap_s * unit.per_second * at, 3) for at in range(count)]
        text = _lines(*({"timestamp": time, "input_length": 9, "output_length": 9} for time in times))
        try:
            trace = _read(text)
        except TraceError as error:
            assert "--time-unit" in str(error)  # noqa: PT017 - both ends are right
            trace = _read(text, unit)
        assert trace.span_s == pytest.approx(gap_s * (count - 1), rel=0.01)

    def test_a_span_of_years_is_refused(self) -> None:
        with pytest.raises(TraceError, match="found a span of 699 days with times in seconds"):
            _read(_steady(700, 86_400.0, chat_id=1), TimeUnit.S)

    def test_the_unit_that_a_format_has_is_not_changed(self) -> None:
        text = (SAMPLES / "azure2023.csv").read_text()
        assert _read(text, TimeUnit.NS).t_s.tolist() == _read(text).t_s.tolist()

    def test_two_kinds_of_times_are_refused(self) -> None:
        line = {"input_length": 9, "output_length": 9}
        with pytest.raises(TraceError, match="found ISO times and numbers"):
            _read(_lines({"timestamp": 0, **line}, {"timestamp": "2026-05-19T00:00:00", **line}))

    def test_two_clocks_are_refused(self) -> None:
        with pytest.raises(TraceError, match="found times whose unit is not clear"):
            _read(_steady(300, 1000.0) + _steady(300, 1000.0, start=1.7e12))


class TestSessions:
    def test_a_turn_follows_the_turn_before_it_in_its_own_session(self) -> None:
        turns = [
            {"session_id": name, **when, "input_length": size, "output_length": 1}
            for size, (name, when) in enumerate(
                [
                    ("a", {"timestamp": 0}),
                    ("b", {"timestamp": 1000}),
                    ("a", {"delay": 5000}),
                    ("b", {"delay_ms": 500}),
                    ("a", {"delay": 5000}),
                ],
                start=1,
            )
        ]
        trace = _read(_lines(*turns))
        assert trace.t_s.tolist() == [0.0, 1.0, 1.5, 5.0, 10.0]
        assert trace.isl_tokens.tolist() == [1, 2, 4, 3, 5]
        assert any("3 turns have no time" in note for note in trace.notes)

    def test_all_turns_of_many_sessions_are_requests(self) -> None:
        sizes = {"input_length": 500, "output_length": 50}
        turns = [
            {
                "session_id": f"s{session}",
                **({"delay": 5000} if turn else {"timestamp": 6000 * session}),
                **sizes,
            }
            for session in range(600)
            for turn in range(5)
        ]
        assert len(_read(_lines(*turns))) == 3000

    @pytest.mark.parametrize(
        ("more", "reason"),
        [
            pytest.param({"delay": 5}, "300 a delay, and no earlier turn of its session", id="no-session"),
            pytest.param({"session_id": "x"}, "300 no timestamp", id="no-delay"),
            pytest.param({"delay": -5, "session_id": "x"}, "300 delay is no finite number", id="back"),
            pytest.param({"session_id": [1]}, "300 session_id is no text", id="a-list"),
        ],
    )
    def test_turns_that_follow_nothing_are_refused_with_their_share(
        self, more: dict[str, object], reason: str
    ) -> None:
        turn = _lines({"input_length": 5, "output_length": 5, **more})
        with pytest.raises(TraceError, match=rf"300 of 900 lines \(33\.3%\).*{reason}"):
            _read(_steady(600, 1000.0) + turn * 300)


class TestLinesThatAreNoRequests:
    def test_few_are_skipped_with_their_share_and_reasons(self) -> None:
        trace = _read(_steady(996, 1000.0) + "hello\n{}\n{}\n" + _lines({"timestamp": 1, "input_length": 1}))
        assert trace.skipped_lines == 4
        assert trace.notes == (
            "4 lines are no requests and were skipped (0.40% of them: 2 no input_length; 1 not JSON; 1 no output_length)",
        )

    def test_more_than_one_in_a_hundred_are_refused(self) -> None:
        with pytest.raises(TraceError, match=r"11 of 1,000 lines \(1\.1%\).*11 not JSON.*at most 1%"):
            _read(_steady(989, 1000.0) + "hello\n" * 11)

    @pytest.mark.parametrize(
        ("name", "note"),
        [
            ("profile_export.jsonl", "1 requests of the warm-up; 1 failed or cancelled requests"),
            ("dynamo_request_trace.jsonl", "1 tool_end records"),
            ("burstgpt.csv", "1 failed requests (0 response tokens)"),
            ("vllm_bench.json", "1 failed requests"),
        ],
    )
    def test_what_a_format_has_beside_requests_is_told_and_is_no_fault(self, name: str, note: str) -> None:
        assert read_trace(SAMPLES / name).notes[1:] == (f"left out: {note}",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
            "a Git LFS pointer",
            id="lfs",
        ),
        pytest.param(b"<!DOCTYPE html>\n<html>", "an HTML page", id="html"),
        pytest.param(b"\n  <html lang=en>", "an HTML page", id="html-later"),
        pytest.param(b"PK\x03\x04...", "a ZIP archive", id="zip"),
        pytest.param(b"PAR1....", "a Parquet file", id="parquet"),
        pytest.param(b"\x28\xb5\x2f\xfd....", "packed with Zstandard", id="zstd"),
        pytest.param("{}".encode("utf-16"), "UTF-16", id="utf-16"),
        pytest.param(b'[{"timestamp": 0}]', "one JSON array", id="array"),
        pytest.param(b"a,b\n1,2\n", "a CSV with columns a, b", id="csv"),
        pytest.param(b"minute,request_count\n0,1\n", "slaplanner forecast", id="csv-of-intervals"),
        pytest.param(
            b'{"num_prompts": 3, "ttfts": [1]}', "without start_times, input_lens", id="vllm-summary"
        ),
        pytest.param(
            b'{"start_times": [1], "input_lens": [], "output_lens": []}',
            "wanted as many of each",
            id="vllm-uneven",
        ),
        pytest.param(b'{"num_prompts": 3, "start_times": [1', "broken", id="vllm-cut"),
        pytest.param(
            b'{"schema": "dynamo.request.trace.v2", "event_type": "request_end"}', "trace.v2", id="schema"
        ),
        pytest.param(b'{"request_count": {"avg": 1}}', "AIPerf profile_export.jsonl", id="aiperf-summary"),
    ],
)
def test_what_is_no_trace_is_named(data: bytes, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        _read(data)


def test_a_byte_order_mark_is_no_fault() -> None:
    assert len(_read(b"\xef\xbb\xbf" + _steady(3, 1000.0).encode())) == 3


def test_a_csv_of_requests_is_a_series_too(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    rows = (f"2024-05-10 {at // 60:02}:{at % 60:02}:00+00:00,10,5" for at in range(300))
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    assert read_series(path).series.requests == (1.0,) * 299


_NUMBERS = st.one_of(st.integers(-3, 2_000_000), st.floats(), st.text(max_size=5), st.none(), st.booleans())


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    """Something like a file of any of the formats, with values of all kinds."""
    value: Callable[[], object] = lambda: draw(_NUMBERS)  # noqa: E731 - short, and used ten times below
    makers: list[Callable[[], object]] = [
        lambda: {"timestamp": value(), "input_length": value(), "output_length": value()},
        lambda: {"session_id": value(), "delay": value(), "input_length": value(), "output_length": value()},
        lambda: {"chat_id": 1, "timestamp": value(), "input_length": value(), "output_length": value()},
        lambda: {
            "schema": "dynamo.request.trace.v1",
            "event_type": draw(st.sampled_from(["request_end", "tool_end", None])),
            "event_time_unix_ms": value(),
            "request": draw(
                st.one_of(st.none(), st.just({"output_tokens": 1, "request_received_ms": value()}))
            ),
        },
        lambda: {"metadata": {"request_start_ns": value()}, "metrics": {"input_sequence_length": value()}},
        lambda: {"start_times": [value()], "input_lens": [value()], "output_lens": [value()]},
    ]
    if draw(st.booleans()):
        maker = draw(st.sampled_from(makers))
        return "\n".join(json.dumps(maker()) for _ in range(draw(st.integers(1, 6)))).encode()
    header = draw(
        st.sampled_from(
            ["TIMESTAMP,ContextTokens,GeneratedTokens", "Timestamp,Request tokens,Response tokens", "a,b,c"]
        )
    )
    rows = [",".join(str(value()) for _ in range(3)) for _ in range(draw(st.integers(0, 6)))]
    return "\n".join([header, *rows]).encode("utf-8", errors="replace")


@given(_files())
def test_random_files_are_read_or_refused_with_a_reason(data: bytes) -> None:
    try:
        trace = _read(data)
    except TraceError as error:
        assert str(error).startswith("t: found")  # noqa: PT017 - both ends are right
        return
    assert np.isfinite(trace.t_s).all()
    assert (np.diff(trace.t_s) >= 0.0).all()
    assert trace.isl_tokens.min() >= 1
    assert trace.osl_tokens.min() >= 1


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TraceError, match="t: found"):
        _read(data)
