"""Traces: what is read, what is skipped, what is refused."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.traces import gunzip
from slaplanner.adapters.traces import trace as traces
from slaplanner.adapters.traces.amplify import JITTER_S
from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.trace import Trace, parse_trace, per_interval, read_trace


def _line(timestamp: object, isl: object = 10, osl: object = 5, **more: object) -> str:
    return json.dumps({"timestamp": timestamp, "input_length": isl, "output_length": osl, **more})


def _parse(*lines: str) -> Trace:
    return parse_trace(io.BytesIO("\n".join(lines).encode()), name="t.jsonl")


def test_times_are_seconds_and_lengths_are_tokens() -> None:
    trace = _parse(_line(0, 374, 44), _line(4315, 396, 109))
    assert trace.t_s.tolist() == [0.0, 4.315]
    assert trace.isl_tokens.tolist() == [374, 396]
    assert trace.osl_tokens.tolist() == [44, 109]
    assert trace.span_s == 4.315


def test_gzip_is_known_by_its_first_bytes_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(gzip.compress(_line(7).encode()))
    assert len(read_trace(path)) == 1


def test_an_unsorted_trace_is_sorted_and_says_so() -> None:
    trace = _parse(_line(3000, 3), _line(1000, 1), _line(2000, 2))
    assert trace.was_unsorted
    assert trace.isl_tokens.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("not json", id="text"),
        pytest.param("[1, 2, 3]", id="a-list"),
        pytest.param("3", id="a-number"),
        pytest.param('{"timestamp": 1}', id="keys-missing"),
        pytest.param(_line("1"), id="text-for-a-number"),
        pytest.param(_line(True), id="a-boolean"),
        pytest.param(_line(-1), id="before-zero"),
        pytest.param('{"timestamp": NaN, "input_length": 1, "output_length": 1}', id="nan"),
        pytest.param('{"timestamp": 1e999, "input_length": 1, "output_length": 1}', id="infinite"),
        pytest.param(_line(1, isl=0), id="no-input"),
        pytest.param(_line(1, osl=0), id="no-output"),
        pytest.param(_line(1, isl=1.5), id="half-a-token"),
        pytest.param(_line(1, isl=10**400), id="a-number-beyond-doubles"),
        pytest.param("[" * 100_000, id="nested-without-end"),
        pytest.param("\x00\xff", id="binary"),
    ],
)
def test_a_line_that_is_no_request_is_skipped_and_counted(line: str) -> None:
    trace = _parse(_line(1000), line, _line(2000))
    assert (len(trace), trace.skipped_lines) == (2, 1)


def test_further_keys_are_ignored() -> None:
    assert len(_parse(_line(1, hash_ids=[1, 2, 3]))) == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 10**6)),
        min_size=1,
        max_size=50,
    ),
)
def test_the_fast_path_reads_what_the_json_parser_reads(rows: list[tuple[int, int, int]]) -> None:
    plain = [_line(*row) for row in rows]
    fast, slow = _read(plain), _read([*plain[:-1], plain[-1].replace(": ", " : ")])
    assert fast == slow


def _read(lines: list[str]) -> tuple[object, ...]:
    """What a trace is read as, or refused with."""
    try:
        trace = _parse(*lines)
    except TraceError as error:
        return (str(error),)
    return trace.t_s.tolist(), trace.isl_tokens.tolist(), trace.osl_tokens.tolist(), trace.notes


@pytest.mark.parametrize("line", ['{"timestamp": 7, "input_length": 01, "output_length": 1}'])
def test_a_leading_zero_is_no_number_whatever_its_neighbours(line: str) -> None:
    good = [_line(1000 * at) for at in range(200)]
    assert _parse(*good, line).skipped_lines == _parse(*good, line, _line(1, more=1)).skipped_lines == 1


def test_lines_may_cross_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "BLOCK_BYTES", 7)
    assert len(_parse(*[_line(i) for i in range(100)])) == 100


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"gone\.jsonl: found no such file"):
        read_trace(tmp_path / "gone.jsonl")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path)


@pytest.fixture(params=[gzip, gunzip.library], ids=["Python's own", "as installed"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks."""
    monkeypatch.setattr(gunzip, "library", request.param)


PACKED = gzip.compress("\n".join(_line(at * 37, 1 + at % 97) for at in range(1000)).encode())


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PACKED[:-20], id="cut in the text"),
        pytest.param(PACKED[:-3], id="cut in the checksum"),
        pytest.param(PACKED[:5], id="cut in the header"),
        pytest.param(PACKED[:300] + b"\xff" * 300 + PACKED[600:], id="overwritten"),
        pytest.param(PACKED[:-8] + bytes(4) + PACKED[-4:], id="another checksum"),
        pytest.param(PACKED + b"more", id="something behind it"),
    ],
)
def test_a_broken_gzip_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(TraceError, match="broken gzip"):
        read_trace(path)


