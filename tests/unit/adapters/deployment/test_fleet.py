"""Serving, present, rolling out, settled, unschedulable: from what the status says, and no more."""

from typing import Any

import pytest

from slaplanner.adapters.deployment.connector import require_gpus
from slaplanner.adapters.deployment.fleet_state import fleet_of
from slaplanner.adapters.deployment.graph import parse_graph
from slaplanner.adapters.deployment.roles import resolve_roles
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Fleet, Mode, Role, RoleState
from slaplanner.core.reasons import Reason
from tests.graphs import BETA, beta_worker, disagg, graph

READY = {"type": "Ready", "status": "True", "reason": "all_resources_are_ready"}


def not_ready(reason: str) -> dict[str, str]:
    return {"type": "Ready", "status": "False", "reason": reason, "message": "why"}


def counts(**numbers: int) -> dict[str, int]:
    return {"replicas": 4, "updatedReplicas": 4, "availableReplicas": 4, **numbers}


def fleet(
    decode: dict[str, int] | None,
    *conditions: dict[str, str],
    asked: dict[Role, int] | None = None,
    adapters: tuple[str, ...] = (),
    **status: Any,
) -> Fleet:
    """A deployment whose decode asks for 4 replicas."""
    components = {} if decode is None else {"decode": decode}
    parsed = parse_graph(
        disagg(
            BETA,
            decode=4,
            adapters=adapters,
            status={"components": components, "conditions": list(conditions), **status},
        )
    )
    return fleet_of(parsed, resolve_roles(parsed, Mode.DISAGG), asked)


def decode(*arguments: Any, **more: Any) -> RoleState:
    return fleet(*arguments, **more).role(Role.DECODE)


def test_roles_stand_in_the_modes_order_with_their_component() -> None:
    assert [(state.role, state.component) for state in fleet(counts(), READY).roles] == [
        (Role.PREFILL, "prefill"),
        (Role.DECODE, "decode"),
    ]


@pytest.mark.parametrize(
    ("reported", "settled"),
    [
        pytest.param(counts(), True, id="all-agree"),
        pytest.param(counts(availableReplicas=3), False, id="one-does-not-serve"),
        pytest.param(counts(updatedReplicas=3), False, id="one-is-old"),
        pytest.param(counts(replicas=5, updatedReplicas=5, availableReplicas=5), False, id="too-many"),
    ],
)
def test_settled_is_when_spec_updated_and_serving_agree(reported: dict[str, int], *, settled: bool) -> None:
    assert decode(reported, READY).settled is settled


def test_one_crash_looping_replica_blocks_nothing_but_settling() -> None:
    state = decode(counts(availableReplicas=3), not_ready("pods_not_ready"))
    assert (state.rollout, state.unschedulable, state.serving, state.present) == (False, False, 3, 4)


class TestCountsThatAreNotReported:
    def test_are_not_zero(self) -> None:
        state = decode(None, READY)
        assert (state.serving, state.present) == (None, None)

    def test_settle_by_the_ready_condition(self) -> None:
        assert decode(None, READY).settled
        assert not decode(None, not_ready("updating")).settled
        assert not decode(None).settled

    def test_serving_alone_may_be_missing(self) -> None:
        reported = {"replicas": 4, "updatedReplicas": 4}
        assert decode(reported, READY).settled
        assert not decode(reported, not_ready("pods_not_ready")).settled


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [((READY,), True), ((not_ready("updating"),), False), ((), False)],
    ids=["ready", "not-ready", "not-said"],
)
def test_ready_is_what_the_condition_says(conditions: tuple[dict[str, str], ...], *, ready: bool) -> None:
    assert fleet(counts(), *conditions).ready is ready


def test_a_status_of_an_older_generation_says_nothing_of_what_is_held() -> None:
    state = decode(counts(), READY, observedGeneration=2)
    assert (state.present, state.settled, state.serving) == (None, False, 4)


class TestAScalingAdapterIsAheadOfTheDeployment:
    def test_it_says_what_is_asked_for(self) -> None:
        state = decode(counts(), READY, asked={Role.DECODE: 7}, adapters=("decode",))
        assert (state.replicas, state.settled, state.present) == (7, False, None)

    def test_until_its_number_was_copied(self) -> None:
        state = decode(counts(), READY, asked={Role.DECODE: 4}, adapters=("decode",))
        assert (state.replicas, state.settled, state.present) == (4, True, 4)


DEFERRED = {"type": "ScalingDeferred", "status": "True", "message": "a coherent rollout is under way"}


