"""When a plan is due."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from slaplanner.controller.schedule import Due, Fingerprint, Trigger, due, last_slot_s

UID = "0a4f6a55-8b1c-4d8e-9a60-3c2d5f0e7b11"
SAME = Fingerprint(generation=1, annotations=(None, None), target="t", profile="p")


def ask(
    now_s: float, *, planned_at_s: float | None, before: Fingerprint | None = SAME, after: Fingerprint = SAME
):
    return due(now_s=now_s, uid=UID, interval_s=60, planned_at_s=planned_at_s, before=before, after=after)


SLOT = last_slot_s(now_s=1_000_000, uid=UID, interval_s=60)


def test_a_new_policy_is_planned_at_once():
    assert ask(1_000_000.7, planned_at_s=None) == Due(trigger=Trigger.FIRST, at_s=1_000_000)


def test_nothing_is_due_between_two_slots():
    assert ask(SLOT + 59.9, planned_at_s=SLOT) is None


def test_the_next_slot_is_planned_for_its_own_time_however_late_the_heartbeat_comes():
    assert ask(SLOT + 63.2, planned_at_s=SLOT) == Due(trigger=Trigger.GRID, at_s=SLOT + 60)


def test_slots_that_an_overrun_missed_are_skipped():
    assert ask(SLOT + 200, planned_at_s=SLOT) == Due(trigger=Trigger.GRID, at_s=SLOT + 180)


def test_a_changed_spec_or_annotation_is_planned_at_once():
    for changed in (replace(SAME, generation=2), replace(SAME, annotations=("true", None))):
        assert ask(SLOT + 5, planned_at_s=SLOT, after=changed) == Due(
            trigger=Trigger.SPEC, at_s=SLOT + 5 // 1
        )


def test_a_changed_target_or_profile_is_planned_at_once():
    assert ask(SLOT + 5, planned_at_s=SLOT, after=replace(SAME, target="u")).trigger is Trigger.TARGET
    assert ask(SLOT + 5, planned_at_s=SLOT, after=replace(SAME, profile="q")).trigger is Trigger.PROFILE


def test_a_restart_alone_asks_for_nothing():
    assert ask(SLOT + 5, planned_at_s=SLOT, before=None) is None


def test_a_clock_set_back_does_not_stop_planning():
    assert ask(SLOT, planned_at_s=SLOT + 10_000) == Due(trigger=Trigger.GRID, at_s=SLOT)


@given(now_s=st.floats(0, 4e9), interval_s=st.integers(5, 86400), uid=st.uuids().map(str))
def test_the_slot_lies_at_most_one_interval_back(now_s: float, interval_s: int, uid: str):
    slot = last_slot_s(now_s=now_s, uid=uid, interval_s=interval_s)
    assert slot <= now_s < slot + interval_s
    assert last_slot_s(now_s=slot, uid=uid, interval_s=interval_s) == slot
