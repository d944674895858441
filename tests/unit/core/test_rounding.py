"""One rule for whole replicas: up, but not for float noise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.rounding import whole_replicas

needs = st.floats(0, 1e6)


def test_float_noise_does_not_add_a_replica() -> None:
    assert math.ceil(100 * 1.1 / 10) == 12
    assert whole_replicas(100 * 1.1 / 10) == 11


@given(needs)
def test_replicas_cover_the_need_up_to_noise(need: float) -> None:
    assert whole_replicas(need) * (1 + 1e-9) >= need


@given(needs)
def test_one_replica_less_would_not_cover_it(need: float) -> None:
    assert whole_replicas(need) == 0 or whole_replicas(need) - 1 < need


@given(needs, needs)
def test_a_larger_need_never_takes_fewer(a: float, b: float) -> None:
    less, more = sorted((a, b))
    assert whole_replicas(less) <= whole_replicas(more)


@given(st.integers(0, 10**6))
def test_whole_needs_stay(need: int) -> None:
    assert whole_replicas(float(need)) == need


@pytest.mark.parametrize("need", [5e-324, 1e-12, 0.5])
def test_any_need_takes_a_replica(need: float) -> None:
    assert whole_replicas(need) == 1


@pytest.mark.parametrize("need", [-1.0, math.nan, math.inf])
def test_what_is_no_need_is_refused(need: float) -> None:
    with pytest.raises(ValueError, match="a need is a finite number"):
        whole_replicas(need)
