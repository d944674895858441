"""The status that a plan leaves behind."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest

from slaplanner.api.rules import Violation
from slaplanner.api.schema import status_schema
from slaplanner.api.schema_validation import faults, unknown_fields
from slaplanner.api.status import StatusFigures, build_status
from slaplanner.api.status_schema import DECISIONS_KEPT, PLANNER_STATE_BYTES, significant
from slaplanner.core.correction import CorrectionState, Learnt
from slaplanner.core.damping import MAX_REMEMBERED, DampingState, Stamped
from slaplanner.core.decision import RoleDecision
from slaplanner.core.model import Mode, Policy, Role
from slaplanner.core.placement import PlacementWatch
from slaplanner.core.readings import Known, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.rivalry import REVERTS, Rivalry
from slaplanner.core.startup import StartupWatch
from slaplanner.core.state import MeanLengths, PlannerState, RoleMemory, to_document
from tests.status_samples import NOON, OBSERVATION, sample_decision, sample_figures


def _complaints(status: Mapping[str, Any]) -> list[Violation]:
    return [*unknown_fields(status_schema(), status, "status"), *faults(status_schema(), status, "status")]


def test_the_whole_document() -> None:
    status = build_status(sample_figures())

    assert {name: value for name, value in status.items() if name != "conditions"} == {
        "observedGeneration": 3,
        "target": {
            "name": "llama-70b",
            "kind": "DynamoGraphDeployment",
            "apiVersion": "nvidia.com/v1beta1",
            "uid": "7e42126c",
            "model": "llama-3.3-70b",
            "dynamoNamespace": "serving-llama-70b",
        },
        "roles": [
            {
                "name": "prefill",
                "component": "VllmPrefillWorker",
                "gpusPerReplica": 2,
                "current": 3,
                "ready": 2,
                "desired": 4,
                "raw": 3.61,
            },
            {
                "name": "decode",
                "component": "VllmDecodeWorker",
                "gpusPerReplica": 4,
                "current": 8,
                "desired": 6,
                "raw": 4.99,
                "limitedBy": "ScaleDownLimit",
            },
        ],
        "gpus": {"current": 38, "desired": 32, "budget": 64},
        "sizing": "Attainment",
        "startup": {"seconds": 123, "source": "Measured"},
        "observed": {
            "windowSeconds": 180,
            "requestsPerSecond": 12.3,
            "isl": 2990,
            "osl": 151,
            "ttft": 431,
            "itl": 28.1,
        },
        "forecast": {
            "predictor": "Constant",
            "horizonSeconds": 360,
            "requestsPerSecond": 13.3,
            "isl": 3000,
            "osl": 150,
            "tokenRates": [
                {"name": "prefill", "mean": 40000, "upper": 50000},
                {"name": "decode", "mean": 2000, "upper": 2780},
            ],
        },
        "expected": {"ttft": 312, "itl": 27.8, "utilisation": [{"name": "prefill", "value": 0.903}]},
        "correction": [
            {"name": "prefill", "factor": 1.1, "raw": 1.23},
            {"name": "decode", "factor": 1, "ignored": "workers changed"},
        ],
        "attainment": {
            "lastHour": {"ttft": {"lower": 97.1, "upper": 99.6}},
            "lastDay": {"ttft": {"lower": 99.6, "upper": 99.6}, "itl": {"lower": 98, "upper": 99.5}},
            "errorBudget": {"ttft": {"lower": 60, "upper": 60}, "itl": {"lower": -100, "upper": 50}},
        },
        "lastDecision": {
            "id": 17,
            "time": "2027-01-15T08:00:00Z",
            "from": [{"name": "prefill", "replicas": 3}, {"name": "decode", "replicas": 8}],
            "to": [{"name": "prefill", "replicas": 4}, {"name": "decode", "replicas": 6}],
            "reason": "Rebalance",
            "message": "prefill 3 -> 4, decode 8 -> 6: for 13.3 requests/s",
        },
        "decisions": [status["lastDecision"]],
        "summary": {
            "ttft": "431/500",
            "itl": "28.1/50",
            "prefill": "3/4",
            "decode": "8/6",
            "gpus": "32/64",
            "attained": "97.1-99.5/99",
            "why": "Limited: ScaleDownLimit",
        },
        "plannerState": '{"v":1,"n":17,"at":1800000000}',
    }


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param(sample_figures(), id="a-full-one"),
        pytest.param(sample_figures(decision=None), id="without-a-decision"),
        pytest.param(
            sample_figures(
                target=None, fleet=None, startup=None, last_hour=None, last_day=None, planner_state=None
            ),
            id="bare",
        ),
        pytest.param(sample_figures(decision=sample_decision(why="m" * 50_000)), id="a-long-message"),
    ],
)
def test_the_server_s_schema_has_no_complaint(figures: StatusFigures) -> None:
    assert _complaints(build_status(figures)) == []


def test_what_is_unknown_is_left_out_and_never_zero() -> None:
    unknown = Unknown(Reason.PROMETHEUS_UNAVAILABLE, "refused")
    observation = dataclasses.replace(OBSERVATION, requests=unknown, ttft_ms=unknown)

    status = build_status(sample_figures(decision=sample_decision(observation=observation, forecast=None)))

    assert "requestsPerSecond" not in status["observed"]
    assert "ttft" not in status["observed"]
    assert "forecast" not in status
    assert status["summary"]["ttft"] == "-/500"


def test_a_true_zero_is_shown() -> None:
    observation = dataclasses.replace(OBSERVATION, requests=Known(0.0))

    assert (
        build_status(sample_figures(decision=sample_decision(observation=observation)))["observed"][
            "requestsPerSecond"
        ]
        == 0
    )


def test_gpus_that_are_unknown_or_unlimited_show_a_dash() -> None:
    roles = tuple(dataclasses.replace(role, gpus_per_replica=None) for role in sample_decision().roles)

    status = build_status(sample_figures(decision=sample_decision(roles=roles), policy=Policy()))

    assert status["summary"]["gpus"] == "-/-"
    assert "gpus" not in status


def test_agg_is_shown_under_decode() -> None:
    agg = RoleDecision(role=Role.AGG, component="Worker", current=2, desired=5)

    summary = build_status(
        sample_figures(policy=Policy(mode=Mode.AGG), decision=sample_decision(roles=(agg,)))
    )["summary"]

    assert summary["decode"] == "2/5"
    assert "prefill" not in summary


def test_a_plan_that_was_not_made_leaves_the_last_one_s_figures_standing() -> None:
    before = build_status(sample_figures())

    after = build_status(sample_figures(decision=None, generation=4), previous=before)

    assert after["observedGeneration"] == 4
    assert after | {"observedGeneration": 3} == before


def test_decisions_are_kept_newest_first_and_at_most_ten() -> None:
    status: dict[str, Any] = {}
    for number in range(1, 15):
        status = build_status(sample_figures(decision=sample_decision(id=number)), previous=status)

    assert [entry["id"] for entry in status["decisions"]] == list(range(14, 14 - DECISIONS_KEPT, -1))


def test_a_decision_to_stay_is_listed_once() -> None:
    roles = tuple(dataclasses.replace(role, desired=role.current) for role in sample_decision().roles)
    status: dict[str, Any] = {}
    for number in (1, 2, 3):
        decision = sample_decision(id=number, roles=roles, reason=Reason.STEADY)
        status = build_status(sample_figures(decision=decision), previous=status)

    assert [entry["id"] for entry in status["decisions"]] == [1]
    assert status["lastDecision"]["id"] == 3


def test_the_largest_state_of_a_planner_fits() -> None:
    full = tuple(Stamped(NOON + at, 9999 - at) for at in range(MAX_REMEMBERED))
    roles = tuple(
        RoleMemory(
            role=role,
            damping=DampingState(highs=full, lows=full, added=full, removed=full),
            startup=StartupWatch(samples_s=(86_400.0,) * 16, asked_at_s=NOON, asked_for=9999),
            placement=PlacementWatch(pending_since_s=NOON + 0.123456, closed_until_s=NOON + 0.123456),
            replicas=9999,
            desired=9999,
        )
        for role in (Role.PREFILL, Role.DECODE)
    )
    learnt = Learnt(factor=1.2345, at_s=NOON, workers=9999, workers_since_s=NOON)
    state = PlannerState(
        roles=roles,
        decisions=10**7,
        planned_at_s=NOON,
        failures=10**6,
        lengths=MeanLengths(isl_tokens=123_456.7, osl_tokens=123_456.7),
        correction=CorrectionState(stages=dict.fromkeys((Role.PREFILL, Role.DECODE), learnt)),
        target="5f0c0ffe-0000-4000-8000-000000000001",
        rivalry=Rivalry(
            wrote={Role.PREFILL: 9999, Role.DECODE: 9999},
            reverted_at_s=(NOON,) * REVERTS,
            rivals=tuple(f"{number}{'x' * 127}" for number in range(9)),
            roles=(Role.PREFILL, Role.DECODE),
            pause_s=3600.0,
            retry_at_s=NOON,
        ),
    )

    packed = build_status(sample_figures(planner_state=to_document(state)))["plannerState"]

    assert len(packed) < PLANNER_STATE_BYTES - 60, "leave room for what the controller adds"
    assert json.loads(packed) == to_document(state)


def test_a_state_without_room_is_an_error_of_the_planner_s() -> None:
    with pytest.raises(ValueError, match="takes 5010 bytes, the status has room for 4096"):
        build_status(sample_figures(planner_state={"note": "x" * 4999}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, 0), (30.0, 30), (1234.5, 1230), (0.012345, 0.0123), (99.95, 100), (1e-12, 1e-12)],
)
def test_figures_have_three_significant_digits(value: float, shown: float) -> None:
    assert significant(value) == shown
