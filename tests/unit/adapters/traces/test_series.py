"""Series from CSVs and traces: what is read, what is a gap, what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from slaplanner.adapters.traces.series import SeriesError, read_series

EXAMPLES = Path(__file__).parents[4] / "examples"


def _csv(folder: Path, *rows: str, header: str = "minute,request_count,avg_isl,avg_osl") -> Path:
    path = folder / "load.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_counts_and_lengths_are_read_as_they_are(tmp_path: Path) -> None:
    loaded = read_series(_csv(tmp_path, "0,60,100,10", "1,90,200,20", "2,30,300,30"))
    assert loaded.series.step_s == 60.0
    assert loaded.series.requests == (60.0, 90.0, 30.0)
    assert loaded.series.isl_tokens == (100.0, 200.0, 300.0)
    assert loaded.series.osl_tokens == (10.0, 20.0, 30.0)


def test_rates_become_counts_per_interval(tmp_path: Path) -> None:
    path = _csv(tmp_path, "0,2.0", "600,3.0", "1200,4.0", header="t_s,req_per_s")
    loaded = read_series(path)
    assert loaded.series.requests == (1200.0, 1800.0, 2400.0)
    assert not loaded.has_lengths
    assert any("token rates are request counts" in note for note in loaded.notes)


def test_rows_without_requests_are_gaps_unless_they_are_said_to_be_idle(tmp_path: Path) -> None:
    path = _csv(tmp_path, "0,60,100,10", "1,0,nan,nan", "2,30,300,30")
    assert math.isnan(read_series(path).series.requests[1])
    assert read_series(path, zeros_are_idle=True).series.requests[1] == 0.0


def test_a_missing_row_is_a_gap(tmp_path: Path) -> None:
    series = read_series(_csv(tmp_path, "0,60,100,10", "1,60,100,10", "3,30,300,30")).series
    assert len(series) == 4
    assert math.isnan(series.requests[2])


def test_coarser_intervals_sum_counts_and_weigh_lengths(tmp_path: Path) -> None:
    rows = [f"{minute},{count},{isl},10" for minute, (count, isl) in enumerate([(10, 100), (30, 200)] * 3)]
    series = read_series(_csv(tmp_path, *rows), interval_s=120).series
    assert series.requests == (40.0, 40.0, 40.0)
    assert series.isl_tokens == (175.0, 175.0, 175.0)


def test_a_gap_makes_its_whole_coarser_interval_a_gap(tmp_path: Path) -> None:
    rows = [f"{minute},{0 if minute == 3 else 10},100,10" for minute in range(6)]
    requests = read_series(_csv(tmp_path, *rows), interval_s=120).series.requests
    assert math.isnan(requests[1])
    assert (requests[0], requests[2]) == (20.0, 20.0)


def test_a_trace_is_summed_up_without_its_last_interval(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    lines = [{"timestamp": 10_000 * at, "input_length": 100, "output_length": 10} for at in range(31)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    loaded = read_series(path, interval_s=60)
    assert loaded.series.requests == (6.0,) * 5
    assert any("last interval is left out" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("name", "points", "gaps"),
    [
        pytest.param("series/deepseek_r1_1min.csv", 1440, 0, id="deepseek_r1"),
        pytest.param("series/m_mid_10min.csv", 2016, 84, id="m_mid"),
    ],
)
def test_the_example_series_are_read(name: str, points: int, gaps: int) -> None:
    requests = read_series(EXAMPLES / name).series.requests
    assert len(requests) == points
    assert sum(math.isnan(value) for value in requests) == gaps


@pytest.mark.parametrize(
    ("rows", "header", "interval_s", "message"),
    [
        pytest.param(["0,1"], "time,load", None, "found columns time, load", id="unknown-columns"),
        pytest.param([], "", None, "found columns none", id="empty-file"),
        pytest.param(["0,1", "1,2"], "minute,request_count", None, "found 2 rows", id="too-few-rows"),
        pytest.param(
            ["0,1", "1,x", "2,3"], "minute,request_count", None, "line 3: found 'x'", id="not-a-number"
        ),
        pytest.param(["0,1", "1,-2", "2,3"], "minute,request_count", None, "found '-2'", id="negative"),
        pytest.param(["0,1", "1,inf", "2,3"], "minute,request_count", None, "found 'inf'", id="infinite"),
        pytest.param(["0,1", "0,2", "1,3"], "minute,request_count", None, "two rows at 0 s", id="twice"),
        pytest.param(["0,1", "60,2", "130,3"], "t_s,request_count", None, "off a grid", id="uneven"),
        pytest.param([",1", "1,2", "2,3"], "minute,request_count", None, "row without minute", id="no-time"),
        pytest.param(
            ["0,1", "1,2", "1e9,3"], "minute,request_count", None, "wanted at most", id="a-span-too-long"
        ),
        pytest.param(["0,1", "1,2", "2,3"], "minute,request_count", 90.0, "a multiple", id="not-a-multiple"),
        pytest.param(
            ["0,1", "1,2", "2,3"], "minute,request_count", 30.0, "a multiple", id="finer-than-the-data"
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_was_wanted(
    tmp_path: Path, rows: list[str], header: str, interval_s: float | None, message: str
) -> None:
    with pytest.raises(SeriesError, match=message):
        read_series(_csv(tmp_path, *rows, header=header), interval_s=interval_s)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match=r"gone\.csv: found no such file"):
        read_series(tmp_path / "gone.csv")
