"""The weights of the mixture: who earns them, at which step, and what products have to do with it."""

from __future__ import annotations

import numpy as np
import pytest

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.features import CHANNELS, ISL, PREFILL, REQUESTS
from slaplanner.core.forecast.mixture import Mixture

STEPS = np.array([1.0, 2.0])


def _led(truth: Floats, *members: Floats) -> tuple[Mixture, Floats]:
    """The mixture led along *truth* (points, C) with what each member says (points, C, K)."""
    mixture = Mixture.fresh(len(members), STEPS)
    said = np.full((CHANNELS, len(STEPS)), np.nan)
    with np.errstate(all="ignore"):  # as both doors of forecasting do: members may be silent
        for at, value in enumerate(truth):
            mixture = mixture.learnt(value)
            mixture, said = mixture.mixed(np.stack([member[at] for member in members]))
    return mixture, said


def _says(points: int, near: float, far: float) -> Floats:
    """The same of every channel at every point: *near* one step ahead, *far* two steps ahead."""
    return np.broadcast_to([near, far], (points, CHANNELS, 2)).copy()


def test_whoever_was_right_is_listened_to() -> None:
    truth = np.full((60, CHANNELS), 100.0)
    _, said = _led(truth, _says(60, 100.0, 100.0), _says(60, 150.0, 150.0))
    assert said[REQUESTS] == pytest.approx([100.0, 100.0], abs=1.0)


def test_merit_one_step_ahead_counts_further_ahead_too() -> None:
    """Two steps ahead the two were equally wrong so far; one step ahead one of them was right."""
    rng = np.random.default_rng(0)
    truth = 100.0 + np.repeat(rng.normal(size=(60, 1)), CHANNELS, axis=1)
    good, bad = _says(60, 100.0, 90.0), _says(60, 150.0, 110.0)
    _, said = _led(truth, good, bad)
    assert said[REQUESTS, 1] < 95.0


def test_a_member_without_an_answer_costs_the_others_nothing() -> None:
    truth = np.full((30, CHANNELS), 100.0)
    _, said = _led(truth, _says(30, 100.0, 100.0), _says(30, np.nan, np.nan))
    assert said[:PREFILL] == pytest.approx(np.full((PREFILL, 2), 100.0))


def test_a_token_rate_is_told_by_its_parts_where_they_are_told_better() -> None:
    """Requests and lengths are foreseen; nobody foresees their product."""
    truth = np.full((80, CHANNELS), 10.0)
    truth[:, PREFILL:] = 100.0
    member = _says(80, 10.0, 10.0)
    member[:, PREFILL:] = 300.0
    _, said = _led(truth, member)
    assert said[PREFILL] == pytest.approx([100.0, 100.0], rel=0.02)


def test_without_lengths_there_is_no_product() -> None:
    truth = np.full((20, CHANNELS), 10.0)
    truth[:, ISL] = np.nan
    member = _says(20, 10.0, 10.0)
    member[:, ISL] = np.nan
    _, said = _led(truth, member)
    assert said[PREFILL] == pytest.approx([10.0, 10.0])
    assert np.isnan(said[ISL]).all()
