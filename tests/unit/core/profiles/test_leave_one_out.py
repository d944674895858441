"""Monotone predicts left-out measurements better than Cubic, in every quantity."""

from __future__ import annotations

import pytest
from benchmarks.profiles import MEASURED, QUANTITIES, Miss, leave_one_out, mean_errors, measured_profile

from slaplanner.core.model import Interpolation


@pytest.fixture(scope="module")
def misses() -> list[Miss]:
    return [miss for folder in MEASURED for miss in leave_one_out(measured_profile(folder), edges=False)]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_monotone_errs_less_than_cubic_at_interior_points(misses: list[Miss], quantity: str) -> None:
    errors = mean_errors(misses, quantity)
    assert errors[Interpolation.MONOTONE] < errors[Interpolation.CUBIC]


def test_every_profile_has_interior_points(misses: list[Miss]) -> None:
    assert sum(miss.quantity == "TTFT" for miss in misses) == 15 + 7 + 7
    assert sum(miss.quantity == "ITL" and miss.inside for miss in misses) > 50
