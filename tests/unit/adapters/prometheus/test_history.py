"""History on the planning grid: gaps stay gaps, zeros stay zeros, and the points never move."""

import math

import pytest

from slaplanner.adapters.prometheus import Deadline, MetricsSource, Scope, read_history
from slaplanner.core.errors import MetricsError
from slaplanner.core.readings import Series
from tests.fakes import FakePrometheus, Points

SCOPE = Scope(model="llama", dynamo_namespace="serving-llama")
STEP_S = 60
END_S = 1_700_000_040


def grid(*values: float | None) -> Points:
    """Values at the last points of the grid, the last one at its end; None: no point."""
    first = END_S - (len(values) - 1) * STEP_S
    return {first + index * STEP_S: value for index, value in enumerate(values) if value is not None}


def sampled(tracks: dict[str, list[Points]]) -> FakePrometheus:
    """All of the history was scraped four times per interval, unless *tracks* say otherwise."""
    through = dict.fromkeys(range(END_S - 40 * STEP_S, END_S + 1, STEP_S), 4.0)
    return FakePrometheus(tracks={"samples": [through], **tracks})


def read(prometheus: FakePrometheus, *, points: int, scope: Scope = SCOPE) -> Series:
    return read_history(
        prometheus, scope, end_s=END_S, interval_s=STEP_S, points=points, deadline=Deadline.after(60)
    )


def same(found: tuple[float, ...], *wanted: float) -> bool:
    return found == pytest.approx(wanted, nan_ok=True)


def test_requests_and_mean_lengths_come_per_interval() -> None:
    tracks = {
        "requests": [grid(10, 20, 30)],
        "isl_sum": [grid(30_000, 50_000, 90_000)],
        "isl_count": [grid(10, 20, 30)],
        "osl_sum": [grid(1000, 2000, 6000)],
        "osl_count": [grid(10, 20, 30)],
    }
    series = read(sampled(tracks), points=3)
    assert (series.end_s, series.step_s) == (END_S, STEP_S)
    assert series.requests == (10, 20, 30)
    assert series.isl_tokens == (3000, 2500, 3000)
    assert series.osl_tokens == (100, 100, 200)


@pytest.mark.parametrize(
    ("tracks", "requests"),
    [
        pytest.param({"requests": [grid(5, 0, 7)]}, (5, 0, 7), id="a-true-zero-stays-zero"),
        pytest.param({"requests": [grid(5, None, 7)]}, (5, math.nan, 7), id="a-gap-stays-a-gap"),
        pytest.param(
            {"requests": [grid(5, None, 7)], "registered": [grid(1, 1, 1)]},
            (5, 0, 7),
            id="registered-without-series-is-zero",
        ),
        pytest.param(
            {"requests": [grid(5, None, 7)], "registered": [grid(1, 1, 1)], "counters": [grid(1, 1, 1)]},
            (5, math.nan, 7),
            id="a-counter-without-growth-is-no-zero",
        ),
        pytest.param(
            {"requests": [grid(5, 2, 7)], "samples": [grid(4, 2, 4)]},
            (5, math.nan, 7),
            id="half-covered-is-a-gap",
        ),
        pytest.param(
            {"requests": [grid(5, 4, 7)], "samples": [grid(4, 3, 4)]},
            (5, 4, 7),
            id="one-sample-less-is-chance",
        ),
        pytest.param(
            {"requests": [grid(5, 4, 7)], "samples": [grid(4, None, 4)]},
            (5, math.nan, 7),
            id="never-sampled-is-a-gap",
        ),
        pytest.param(
            {"requests": [grid(5, 4, 7)], "unscraped": [grid(None, 1, None)]},
            (5, math.nan, 7),
            id="a-frontend-that-was-down-is-a-gap",
        ),
        pytest.param({"requests": [grid(5, 1e300, 7)]}, (5, math.nan, 7), id="more-than-any-is-a-gap"),
        pytest.param({"requests": [grid(5, math.nan, 7)]}, (5, math.nan, 7), id="nan-is-a-gap"),
        pytest.param({"requests": [grid(5, math.inf, 7)]}, (5, math.nan, 7), id="infinity-is-a-gap"),
        pytest.param({"requests": [grid(5, -3, 7)]}, (5, math.nan, 7), id="less-than-none-is-a-gap"),
        pytest.param({"requests": [grid(None, 6, 7)]}, (6, 7), id="what-was-before-the-first-is-left-out"),
        pytest.param({}, (), id="nothing-is-known"),
    ],
)
def test_points(tracks: dict[str, list[Points]], requests: tuple[float, ...]) -> None:
    assert same(read(sampled(tracks), points=3).requests, *requests)


def test_an_interval_without_requests_has_no_lengths() -> None:
    tracks = {"requests": [grid(5, 0)], "isl_sum": [grid(500, 0)], "isl_count": [grid(5, 0)]}
    series = read(sampled(tracks), points=2)
    assert same(series.isl_tokens, 100, math.nan)
    assert same(series.osl_tokens, math.nan, math.nan)


def test_an_operator_that_looks_later_sees_the_same_points() -> None:
    """The grid is the policy's, so a later read differs by what is new only."""
    tracks = {"requests": [grid(*range(1, 31))]}
    earlier = read_history(
        sampled(tracks),
        SCOPE,
        end_s=END_S - 5 * STEP_S,
        interval_s=STEP_S,
        points=25,
        deadline=Deadline.after(60),
    )
    assert read(sampled(tracks), points=30).requests[:25] == earlier.requests


def test_long_history_is_read_in_chunks_that_prometheus_allows() -> None:
    points = 25_000
    tracks = {"requests": [grid(*range(points))], "samples": [grid(*[4.0] * points)]}
    prometheus = FakePrometheus(tracks=tracks)
    assert read(prometheus, points=points).requests == tuple(range(points))
    assert len(prometheus.queries) == 3


def test_the_router_has_no_registration_to_tell_a_gap_from_a_zero() -> None:
    scope = Scope(source=MetricsSource.ROUTER, dynamo_namespace="serving-llama")
    prometheus = sampled({"requests": [grid(5, None, 7)]})
    assert same(read(prometheus, points=3, scope=scope).requests, 5, math.nan, 7)
    (registered,) = [part for part in prometheus.queries[0].split("label_replace(") if '"registered"' in part]
    assert "model_context_length" not in registered


def test_a_failed_query_is_an_error_and_not_an_empty_history() -> None:
    with pytest.raises(MetricsError, match="away"):
        read(FakePrometheus(errors={"requests": MetricsError("away")}), points=3)
