"""The shapes of a Prometheus answer, and everything that is none."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.prometheus.answers import Sample, Track, read_samples, read_tracks
from slaplanner.core.errors import MetricsError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("result", "samples"),
    [
        pytest.param([], [], id="absent-metric"),
        pytest.param([1700000000.5, "1"], [Sample(labels={}, value=1.0)], id="scalar"),
        pytest.param(
            [{"metric": {"a": "b"}, "value": [1, "2.5"]}], [Sample(labels={"a": "b"}, value=2.5)], id="vector"
        ),
        pytest.param([{"metric": {}, "value": [1, "+Inf"]}], [Sample(labels={}, value=math.inf)], id="inf"),
        pytest.param([{"metric": {}, "value": [1, "1e3"]}], [Sample(labels={}, value=1e3)], id="exponent"),
    ],
)
def test_instant_answers(result: object, samples: list[Sample]) -> None:
    assert read_samples(result) == samples


def test_nan_is_read_as_such() -> None:
    (sample,) = read_samples([{"metric": {}, "value": [1, "NaN"]}])
    assert math.isnan(sample.value)


def test_a_range_is_read_as_points() -> None:
    assert read_tracks([{"metric": {}, "values": [[1, "2"], [3, "4"]]}]) == [
        Track(labels={}, points=((1.0, 2.0), (3.0, 4.0)))
    ]


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(None, id="nothing"),
        pytest.param({}, id="mapping"),
        pytest.param([{}], id="no-labels"),
        pytest.param([{"metric": {}}], id="no-value"),
        pytest.param([{"metric": {"a": 1}, "value": [1, "1"]}], id="number-as-label"),
        pytest.param([{"metric": {}, "value": [1, "one"]}], id="word"),
        pytest.param([{"metric": {}, "value": [1, "1_000"]}], id="pythons-own-number"),
        pytest.param([{"metric": {}, "value": [1, True]}], id="truth"),
        pytest.param([{"metric": {}, "value": [1, None]}], id="null"),
        pytest.param([{"metric": {}, "value": [1]}], id="time-alone"),
        pytest.param([{"metric": {}, "value": "11"}], id="text-of-two"),
        pytest.param([{"metric": {}, "value": [1, "1"]}, 3], id="half-a-vector"),
        pytest.param([1, "1", "1"], id="long-scalar"),
        pytest.param([{"metric": {}, "value": [1, 10**400]}], id="too-large"),
    ],
)
def test_anything_else_is_refused(result: object) -> None:
    with pytest.raises(MetricsError, match="the answer cannot be read: found"):
        read_samples(result)


@given(json_values)
def test_any_json_is_an_answer_or_a_metrics_error(result: object) -> None:
    result = json.loads(json.dumps(result))
    for read in (read_samples, read_tracks):
        try:
            read(result)
        except MetricsError as refused:
            assert len(str(refused)) < 200  # noqa: PT017 - either outcome is fine
