"""Lengths from buckets that say much, little or nothing of their shape."""

from __future__ import annotations

import math

import pytest

from slaplanner.core.readings import Histogram
from slaplanner.core.sizing.lengths import lengths


@pytest.mark.parametrize(
    "histogram",
    [
        pytest.param(None, id="none"),
        pytest.param(Histogram(edges=(math.inf,), counts=(500.0,)), id="no-finite-edge"),
        pytest.param(Histogram(edges=(0.0, math.inf), counts=(0.0, 500.0)), id="no-edge-above-zero"),
        pytest.param(Histogram(edges=(0.0, 100.0, math.inf), counts=(500.0, 0.0, 0.0)), id="all-at-zero"),
        pytest.param(Histogram(edges=(100.0, math.inf), counts=(3.0, 2.0)), id="a-handful"),
    ],
)
def test_where_buckets_show_no_shape_every_request_has_the_mean(histogram: Histogram | None) -> None:
    found = lengths(700.0, histogram)
    assert (found.tokens.tolist(), found.share.tolist()) == ([700.0], [1.0])


def test_the_mean_is_kept_where_they_do() -> None:
    found = lengths(700.0, Histogram(edges=(100.0, 1000.0, math.inf), counts=(50.0, 50.0, 10.0)))
    assert found.mean == pytest.approx(700.0)
    assert len(found.tokens) == 3