class TestWhatTheTargetAcceptsAndDoesNotCarryOutYet:
    def test_deferred_scaling_holds_for_all_roles(self) -> None:
        runs = fleet(counts(), READY, DEFERRED)
        assert [(state.waits_for, state.settled) for state in runs.roles] == [
            (Reason.SCALING_DEFERRED, False),
            (Reason.SCALING_DEFERRED, False),
        ]

    def test_a_condition_that_is_over_does_not(self) -> None:
        state = decode(counts(), READY, DEFERRED | {"status": "False"})
        assert (state.waits_for, state.settled) == (None, True)

    def test_what_an_adapter_has_not_committed_waits_and_its_gpus_are_known(self) -> None:
        parsed = parse_graph(
            disagg(
                BETA, decode=4, adapters=("decode",),
                status={"components": {"decode": counts()}, "conditions": [READY]},
            )
        )  # fmt: skip
        roles = resolve_roles(parsed, Mode.DISAGG)
        state = fleet_of(parsed, roles, {Role.DECODE: 7}, {Role.DECODE: 4}).role(Role.DECODE)
        assert (state.replicas, state.waits_for, state.settled, state.present) == (
            7,
            Reason.NOT_COMMITTED,
            False,
            4,
        )
        granted = fleet_of(parsed, roles, {Role.DECODE: 4}, {Role.DECODE: 4}).role(Role.DECODE)
        assert (granted.waits_for, granted.settled) == (None, True)

    def test_a_status_of_an_older_generation_is_known_as_such(self) -> None:
        assert not fleet(counts(), READY, observedGeneration=2).observed
        assert fleet(counts(), READY, observedGeneration=3).observed
        assert fleet(counts(), READY).observed


def test_other_components_that_do_not_serve_in_full_are_named() -> None:
    frontend = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 0}
    parsed = parse_graph(disagg(BETA, status={"components": {"Frontend": frontend, "decode": counts()}}))
    runs = fleet_of(parsed, resolve_roles(parsed, Mode.DISAGG))
    assert runs.incomplete == ("Frontend (0 of 1 replicas serve)",)
    assert runs.unserved == ("Frontend",)


def test_workers_outside_the_mode_that_are_all_gone_are_named() -> None:
    """A policy for decode alone: requests need prefill workers all the same."""
    dead = {"replicas": 4, "updatedReplicas": 4, "availableReplicas": 0}
    parsed = parse_graph(disagg(BETA, status={"components": {"prefill": dead, "decode": counts()}}))
    assert fleet_of(parsed, resolve_roles(parsed, Mode.DECODE)).unserved == ("prefill",)
    assert fleet_of(parsed, resolve_roles(parsed, Mode.DISAGG)).unserved == ()


@pytest.mark.parametrize("kind", ["planner", "default", "worker"])
def test_a_helper_that_never_serves_is_needed_by_no_request(kind: str) -> None:
    """Else it would keep all roles as they are for ever."""
    broken = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 0}
    shape = disagg(BETA, status={"components": {"helper": broken, "decode": counts()}})
    shape["spec"]["components"].append({"name": "helper", "type": kind, "replicas": 1})
    parsed = parse_graph(shape)
    runs = fleet_of(parsed, resolve_roles(parsed, Mode.DISAGG))
    assert runs.incomplete == ("helper (0 of 1 replicas serve)",)
    assert runs.unserved == ()


def test_a_rollout_is_never_settled() -> None:
    state = decode(counts(), READY, rollingUpdate={"phase": "InProgress"})
    assert (state.rollout, state.settled) == (True, False)


@pytest.mark.parametrize(
    ("reported", "condition", "unschedulable"),
    [
        pytest.param(counts(scheduledReplicas=3), not_ready("insufficient_capacity"), True, id="counted"),
        pytest.param(
            counts(scheduledReplicas=4, availableReplicas=3), not_ready("insufficient_capacity"), False,
            id="counted-and-placed",
        ),
        pytest.param(
            counts(availableReplicas=3), not_ready("insufficient_capacity"), True, id="suspected"
        ),
        pytest.param(counts(), not_ready("insufficient_capacity"), False, id="serves-in-full"),
        pytest.param(
            counts(scheduledReplicas=3), not_ready("mixed_not_ready_reasons"), True, id="mixed-and-counted"
        ),
        pytest.param(
            counts(availableReplicas=3), not_ready("mixed_not_ready_reasons"), False, id="mixed-is-no-proof"
        ),
        pytest.param(counts(availableReplicas=3), not_ready("pods_not_ready"), False, id="crash-looping"),
        pytest.param(counts(scheduledReplicas=3), READY, False, id="ready"),
    ],
)  # fmt: skip
def test_unschedulable_needs_the_deployments_own_word(
    reported: dict[str, int], condition: dict[str, str], *, unschedulable: bool
) -> None:
    assert decode(reported, condition).unschedulable is unschedulable


def test_a_budget_that_cannot_be_counted_is_refused() -> None:
    parsed = parse_graph(graph(BETA, {"worker": beta_worker(gpu=None)}))
    unknown = fleet_of(parsed, resolve_roles(parsed, Mode.AGG))
    with pytest.raises(TargetError, match=r"agg \(worker\)") as caught:
        require_gpus(unknown)
    assert caught.value.reason is Reason.GPUS_UNKNOWN
    require_gpus(fleet(counts(), READY))
