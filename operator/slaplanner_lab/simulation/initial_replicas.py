"""With how many replicas a simulation begins: what the first minute's true load needs."""

from __future__ import annotations

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast import LEVELS, Forecast, TokenForecast
from slaplanner.core.model import Fleet, Policy, PredictorType, Role, RoleState
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Histogram, Known, Observation, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing import MeanLoad, attainment
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.capacity import Capacity
from slaplanner.core.sizing.lengths import lengths
from slaplanner_lab.simulation.telemetry import ISL_EDGES, OSL_EDGES
from slaplanner_lab.simulation.traffic import Traffic

FIRST_S = 60.0


def start_replicas(
    traffic: Traffic, *, policy: Policy, profile: Profile, slowdown: float = 1.0
) -> dict[Role, int]:
    """Replicas per role for a load that stays as the first minute is, on a fleet of this profile.

    Args:
        traffic: all requests.
        policy: targets, floors.
        profile: of the fleet.
        slowdown: how much slower the fleet is than this profile.
    """
    first = traffic.arrival_s < FIRST_S
    if not first.any():
        return {role: policy.role(role).min_replicas for role in policy.mode.roles}
    isl, osl = traffic.isl_tokens[first], traffic.osl_tokens[first]
    per_interval = float(first.sum()) * policy.interval_s / FIRST_S
    unknown = Unknown(Reason.NOT_REPORTED, "before the start")
    fleet = Fleet(roles=tuple(RoleState(role=role, replicas=1, serving=1) for role in policy.mode.roles))
    situation = attainment.Situation(
        policy=policy,
        capacity=Capacity(
            sla=policy.sla,
            profile=profile,
            isl=lengths(float(isl.mean()), _histogram(isl, ISL_EDGES)),
            osl=lengths(float(osl.mean()), _histogram(osl, OSL_EDGES)),
            burstiness=Burstiness(),
            slowdown=slowdown,
        ),
        forecast=Forecast(
            method=PredictorType.CONSTANT,
            requests=(per_interval,),
            isl_tokens=(float(isl.mean()),),
            osl_tokens=(float(osl.mean()),),
            prefill=_steady(per_interval * float(isl.mean())),
            decode=_steady(per_interval * float(osl.mean())),
        ),
        observation=Observation(
            window_s=FIRST_S,
            requests=Known(per_interval),
            isl_tokens=Known(float(isl.mean())),
            osl_tokens=Known(float(osl.mean())),
            ttft_ms=unknown,
            itl_ms=unknown,
            request_duration_s=unknown,
        ),
        fleet=fleet,
        startup_s=0.0,
        learning={},
    )
    sized = attainment.size(
        situation,
        demand=MeanLoad(
            requests_per_interval=per_interval, isl_tokens=float(isl.mean()), osl_tokens=float(osl.mean())
        ),
        gpus_per_replica={role: policy.role(role).gpus_per_replica or 1 for role in policy.mode.roles},
    )
    return {role.role: role.replicas for role in sized.roles}


def _steady(tokens: float) -> TokenForecast:
    return TokenForecast(mean_tokens=(tokens,), bounds_tokens=((tokens,) * len(LEVELS),))


def _histogram(values: Floats, edges: tuple[float, ...]) -> Histogram:
    upper = np.array([*edges, np.inf])
    counts = np.bincount(np.searchsorted(upper, values, side="left"), minlength=upper.size)
    return Histogram(edges=tuple(upper.tolist()), counts=tuple(counts.astype(float).tolist()))
