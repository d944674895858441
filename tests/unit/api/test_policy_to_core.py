"""From the object as written to the planner's words: every default resolved, once."""

from typing import Any

import pytest

from slaplanner.api.policy import SLAPolicy
from slaplanner.core.errors import PolicyError
from slaplanner.core.model import (
    Actuation,
    Behavior,
    Fallback,
    FallbackMode,
    Interpolation,
    KalmanTuning,
    Mode,
    Pause,
    Policy,
    PredictorPolicy,
    PredictorType,
    RateLimit,
    RateUnit,
    Role,
    RolePolicy,
    ScalingRules,
    SelectPolicy,
    Sizing,
    Sla,
)
from slaplanner.core.reasons import Reason
from tests.policy_corpus import policy


def _core(**spec: Any) -> Policy:
    return SLAPolicy.parse(policy(**spec)).to_core()


def test_what_is_not_said_means_what_the_planner_assumes_by_itself() -> None:
    assert _core() == Policy(roles=(RolePolicy(role=Role.PREFILL), RolePolicy(role=Role.DECODE)))


def test_everything_that_can_be_said_arrives() -> None:
    resolved = _core(
        mode="decode",
        actuation="Observe",
        sla={"ttft": 200, "itl": 20.5, "isl": 1000, "osl": 100, "attainment": 99.9},
        gpuBudget={"max": 8},
        roles=[
            {
                "name": "decode",
                "component": "Worker",
                "gpusPerReplica": 4,
                "minReplicas": 2,
                "maxReplicas": 3,
                "fallbackReplicas": 3,
            }
        ],
        profile={"interpolation": "Cubic"},
        metrics={"windowSeconds": 120},
        planning={
            "intervalSeconds": 30,
            "sizing": "Throughput",
            "predictor": {
                "type": "Constant",
                "log1p": True,
                "windowSize": 50,
                "minObservations": 7,
                "kalman": {"qLevel": 2.0, "qTrend": 0.2, "r": 20.0},
            },
            "correction": "Disabled",
            "startupSeconds": 60,
        },
        behavior={
            "scaleUp": {"tolerance": 0.1, "selectPolicy": "Min"},
            "scaleDown": {"policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]},
        },
        fallback={"after": 4, "mode": "Static"},
    )

    assert resolved == Policy(
        mode=Mode.DECODE,
        actuation=Actuation.OBSERVE,
        sla=Sla(ttft_ms=200, itl_ms=20.5, isl_tokens=1000, osl_tokens=100, attainment_percent=99.9),
        gpu_budget=8,
        roles=(
            RolePolicy(
                role=Role.DECODE,
                component="Worker",
                gpus_per_replica=4,
                min_replicas=2,
                max_replicas=3,
                fallback_replicas=3,
            ),
        ),
        interval_s=30,
        window_s=120,
        sizing=Sizing.THROUGHPUT,
        interpolation=Interpolation.CUBIC,
        predictor=PredictorPolicy(
            type=PredictorType.CONSTANT,
            log1p=True,
            window_size=50,
            min_observations=7,
            kalman=KalmanTuning(q_level=2.0, q_trend=0.2, r=20.0),
        ),
        correction=False,
        startup_s=60,
        behavior=Behavior(
            scale_up=ScalingRules(tolerance=0.1, select=SelectPolicy.MIN),
            scale_down=ScalingRules(
                stabilization_window_s=300,
                policies=(RateLimit(unit=RateUnit.PERCENT, value=10, period_s=60),),
            ),
        ),
        fallback=Fallback(after=4, mode=FallbackMode.STATIC),
    )


@pytest.mark.parametrize(
    ("interval_s", "window_s"),
    [
        pytest.param(5, 60, id="short-intervals-look-back-a-minute"),
        pytest.param(60, 60, id="a-minute"),
        pytest.param(600, 600, id="long-intervals-look-back-one-interval"),
    ],
)
def test_the_window_that_is_not_said(interval_s: int, window_s: int) -> None:
    assert _core(planning={"intervalSeconds": interval_s}).window_s == window_s


def test_roles_are_listed_in_the_mode_s_order_whatever_the_user_s() -> None:
    resolved = _core(roles=[{"name": "decode", "minReplicas": 2}])

    assert resolved.roles == (RolePolicy(role=Role.PREFILL), RolePolicy(role=Role.DECODE, min_replicas=2))


@pytest.mark.parametrize(
    ("annotations", "pause"),
    [
        pytest.param({}, Pause.NONE, id="absent"),
        pytest.param({"slaplanner.io/paused": "scale-in"}, Pause.SCALE_IN, id="scale-in"),
        pytest.param({"slaplanner.io/paused": "sideways"}, Pause.ALL, id="unknown"),
    ],
)
def test_the_pause_comes_from_the_annotation(annotations: dict[str, str], pause: Pause) -> None:
    document = policy()
    document["metadata"]["annotations"] = annotations

    assert SLAPolicy.parse(document).to_core().pause is pause


def test_an_object_of_an_older_rule_is_refused_with_every_fault_named() -> None:
    document = policy(mode="agg", roles=[{"name": "prefill", "minReplicas": 3, "maxReplicas": 2}])

    with pytest.raises(PolicyError) as caught:
        SLAPolicy.parse(document)

    assert caught.value.reason is Reason.INVALID_SPEC
    assert str(caught.value) == (
        "spec.roles: only roles of the mode may be listed: prefill and decode with disagg, else the mode itself; "
        "spec.roles[0].minReplicas: minReplicas must not be above maxReplicas"
    )


def test_an_object_from_the_cluster_keeps_its_identity() -> None:
    document = policy()
    document["metadata"] |= {
        "namespace": "serving",
        "uid": "7e42126c",
        "generation": 3,
        "resourceVersion": "17",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "kubectl"}],
    }
    document["status"] = {"sizing": "Throughput"}

    metadata = SLAPolicy.parse(document).metadata

    assert (
        metadata.name,
        metadata.namespace,
        metadata.uid,
        metadata.generation,
        metadata.resource_version,
    ) == (
        "case",
        "serving",
        "7e42126c",
        3,
        "17",
    )
