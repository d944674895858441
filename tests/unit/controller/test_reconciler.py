"""What a heartbeat does: nothing, look, finish a move, own replicas, or plan, and with which policy."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from slaplanner.adapters.deployment import Rival, Rivals, ScalingOutcome, TargetState
from slaplanner.core.errors import ActuationError, TargetError
from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason
from slaplanner.core.rebalance import ReplicaWrite
from tests.planning import fleet
from tests.reconciling import FakeWorld, OnePolicy, document, one_policy, target

P, D = Role.PREFILL, Role.DECODE
BY_OTHERS = {P: ("argocd-controller",), D: ("argocd-controller",)}
CONFLICT = ScalingOutcome(error=ActuationError("somebody else wrote it", reason=Reason.CONFLICT))


def ticks(one: OnePolicy, count: int = 1) -> None:
    async def run() -> None:
        for _ in range(count):
            await one.tick()

    asyncio.run(run())


def test_the_first_heartbeat_plans_and_the_next_ones_rest():
    one = one_policy()
    ticks(one, 4)
    assert len(one.world.orders) == 1
    assert one.record.memory.decision is not None
    assert one.record.memory.decision.id == 1


def test_an_operator_that_has_not_settled_plans_nothing():
    one = one_policy(settle_s=3600.0)
    ticks(one, 2)
    assert (one.world.looks, one.world.orders, one.world.statuses) == (0, [], [])


def test_an_operator_that_ends_writes_nothing():
    one = one_policy()
    one.reconciler.stopping = True
    ticks(one)
    assert (one.world.orders, one.world.statuses) == ([], [])


class TestAPolicyThatChangesMeanwhile:
    def test_a_plan_for_the_old_spec_leaves_no_trace_and_is_made_anew_at_once(self):
        one = one_policy()
        changed = document(generation=2, roles=[{"name": "prefill", "maxReplicas": 2}])

        def change() -> None:
            one.shows(changed)
            one.world.during_plan = lambda: None

        one.world.during_plan = change
        ticks(one)
        assert (one.world.orders, one.world.statuses, one.record.memory.decision) == ([], [], None)
        ticks(one)
        assert [order[P] for order in one.world.orders] == [2]

    def test_one_that_was_paused_meanwhile_writes_nothing(self):
        one = one_policy()
        one.world.during_plan = lambda: one.shows(document(annotations={"slaplanner.io/paused": "true"}))
        ticks(one, 2)
        assert one.world.orders == []
        assert one.record.memory.decision is not None
        assert not one.record.memory.decision.changes

    def test_one_that_was_deleted_meanwhile_writes_nothing(self):
        one = one_policy()
        gone = document()
        gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
        one.world.during_plan = lambda: one.shows(gone)
        ticks(one)
        assert (one.world.orders, one.world.statuses) == ([], [])

    def test_the_rest_of_a_move_is_not_finished_for_another_spec(self):
        waiting = (ReplicaWrite(role=D, before=1, replicas=3),)
        world = FakeWorld(target(), outcomes=[ScalingOutcome(waiting=waiting, waiting_for=Reason.GPU_BUDGET)])
        one = one_policy(world)
        ticks(one)
        # A watch that starts anew tells nothing for a moment, so no plan is due.
        world.versions["profile"] = None
        one.shows(document(generation=2))
        ticks(one, 3)
        assert len(world.orders) == 1


class TestAMoveThatWaits:
    def test_it_goes_on_with_every_heartbeat_until_all_is_written(self):
        waiting = ScalingOutcome(
            waiting=(ReplicaWrite(role=D, before=1, replicas=3),), waiting_for=Reason.GPU_BUDGET
        )
        world = FakeWorld(target(), outcomes=[waiting, waiting])
        one = one_policy(world)
        ticks(one, 5)
        assert len(world.orders) == 3
        assert world.orders[0] == world.orders[1] == world.orders[2]

    def test_a_conflict_is_tried_again_although_the_target_moved(self):
        world = FakeWorld(target(), outcomes=[CONFLICT])
        one = one_policy(world)
        ticks(one)
        world.moved()
        ticks(one, 3)
        assert len(world.orders) == 2

    def test_a_refusal_is_told_once(self):
        world = FakeWorld(target(), outcomes=[CONFLICT] * 4)
        one = one_policy(world)
        ticks(one, 5)
        assert [event.reason for event in one.events].count("Conflict") == 2  # policy and deployment

    def test_a_refused_permission_waits_for_the_next_plan(self):
        denied = ScalingOutcome(error=ActuationError("missing permission", reason=Reason.FORBIDDEN))
        world = FakeWorld(target(), outcomes=[denied])
        ticks(one_policy(world), 5)
        assert len(world.orders) == 1


class TestReplicasThatOthersOwn:
    def test_they_become_ours_between_plans(self):
        one = one_policy()
        ticks(one, 2)
        one.world.moved(replica_managers=BY_OTHERS)
        ticks(one)
        assert one.world.orders[1:] == [{}]

    @pytest.mark.parametrize(
        "world",
        [
            pytest.param(
                FakeWorld(
                    target(), rival=Rivals(found=(Rival(reason=Reason.OTHER_AUTOSCALER, name="HPA 'x'"),))
                ),
                id="contested",
            )
        ],
    )
    def test_they_stay_theirs_while_somebody_else_scales(self, world: FakeWorld):
        one = one_policy(world)
        ticks(one, 2)
        world.moved(replica_managers=BY_OTHERS)
        ticks(one, 2)
        assert world.orders == []

    def test_they_stay_theirs_under_observe(self):
        one = one_policy(shown=document(actuation="Observe"))
        ticks(one, 2)
        one.world.moved(replica_managers=BY_OTHERS)
        ticks(one, 2)
        assert one.world.orders == []


def test_whoever_waited_for_an_older_policy_plans_as_soon_as_it_goes():
    one = one_policy()
    older = document()
    older["metadata"] |= {"name": "older", "uid": "0", "creationTimestamp": "2025-01-01T00:00:00Z"}
    one.reconciler.records.seen(older)
    ticks(one, 3)
    assert one.record.memory.contested
    assert one.world.orders == []
    one.reconciler.records.gone("0")
    ticks(one, 2)
    assert len(one.world.orders) == 1


class TestATargetThatIsAbsent:
    def test_it_is_looked_for_with_every_heartbeat(self):
        world = FakeWorld(TargetError("no such deployment", reason=Reason.TARGET_NOT_FOUND))
        one = one_policy(world)
        ticks(one, 3)
        assert world.orders == []
        world.target = target()
        ticks(one, 2)
        assert len(world.orders) == 1

    def test_one_that_is_recreated_starts_afresh(self):
        one = one_policy()
        ticks(one, 2)
        state = one.record.memory.state
        assert state is not None
        before = one.world.target
        assert not isinstance(before, Exception)
        one.world.target = TargetError("gone", reason=Reason.TARGET_NOT_FOUND)
        one.world.versions["target"] = ""
        ticks(one, 2)
        one.world.target = target()
        one.world.moved(identity=before.identity.__class__(namespace="serving", name="llama", uid="target-2"))
        ticks(one, 2)
        assert one.record.memory.state is not None
        assert one.record.memory.state.target == "target-2"
        assert len(one.world.orders) == 2


def test_a_policy_that_cannot_be_read_says_so_once_and_is_not_waited_for():
    one = one_policy()
    ticks(one)
    one.shows(document(generation=2, mode="sideways"))
    written = len(one.world.statuses)
    ticks(one, 3)
    (told,) = one.world.statuses[written:]
    resolved = next(entry for entry in told["conditions"] if entry["type"] == "TargetResolved")
    assert (resolved["status"], resolved["reason"]) == ("False", "InvalidSpec")
    assert "spec.mode" in resolved["message"]
    one.reconciler.liveness.clock = lambda: 1e9
    assert one.reconciler.liveness.overdue() == []


def test_only_what_some_policy_names_is_watched_on():
    one = one_policy(
        shown=document(planning={"predictor": {"warmupTrace": {"configMapRef": {"name": "monday"}}}})
    )
    watches = one.watches
    uid = one.record.uid
    ticks(one)
    assert watches.kept[uid] == {"target", "profile", "warm-up"}
    one.shows(document(generation=2))
    ticks(one)
    assert watches.kept[uid] == {"target", "profile"}
    one.reconciler.gone(uid)
    assert watches.kept[uid] == set()


class TestFirstPlans:
    def test_those_of_many_policies_take_turns(self):
        """A restart asks nobody for all policies in one instant, and waiting is no reason to be killed."""
        count = 40
        one = one_policy()
        shown = [document() for _ in range(count)]
        for number, other in enumerate(shown):
            other["metadata"] |= {"name": f"llama-{number}", "uid": f"uid-{number}"}
            other["spec"]["targetRef"] = {"name": f"llama-{number}"}
        records = [one.reconciler.records.seen(other) for other in shown]

        async def everybody_ticks() -> int:
            for record in records:
                await one.reconciler.tick(record)
            return sum(record.memory.decision is not None for record in records)

        planned = []
        while not planned or planned[-1] < count:
            planned.append(asyncio.run(everybody_ticks()))
            one.world.time_s += 1.0
        assert planned[0] <= 5
        assert all(later - earlier <= 5 for earlier, later in pairwise(planned))
        assert len(planned) <= 60

    def test_one_that_waits_for_its_turn_counts_as_tried(self):
        one = one_policy()
        one.reconciler.turns.free_at_s = one.world.time_s + 1000.0
        one.reconciler.liveness.clock = lambda: one.world.time_s
        for _ in range(100):
            ticks(one)
            one.world.time_s += 5.0
            assert one.reconciler.liveness.overdue() == []
        assert one.world.orders == []


def calls_of_a_tick(others: int) -> int:
    """Calls of Python functions in one heartbeat of a policy that has nothing to do, beside *others*."""
    one = one_policy()
    for number in range(others):
        other = document()
        other["metadata"] |= {"name": f"other-{number}", "uid": f"uid-{number}"}
        other["spec"]["targetRef"] = {"name": f"other-{number}"}
        one.records.seen(other)
    ticks(one, 3)
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    coroutine = one.tick()
    sys.setprofile(count)
    try:
        with contextlib.suppress(StopIteration):
            coroutine.send(None)
    finally:
        sys.setprofile(None)
    return calls


def test_a_heartbeat_costs_the_same_however_many_policies_there_are():
    assert calls_of_a_tick(others=300) == calls_of_a_tick(others=3)


class TestATargetThatItsWatchKnows:
    """A plan does not read a deployment again that has not changed since it was read."""

    @staticmethod
    def one(**fields: object) -> OnePolicy:
        at_rest = target(**fields)  # type: ignore[arg-type]
        world = FakeWorld(replace(at_rest, identity=replace(at_rest.identity, resource_version="1")))
        one = one_policy(world)
        world.outcomes = [ScalingOutcome()] * 9
        ticks(one)
        assert one.world.looks == 1
        return one

    @staticmethod
    def plan_again(one: OnePolicy, *, after_s: float = 100.0) -> int:
        """How often the next plan reads the target."""
        before = one.world.looks
        one.world.time_s += after_s
        one.record.memory = replace(one.record.memory, attempted_at_s=one.world.time_s - 7200.0)
        decisions = one.record.memory.decision.id if one.record.memory.decision else 0
        ticks(one)
        assert one.record.memory.decision is not None
        assert one.record.memory.decision.id == decisions + 1
        return one.world.looks - before

    def test_is_not_read(self):
        assert self.plan_again(self.one()) == 0

    def test_is_read_when_it_changed(self):
        one = self.one()
        one.world.versions["target"] = "2"
        assert self.plan_again(one) >= 1

    @pytest.mark.parametrize("version", [None, ""])
    def test_is_read_while_the_watch_does_not_know(self, version: str | None):
        one = self.one()
        one.world.versions["target"] = version
        assert self.plan_again(one) >= 1

    def test_is_read_after_a_while_anyhow_because_a_watch_may_be_dead(self):
        assert self.plan_again(self.one(), after_s=241.0) == 1

    def test_is_read_after_our_own_write_though_its_watch_is_late(self):
        one = self.one()
        assert isinstance(one.world.target, TargetState)
        one.world.outcomes = []
        self.plan_again(one)
        assert one.world.orders[-1][P] == 4
        one.world.target = replace(
            one.world.target,
            fleet=fleet(one.world.orders[-1][P], one.world.orders[-1][D]),
            replica_writers={P: ("kubectl",)},
        )
        assert self.plan_again(one) == 1
        assert one.record.memory.state is not None
        assert one.record.memory.state.rivalry.reverted_at_s == ()

    def test_is_read_for_a_policy_that_changed(self):
        one = self.one()
        one.shows(document(generation=2))
        assert self.plan_again(one) == 1

    def test_is_read_where_a_scaling_adapter_keeps_its_replicas(self):
        assert self.plan_again(self.one(adapters={P: "llama-prefill"})) == 1
