"""What is learnt by looking: how long replicas take to start, and when there is no room for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slaplanner.core.model import Role, RoleState
from slaplanner.core.placement import PlacementWatch, ceiling, watch_placement
from slaplanner.core.reasons import Reason
from slaplanner.core.startup import StartupWatch, watch_startup

ROLE = RoleState(role=Role.DECODE, replicas=2, serving=2)


def watched(*looks: tuple[float, RoleState]) -> StartupWatch:
    watch = StartupWatch()
    for now_s, role in looks:
        watch = watch_startup(watch, role, now_s=now_s)
    return watch


def test_a_scale_up_is_timed_from_the_wish_to_the_service():
    grown = replace(ROLE, replicas=4)
    watch = watched((0, ROLE), (10, grown), (60, replace(grown, serving=3)), (95, replace(grown, serving=4)))
    assert watch.seconds == 85


def test_before_the_first_scale_up_nothing_is_known():
    assert watched((0, ROLE), (10, ROLE)).seconds is None


def test_the_median_of_the_last_five_counts():
    looks: list[tuple[float, RoleState]] = [(0, ROLE)]
    for index, took in enumerate([500, 60, 60, 70, 60, 3000]):
        at = 10_000.0 * (index + 1)
        size = ROLE.replicas + index
        looks += [
            (at, replace(ROLE, replicas=size + 1, serving=size)),
            (at + took, replace(ROLE, replicas=size + 1, serving=size + 1)),
        ]
    assert watched(*looks).seconds == 60


def test_a_cancelled_scale_up_is_no_sample():
    grown = replace(ROLE, replicas=4)
    assert watched((0, ROLE), (10, grown), (20, ROLE), (90, ROLE)).seconds is None


def test_a_rollout_or_a_full_cluster_is_no_start_up():
    grown = replace(ROLE, replicas=4)
    served = replace(grown, serving=4)
    assert watched((0, ROLE), (10, grown), (20, replace(grown, rollout=True)), (90, served)).seconds is None
    assert (
        watched((0, ROLE), (10, grown), (20, replace(grown, unschedulable=True)), (90, served)).seconds
        is None
    )


@pytest.mark.parametrize("reason", [Reason.SCALING_DEFERRED, Reason.NOT_COMMITTED])
def test_waiting_for_the_targets_leave_is_no_part_of_a_start_up(reason: Reason):
    grown = replace(ROLE, replicas=4)
    waiting = replace(grown, waits_for=reason)
    served = replace(grown, serving=4)
    watch = watched((0, ROLE), (10, waiting), (3000, waiting), (3010, grown), (3080, served))
    assert watch.seconds == 70
    assert watched((0, ROLE), (10, grown), (20, waiting), (900, served)).seconds is None


def test_a_clock_set_back_gives_no_negative_sample():
    grown = replace(ROLE, replicas=4)
    assert watched((1000, ROLE), (1010, grown), (20, replace(grown, serving=4))).seconds is None


PENDING = RoleState(role=Role.DECODE, replicas=6, serving=4, unschedulable=True)


def test_pending_replicas_are_given_time_for_a_node_to_come():
    watch = watch_placement(PlacementWatch(), PENDING, patience_s=240, now_s=0)
    watch = watch_placement(watch, PENDING, patience_s=240, now_s=239)
    assert ceiling(watch, PENDING) is None


def test_after_that_no_more_is_asked_for_than_serves():
    watch = watch_placement(PlacementWatch(), PENDING, patience_s=240, now_s=0)
    watch = watch_placement(watch, PENDING, patience_s=240, now_s=240)
    assert ceiling(watch, PENDING) == 4


def test_growth_is_tried_again_later():
    placed = replace(PENDING, replicas=4, unschedulable=False)
    watch = watch_placement(PlacementWatch(pending_since_s=0), PENDING, patience_s=240, now_s=240)
    assert ceiling(watch_placement(watch, placed, patience_s=240, now_s=479), placed) == 4
    assert ceiling(watch_placement(watch, placed, patience_s=240, now_s=480), placed) is None


def test_room_that_was_found_in_time_closes_nothing():
    watch = watch_placement(PlacementWatch(), PENDING, patience_s=240, now_s=0)
    watch = watch_placement(watch, replace(PENDING, unschedulable=False), patience_s=240, now_s=100)
    assert watch == PlacementWatch()
