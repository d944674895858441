"""A plan's outcome with a figure in every place, for tests about what is told of it."""

import dataclasses
from typing import Any

from slaplanner.api.conditions import set_conditions
from slaplanner.api.status import StatusFigures
from slaplanner.api.status_schema import StartupStatus, TargetStatus
from slaplanner.core.attainment import Attainment, Share
from slaplanner.core.correction import Correction, Factor
from slaplanner.core.decision import Decision, RoleDecision
from slaplanner.core.expected_latency import Expectation
from slaplanner.core.forecast import LEVELS, Forecast, TokenForecast
from slaplanner.core.model import Fleet, Policy, PredictorType, Role, RoleState
from slaplanner.core.readings import Known, Observation
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing import SizedRole

NOON = 1_800_000_000.0
POLICY = Policy(gpu_budget=64)
OBSERVATION = Observation(
    window_s=180.0,
    requests=Known(2222.2),
    isl_tokens=Known(2987.6),
    osl_tokens=Known(151.23),
    ttft_ms=Known(431.49),
    itl_ms=Known(28.149),
    request_duration_s=Known(4.7),
)


def _sized(role: Role, raw: float) -> SizedRole:
    return SizedRole(
        role=role,
        raw=raw,
        replicas=4,
        capacity_per_replica_tokens_s=10_000.0,
        load_tokens_s=36_100.0,
        expected_latency_ms=20.0,
        best_latency_ms=10.0,
        attainable=True,
        message="",
    )


def sample_decision(**changes: Any) -> Decision:
    decision = Decision(
        id=17,
        at_s=NOON,
        roles=(
            RoleDecision(
                role=Role.PREFILL,
                component="VllmPrefillWorker",
                current=3,
                desired=4,
                sized=_sized(Role.PREFILL, 3.6123),
                gpus_per_replica=2,
            ),
            RoleDecision(
                role=Role.DECODE,
                component="VllmDecodeWorker",
                current=8,
                desired=6,
                limits=(Reason.STABILIZED_DOWN, Reason.SCALE_DOWN_LIMIT),
                sized=_sized(Role.DECODE, 4.98765),
                gpus_per_replica=4,
            ),
        ),
        reason=Reason.REBALANCE,
        why="for 13.3 requests/s",
        findings=(),
        observation=OBSERVATION,
        forecast=Forecast(
            method=PredictorType.CONSTANT,
            requests=(2222.2, 2400.0),
            isl_tokens=(2987.6, 3001.0),
            osl_tokens=(151.23, 150.0),
            prefill=TokenForecast(
                mean_tokens=(6.6e6, 7.2e6), bounds_tokens=((7e6,) * len(LEVELS), (9e6,) * len(LEVELS))
            ),
            decode=TokenForecast(
                mean_tokens=(3.3e5, 3.6e5), bounds_tokens=((4e5,) * len(LEVELS), (5e5,) * len(LEVELS))
            ),
        ),
        correction=Correction(
            stages={
                Role.PREFILL: Factor(raw=1.2345, applied=1.1),
                Role.DECODE: Factor(ignored="workers changed"),
            }
        ),
        gpu_budget=64,
    )
    return dataclasses.replace(decision, **changes)


def sample_figures(**changes: Any) -> StatusFigures:
    figures = StatusFigures(
        generation=3,
        policy=POLICY,
        conditions=set_conditions([], [], generation=3, planned=True, now_s=NOON),
        target=TargetStatus(
            name="llama-70b",
            kind="DynamoGraphDeployment",
            api_version="nvidia.com/v1beta1",
            uid="7e42126c",
            model="llama-3.3-70b",
            dynamo_namespace="serving-llama-70b",
        ),
        fleet=Fleet(
            roles=(
                RoleState(role=Role.PREFILL, replicas=3, serving=2),
                RoleState(role=Role.DECODE, replicas=8, serving=None),
            )
        ),
        decision=sample_decision(),
        expected=(
            Expectation(role=Role.PREFILL, ttft_ms=312.34, itl_ms=None, utilisation=0.9031),
            Expectation(role=Role.DECODE, ttft_ms=None, itl_ms=27.77, utilisation=None),
        ),
        startup=StartupStatus(seconds=123.456, source="Measured"),
        last_hour=Attainment(ttft=Share(lower_percent=97.123, upper_percent=99.567)),
        last_day=Attainment(
            ttft=Share(lower_percent=99.6, upper_percent=99.6),
            itl=Share(lower_percent=98, upper_percent=99.5),
        ),
        planner_state={"v": 1, "n": 17, "at": 1_800_000_000},
    )
    return dataclasses.replace(figures, **changes)
