"""From what a user has to a scenario: the one way there, for the command, notebooks and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.trace import MAX_REQUESTS, Trace, per_interval
from slaplanner.core.budget import BudgetRole, fit_budget
from slaplanner.core.model import Pause, Policy, Role
from slaplanner.core.profiles import Profile
from slaplanner_lab.engine import EngineError, EngineTables
from slaplanner_lab.simulation.initial_replicas import start_replicas
from slaplanner_lab.simulation.loop import Fault, Scenario
from slaplanner_lab.simulation.telemetry import DEFAULT_BUCKETS, Buckets
from slaplanner_lab.simulation.traffic import Traffic

MAX_SPAN_S = 31 * 86_400.0
"""A month; times on two clocks lie decades apart, and each second of them would be played."""

NO_ERROR = EngineError()

UNSCORED_S = 300.0
"""Five minutes: a planner that has seen nothing yet is not judged."""


def scenario_of(
    policy: Policy,
    trace: Trace,
    *,
    fleet: Profile,
    error: EngineError = NO_ERROR,
    start: Mapping[Role, int] | None = None,
    copies: int = 1,
    seed: int = 0,
    unscored_s: float = UNSCORED_S,
    faults: tuple[Fault, ...] = (),
    buckets: Buckets = DEFAULT_BUCKETS,
) -> Scenario:
    """What is simulated, whoever plans.

    Args:
        policy: of any mode. In mode `prefill` a request is complete with its first token, in mode `decode` it
            comes with it: the role that the policy does not size is never short. GPUs per replica are its `roles[].gpusPerReplica`, else 1. A pause that is
            annotated on it is not obeyed: it would show nothing.
        trace: its first request arrives at 0; prompts beyond the profile's longest are cut to that.
        fleet: what one replica can really do.
        error: how the true engine differs from that.
        start: replicas that serve from the first second on; a role that is left out has what the load of
            the first minute needs, as far as the budget goes.
        copies: each request so many times, jittered by up to 5 s.
        seed: of the jitter.
        unscored_s: requests that arrive earlier do not count.
        faults: what breaks, and when.
        buckets: of the latency histograms that the planner sees.

    Raises:
        ProfileNotFound: the profile lacks a stage of the mode.
        TraceError: the trace fills a single interval, ends before scoring begins, or before a fault.
        ValueError: *copies* is below 1.
    """
    _check_length(trace, policy, unscored_s=unscored_s, faults=faults)
    if copies * len(trace) > MAX_REQUESTS:
        raise TraceError(
            f"{trace.name}: found {len(trace):,} requests to be taken {copies:,} times, wanted at most "
            f"{MAX_REQUESTS:,} in all"
        )
    tables = EngineTables.of(fleet, mode=policy.mode)
    traffic = Traffic(
        arrival_s=trace.t_s - trace.t_s[0],
        isl_tokens=np.minimum(trace.isl_tokens.astype(np.float64), tables.max_isl_tokens),
        osl_tokens=trace.osl_tokens.astype(np.float64),
    ).amplified(copies, seed=seed)
    needed = _within_budget(
        start_replicas(traffic, policy=policy, profile=fleet, slowdown=error.slowest), policy
    )
    return Scenario(
        traffic=traffic,
        policy=replace(policy, pause=Pause.NONE),
        tables=tables.erring(error),
        start={**needed, **(start or {})},
        unscored_s=unscored_s,
        faults=faults,
        buckets=buckets,
    )


def _within_budget(needed: Mapping[Role, int], policy: Policy) -> dict[Role, int]:
    """What the budget lets *needed* be; the floors where it has not even room for those."""
    asked = [
        BudgetRole(
            replicas=count,
            gpus_per_replica=policy.role(role).gpus_per_replica or 1,
            min_replicas=policy.role(role).min_replicas,
        )
        for role, count in needed.items()
    ]
    fit = fit_budget(asked, gpu_budget=policy.gpu_budget)
    given = fit.replicas if fit.feasible else [role.min_replicas for role in asked]
    return dict(zip(needed, given, strict=True))


def _check_length(trace: Trace, policy: Policy, *, unscored_s: float, faults: tuple[Fault, ...]) -> None:
    """Refuse what would be played and show nothing, or would never end."""
    if trace.span_s > MAX_SPAN_S:
        raise TraceError(
            f"{trace.name}: found requests over {trace.span_s:,.0f} s, wanted at most {MAX_SPAN_S:,.0f}: part of the "
            "trace, or one clock for all its times"
        )
    per_interval(trace, interval_s=policy.interval_s, start_s=float(trace.t_s[0]))
    if trace.span_s < unscored_s:
        raise TraceError(
            f"{trace.name}: found requests over {trace.span_s:g} s, wanted more than the {unscored_s:g} s "
            "that are not scored"
        )
    for fault in faults:
        if not 0.0 < fault.at_s <= trace.span_s:
            raise TraceError(
                f"{trace.name}: found a fault at {fault.at_s:g} s, wanted one between 0 and the last arrival "
                f"at {trace.span_s:g} s"
            )