@pytest.mark.usefixtures("library")
def test_gzip_files_that_follow_each_other_are_one(tmp_path: Path) -> None:
    path = tmp_path / "two.jsonl.gz"
    path.write_bytes(PACKED + gzip.compress(f"\n{_line(40_000)}\n".encode()) + bytes(16))
    assert len(read_trace(path)) == 1001


@pytest.mark.parametrize("text", ["", "\n\n", "nothing\nof this\n"], ids=["empty", "blank", "prose"])
def test_no_valid_line_is_its_own_message(text: str) -> None:
    with pytest.raises(TraceError, match=r"none of them valid, wanted lines like"):
        _parse(text)


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "BLOCK_BYTES", 64)
    monkeypatch.setattr(traces, "MAX_LINE_BYTES", 256)
    with pytest.raises(TraceError, match="a line of more than 256 bytes"):
        _parse("x" * 1000)


def test_a_file_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(traces, "MAX_BYTES", 1 << 20)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"\n" * (4 << 20)))
    with pytest.raises(TraceError, match="MiB of text"):
        read_trace(path)


def test_too_many_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_REQUESTS", 3)
    with pytest.raises(TraceError, match="more than 3 requests"):
        _parse(*[_line(i) for i in range(4)])


def test_a_slice_counts_its_time_from_its_start() -> None:
    trace = _parse(*[_line(1000 * second) for second in range(10)])
    assert trace.between(3, 6).t_s.tolist() == [0, 1, 2]


def test_an_empty_slice_says_what_there_is() -> None:
    with pytest.raises(TraceError, match=r"no request from 100 s to 200 s; the trace runs from 0 s to 1 s"):
        _parse(_line(0), _line(1000)).between(100, 200)


def test_empty_intervals_count_zero_and_have_no_lengths() -> None:
    load = per_interval(_parse(_line(0, 10, 2), _line(1000, 30, 4), _line(25_000, 7, 1)), interval_s=10)
    assert load.requests == (2, 0, 1)
    np.testing.assert_array_equal(load.isl_tokens, [20, np.nan, 7])
    np.testing.assert_array_equal(load.osl_tokens, [3, np.nan, 1])


def test_requests_before_the_start_are_not_counted() -> None:
    load = per_interval(_parse(*[_line(1000 * second) for second in range(40)]), interval_s=10, start_s=5)
    assert load.requests == (10, 10, 10, 5)


def test_one_interval_only_is_its_own_message() -> None:
    with pytest.raises(TraceError, match=r"1 interval of 60 s \(requests over 1 s\), wanted at least two"):
        per_interval(_parse(_line(0), _line(1000)), interval_s=60)


def test_repeating_a_trace_multiplies_its_load_and_nothing_else() -> None:
    trace = _parse(_line(0, 100, 10), _line(70_000, 300, 30))
    once, thrice = per_interval(trace, interval_s=60), per_interval(trace.repeated(3), interval_s=60)
    assert thrice.requests == tuple(3 * count for count in once.requests)
    assert thrice.isl_tokens == once.isl_tokens
    with pytest.raises(ValueError, match="1 or more times, found 0"):
        trace.repeated(0)


@given(
    gaps=st.lists(st.floats(0.0, 30.0), min_size=1, max_size=30),
    copies=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_amplified_requests_are_the_originals_and_copies_within_the_jitter(
    gaps: list[float], copies: int, seed: int
) -> None:
    t_s = np.cumsum(gaps)
    isl = np.arange(1, t_s.size + 1)
    trace = Trace(name="t", t_s=t_s, isl_tokens=isl, osl_tokens=isl)
    more = trace.amplified(copies, seed=seed)
    assert len(more) == copies * len(trace)
    assert (np.diff(more.t_s) >= 0.0).all()
    assert more.t_s[0] >= 0.0
    assert more.t_s[-1] == t_s[-1]
    original_s = t_s[more.isl_tokens - 1]
    inside = (original_s >= JITTER_S) & (original_s <= t_s[-1] - JITTER_S)
    assert (np.abs(more.t_s - original_s)[inside] <= JITTER_S).all()
    assert sorted(more.isl_tokens.tolist()) == sorted(isl.tolist() * copies)
    np.testing.assert_array_equal(more.t_s, trace.amplified(copies, seed=seed).t_s)
