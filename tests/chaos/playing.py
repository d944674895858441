"""Plays a fault, and checks what must hold whatever happens."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.faults import Fault
from tests.chaos.stage import BUDGET_GPUS, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of a fault."""

    fault: Fault
    recovery_s: float
    versions: int
    """Of the deployment that were checked against the budget."""


def play(stage: Stage, fault: Fault) -> Played:
    """Begin the fault, await what is seen, end it, await recovery.

    Raises:
        AssertionError: an invariant was broken.
        PartFailedError: what is awaited did not come.
    """
    since = stage.control_plane.etcd.revision() + 1
    size = stage.size
    playing = fault.play(stage)
    next(playing)
    next(playing, None)
    recovery_s = stage.plans_again()
    if not fault.edits:
        for one in stage.versions(since=since).seen:
            assert one.asked == size, (
                f"the load stayed the same, and the replicas went from {size} to {one.asked}"
            )
    stage.follows_the_load()
    meanwhile = stage.versions(since=since)
    meanwhile.within(BUDGET_GPUS)
    ids = [int(decision["id"]) for decision in stage.scene.status()["decisions"]]
    assert len(set(ids)) == len(ids), f"a decision's id was used twice: {ids}"
    assert stage.operator.answer("/healthz") == "ok\n", "the operator is not well"
    return Played(fault=fault, recovery_s=recovery_s, versions=len(meanwhile.seen))
