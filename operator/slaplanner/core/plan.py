"""The decision: observe, forecast, correct, size, bound, stabilise, fit into the budget; in this order, without I/O.

The operator, the dry-run, the simulation and a user's notebook all call `decide`. The budget comes last, because a role
that damping keeps high must not push the sum over it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from slaplanner.core.allot import LimitedCount, RoleRequest, allot
from slaplanner.core.correction import Correction, correct
from slaplanner.core.damping import DampingState, damp, notice_change
from slaplanner.core.decision import Decision, RoleDecision
from slaplanner.core.errors import TargetError
from slaplanner.core.explain import explain
from slaplanner.core.findings import findings
from slaplanner.core.forecast import Forecast, forecast, horizon_steps, warmed_up
from slaplanner.core.gates import gate
from slaplanner.core.glance import lifted
from slaplanner.core.model import (
    DEFAULT_STARTUP_S,
    FallbackMode,
    Fleet,
    Policy,
    Role,
    RolePolicy,
    RoleState,
    Sizing,
)
from slaplanner.core.placement import patience_s, watch_placement
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Known, Observation, Series, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.rounding import whole_replicas
from slaplanner.core.sizing import MeanLoad, Sized, attainment, throughput
from slaplanner.core.sizing.capacity import Capacity
from slaplanner.core.sizing.lengths import lengths
from slaplanner.core.stalls import PINNED_BY_STALLS, find_stall, watch_stall
from slaplanner.core.state import MeanLengths, PlannerState
from slaplanner.core.unserved import believed, last_unserved_s
from slaplanner.core.work_in_flight import carrying_replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """The observed load, as far as it may be trusted."""

    requests: float
    lengths: MeanLengths
    may_shrink: bool


def decide(
    state: PlannerState,
    observation: Observation,
    fleet: Fleet,
    policy: Policy,
    profile: Profile,
    *,
    now_s: float,
) -> tuple[PlannerState, Decision]:
    """One plan.

    Args:
        state: what the last plan returned (`PlannerState()` for the first).
        observation: the traffic, and its history on the planning grid.
        fleet: what runs.
        policy: what is promised, with which means.
        profile: what one replica can carry.
        now_s: Unix seconds that this plan is for.

    Returns:
        The state for the next plan, and the decision with its evidence.

    Raises:
        TargetError: GPUs per replica are unknown; without them nothing can be sized or budgeted.
        ProfileError: the profile lacks the stage of a role.
    """
    gpus = _gpus(fleet)
    observation = believed(
        observation,
        fleet,
        unserved_at_s=state.unserved_at_s,
        interval_s=policy.interval_s,
        now_s=now_s,
    )
    load = _load(observation, state, policy)
    if load is None:
        return hold(state, observation, fleet, policy, now_s=now_s)
    state = _notice(state, fleet, policy, now_s=now_s)

    startup_s = startup_seconds(policy, fleet)
    state = _warmed(state, observation, policy)
    forecasted = _outlook(state, observation, load, policy, startup_s=startup_s, now_s=now_s)
    outlook = lifted(forecasted, observation, policy=policy, burstiness=state.burstiness, now_s=now_s)
    correction_state, correction = correct(
        state.correction,
        policy=policy,
        observation=observation,
        fleet=fleet,
        profile=profile,
        now_s=now_s,
    )
    demand = MeanLoad(
        requests_per_interval=outlook.requests[0],
        isl_tokens=outlook.isl_tokens[0],
        osl_tokens=outlook.osl_tokens[0],
    )
    if policy.sizing is Sizing.ATTAINMENT:
        if outlook is forecasted:
            # Else the window holds two loads, and its misses belong to neither's mean.
            state = _learnt(state, observation, load, fleet, policy=policy, profile=profile, now_s=now_s)
        situation = _situation(
            state, observation, fleet, outlook, policy=policy, profile=profile, startup_s=startup_s
        )
        sized = attainment.size(situation, demand=demand, gpus_per_replica=gpus)
    else:
        sized = throughput.size(
            policy=policy, profile=profile, demand=demand, correction=correction, gpus_per_replica=gpus
        )
    carrying = _carrying(observation, load, policy, profile, gpus=gpus, startup_s=startup_s)
    parked = _parked(fleet) and load.requests == 0
    steps, damping = _steps(
        state,
        sized,
        fleet,
        policy,
        may_shrink=load.may_shrink,
        carrying=carrying,
        parked=parked,
        now_s=now_s,
    )
    state = replace(
        state,
        failures=0,
        lengths=load.lengths,
        correction=correction_state,
        forecast=outlook.state,
    )
    return _conclude(
        state,
        steps,
        damping=damping,
        fleet=fleet,
        observation=observation,
        policy=policy,
        now_s=now_s,
        evidence=_Evidence(sized=sized, demand=demand, forecast=outlook, correction=correction),
    )


def _learnt(
    state: PlannerState,
    observation: Observation,
    load: _Load,
    fleet: Fleet,
    *,
    policy: Policy,
    profile: Profile,
    now_s: float,
) -> PlannerState:
    """With what the last window showed: the mix of lengths, how requests crowd, and who was late at which load."""
    window_s = observation.window_s
    state = replace(
        state,
        isl_mix=state.isl_mix.after(observation.isl_histogram, window_s=window_s, now_s=now_s),
        osl_mix=state.osl_mix.after(observation.osl_histogram, window_s=window_s, now_s=now_s),
        burstiness=state.burstiness.after(observation.arrivals, observation.arrivals_step_s),
    )
    if not policy.correction:
        return state
    capacity = _capacity(state, observation, load.lengths, policy, profile)
    return state.with_roles(
        replace(
            state.role(role.role),
            learning=state.role(role.role).learning.after(
                observation, role=role, capacity=capacity, interval_s=policy.interval_s, now_s=now_s
            ),
        )
        for role in fleet.roles
    )


def _situation(
    state: PlannerState,
    observation: Observation,
    fleet: Fleet,
    outlook: Forecast,
    *,
    policy: Policy,
    profile: Profile,
    startup_s: float,
) -> attainment.Situation:
    """What sizing by attainment looks at: the requests that are forecast, in the mix that is remembered."""
    coming = MeanLengths(isl_tokens=outlook.isl_tokens[0], osl_tokens=outlook.osl_tokens[0])
    return attainment.Situation(
        policy=policy,
        capacity=_capacity(state, observation, coming, policy, profile),
        forecast=outlook,
        observation=observation,
        fleet=fleet,
        startup_s=startup_s,
        learning={role.role: state.role(role.role).learning for role in fleet.roles},
    )


def _carrying(
    observation: Observation,
    load: _Load,
    policy: Policy,
    profile: Profile,
    *,
    gpus: Mapping[Role, int],
    startup_s: float,
) -> dict[Role, int]:
    """The replicas of each role that carry what it holds now."""
    return {
        role: carrying_replicas(
            role,
            observation,
            lengths=load.lengths,
            policy=policy,
            profile=profile,
            gpus_per_replica=each,
            drain_s=startup_s + policy.interval_s,
        )
        for role, each in gpus.items()
    }


def _capacity(
    state: PlannerState, observation: Observation, means: MeanLengths, policy: Policy, profile: Profile
) -> Capacity:
    """What replicas carry of requests of these mean lengths, in the mix that is remembered."""
    return Capacity(
        sla=policy.sla,
        profile=profile,
        isl=lengths(max(1.0, means.isl_tokens), state.isl_mix.histogram(observation.isl_histogram)),
        osl=lengths(max(1.0, means.osl_tokens), state.osl_mix.histogram(observation.osl_histogram)),
        burstiness=state.burstiness,
    )


def learnable(state: PlannerState, history: Series) -> Series:
    """What forecasts are learnt from: the history, and the policy's warm-up before it."""
    return history if state.warm_up is None else warmed_up(state.warm_up, history)


def startup_seconds(policy: Policy, fleet: Fleet) -> float:
    """The user's word, else what the target's own scale-ups took, else the default."""
    if policy.startup_s is not None:
        return policy.startup_s
    return fleet.startup_s if fleet.startup_s is not None else DEFAULT_STARTUP_S


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What the figures of a decision rest on."""

    sized: Sized
    demand: MeanLoad
    forecast: Forecast
    correction: Correction


def _gpus(fleet: Fleet) -> dict[Role, int]:
    known = {role.role: role.gpus_per_replica for role in fleet.roles if role.gpus_per_replica is not None}
    missing = [role.role.value for role in fleet.roles if role.role not in known]
    if missing:
        raise TargetError(
            f"GPUs per replica of {', '.join(missing)} are unknown; set roles[].gpusPerReplica",
            reason=Reason.GPUS_UNKNOWN,
        )
    return known


def _notice(state: PlannerState, fleet: Fleet, policy: Policy, *, now_s: float) -> PlannerState:
    """Learn from what the fleet shows: changes of replicas, whoever made them, and pending pods."""
    patience = _patience_s(policy, fleet)
    noticed = []
    for role in fleet.roles:
        memory = state.role(role.role)
        placement = watch_placement(memory.placement, role, patience_s=patience, now_s=now_s)
        stall = watch_stall(memory.stall, role, now_s=now_s)
        if (memory.replicas, memory.placement, memory.stall) == (role.replicas, placement, stall):
            continue
        damping = memory.damping
        if memory.replicas is not None and memory.replicas != role.replicas:
            ours = memory.desired == role.replicas and state.planned_at_s is not None
            damping = notice_change(
                damping,
                before=memory.replicas,
                after=role.replicas,
                at_s=state.planned_at_s if ours and state.planned_at_s is not None else now_s,
            )
        noticed.append(
            replace(memory, damping=damping, placement=placement, stall=stall, replicas=role.replicas)
        )
    before_s = state.unready_since_s
    unready_since_s = None if fleet.ready else min(before_s, now_s) if before_s is not None else now_s
    unserved_at_s = last_unserved_s(state.unserved_at_s, fleet, now_s=now_s)
    if not noticed and (unready_since_s, unserved_at_s) == (before_s, state.unserved_at_s):
        return state
    return state.with_roles(noticed, unready_since_s=unready_since_s, unserved_at_s=unserved_at_s)


def _patience_s(policy: Policy, fleet: Fleet) -> float:
    return patience_s(startup_s=startup_seconds(policy, fleet), interval_s=policy.interval_s)


def _unready_for_long(state: PlannerState, fleet: Fleet, policy: Policy, *, now_s: float) -> bool:
    since_s = state.unready_since_s
    return since_s is not None and now_s - since_s >= _patience_s(policy, fleet)


def _load(observation: Observation, state: PlannerState, policy: Policy) -> _Load | None:
    """What may be said of the load: all, a lower bound, or nothing (None)."""
    requests = observation.requests
    if not isinstance(requests, Known):
        return None
    last = state.lengths or MeanLengths(isl_tokens=policy.sla.isl_tokens, osl_tokens=policy.sla.osl_tokens)
    if requests.value == 0 and not requests.lower_bound:
        return _Load(requests=0.0, lengths=last, may_shrink=True)
    isl, osl = observation.isl_tokens, observation.osl_tokens
    if isinstance(isl, Known) and isinstance(osl, Known) and isl.value > 0 and osl.value > 0:
        return _Load(
            requests=requests.value,
            lengths=MeanLengths(isl_tokens=isl.value, osl_tokens=osl.value),
            may_shrink=not requests.lower_bound,
        )
    return _Load(requests=requests.value, lengths=last, may_shrink=False)


def _warmed(state: PlannerState, observation: Observation, policy: Policy) -> PlannerState:
    """With the warm-up that the policy has now; one that cannot be read just now stays as it was."""
    warm_up = state.warm_up if isinstance(observation.warm_up, Unknown) else observation.warm_up
    if warm_up is not None and warm_up.step_s != policy.interval_s:
        warm_up = None
    # What was learnt with another past before it is learnt again.
    return state if warm_up == state.warm_up else replace(state, warm_up=warm_up, forecast=None)


def _outlook(
    state: PlannerState,
    observation: Observation,
    load: _Load,
    policy: Policy,
    *,
    startup_s: float,
    now_s: float,
) -> Forecast:
    """The forecast from the history; from the observed load alone where the history lacks its last point.

    The observed load that stands in for that point is not remembered: the next plan observes another one.
    """
    history = observation.history
    stands_in = history is None or not len(history) or math.isnan(history.requests[-1])
    if history is None or stands_in:
        point = (load.requests,), (load.lengths.isl_tokens,), (load.lengths.osl_tokens,)
        before = history if history is not None and len(history) else None
        history = Series(
            end_s=before.end_s if before else now_s,
            step_s=policy.interval_s,
            requests=(before.requests[:-1] if before else ()) + point[0],
            isl_tokens=(before.isl_tokens[:-1] if before else ()) + point[1],
            osl_tokens=(before.osl_tokens[:-1] if before else ()) + point[2],
        )
    return forecast(
        learnable(state, history),
        policy=policy.predictor,
        state=state.forecast,
        horizon_steps=horizon_steps(interval_s=policy.interval_s, startup_s=startup_s),
        isl_tokens=load.lengths.isl_tokens,
        osl_tokens=load.lengths.osl_tokens,
        forget_last=stands_in,
    )


def _parked(fleet: Fleet) -> bool:
    """Somebody has set all roles to 0, which this planner never does."""
    return all(role.replicas == 0 for role in fleet.roles)


def _steps(
    state: PlannerState,
    sized: Sized,
    fleet: Fleet,
    policy: Policy,
    *,
    may_shrink: bool,
    carrying: Mapping[Role, int],
    parked: bool,
    now_s: float,
) -> tuple[tuple[RoleRequest, ...], dict[Role, DampingState]]:
    """Each role bounded, damped and gated, with the limits that bit in their order; and what to remember."""
    unready_for_long = _unready_for_long(state, fleet, policy, now_s=now_s)
    steps: list[RoleRequest] = []
    damping: dict[Role, DampingState] = {}
    for role in fleet.roles:
        need = sized.role(role.role)
        rules = policy.role(role.role)
        most = policy.ceiling(role.role)
        bounded, bound = _bounded(need.replicas, rules, role, ceiling=most)
        memory = state.role(role.role)
        damped = damp(
            current=role.replicas,
            wanted=bounded,
            need=need.raw,
            behavior=policy.behavior,
            state=memory.damping,
            now_s=now_s,
            sooner=need.sooner,
            fewest=need.fewest,
        )
        # A bound acts at once, also on what damping remembers from before it was set.
        within, again = _bounded(damped.replicas, rules, role, ceiling=most)
        opening = gate(
            role,
            fleet=fleet,
            pause=policy.pause,
            placement=memory.placement,
            load_may_shrink=may_shrink,
            unready_for_long=unready_for_long,
            carrying=carrying[role.role],
            parked=parked,
        )
        gated, gate_limit = opening.apply(within)
        limits = (need.limit, bound, *damped.limits, again if again is not bound else None, gate_limit)
        made = (
            ((need.limit,), need.replicas),
            ((bound,), bounded),
            (damped.limits, damped.replicas),
            ((again,), within),
            ((gate_limit,), gated),
        )
        damping[role.role] = damped.state
        steps.append(
            RoleRequest(
                role=role,
                rules=rules,
                wanted=gated,
                gate=opening,
                limits=tuple(limit for limit in limits if limit is not None),
                changed=_changed(whole_replicas(need.raw), made),
            )
        )
    return tuple(steps), damping


def _changed(
    replicas: int, made: Iterable[tuple[tuple[Reason | None, ...], int]]
) -> tuple[LimitedCount, ...]:
    """Of the counts that limits *made* of *replicas*, one after the other, those that differ from the one before."""
    changed = []
    for by, count in made:
        if count != replicas:
            changed.append(LimitedCount(by=tuple(limit for limit in by if limit is not None), replicas=count))
        replicas = count
    return tuple(changed)


def _bounded(
    replicas: int, rules: RolePolicy, role: RoleState, *, ceiling: int | None
) -> tuple[int, Reason | None]:
    """*replicas* inside the user's bounds, and below the *ceiling*, which limits growth only."""
    if replicas < rules.min_replicas:
        return rules.min_replicas, Reason.TOO_FEW_REPLICAS
    if rules.max_replicas is not None and replicas > rules.max_replicas:
        return rules.max_replicas, Reason.TOO_MANY_REPLICAS
    if ceiling is not None and replicas > (most := max(ceiling, role.replicas, rules.min_replicas)):
        return most, Reason.REPLICA_CEILING
    return replicas, None


def hold(
    state: PlannerState, observation: Observation, fleet: Fleet, policy: Policy, *, now_s: float
) -> tuple[PlannerState, Decision]:
    """The decision while the load is unknown: hold, and after enough failures what the user chose for that.

    Args and Returns as of `decide`; no profile is needed.
    """
    state = _notice(state, fleet, policy, now_s=now_s)
    failures = state.failures + 1
    state = replace(state, failures=failures)
    fallen_back = failures >= policy.fallback.after
    steps = []
    for role in fleet.roles:
        rules = policy.role(role.role)
        wanted = role.replicas
        limits: tuple[Reason, ...] = (Reason.HOLD_UNKNOWN,)
        if fallen_back and rules.fallback_replicas is not None:
            if policy.fallback.mode is FallbackMode.STATIC:
                wanted, limits = rules.fallback_replicas, (Reason.FALLBACK_STATIC,)
            elif policy.fallback.mode is FallbackMode.CURRENT_IF_HIGHER:
                wanted = max(role.replicas, rules.fallback_replicas)
                limits = (Reason.FALLBACK_CURRENT_IF_HIGHER,)
        if wanted < rules.min_replicas and Reason.FALLBACK_STATIC not in limits:
            # The floor is the user's word, whatever the load may be.
            wanted, limits = rules.min_replicas, (*limits, Reason.TOO_FEW_REPLICAS)
        opening = gate(
            role,
            fleet=fleet,
            pause=policy.pause,
            placement=state.role(role.role).placement,
            load_may_shrink=True,
            parked=_parked(fleet),
            unready_for_long=_unready_for_long(state, fleet, policy, now_s=now_s),
        )
        gated, gate_limit = opening.apply(wanted)
        if gate_limit is not None:
            limits = (*limits, gate_limit)
        steps.append(RoleRequest(role=role, rules=rules, wanted=gated, gate=opening, limits=limits))
    return _conclude(
        state,
        tuple(steps),
        damping={role.role: state.role(role.role).damping for role in fleet.roles},
        fleet=fleet,
        observation=observation,
        policy=policy,
        now_s=now_s,
        evidence=None,
    )


def _conclude(
    state: PlannerState,
    steps: tuple[RoleRequest, ...],
    *,
    damping: Mapping[Role, DampingState],
    fleet: Fleet,
    observation: Observation,
    policy: Policy,
    now_s: float,
    evidence: _Evidence | None,
) -> tuple[PlannerState, Decision]:
    """The budget, last; then the decision with everything that explains it."""
    allotted = allot(steps, budget=policy.gpu_budget)
    roles = tuple(
        RoleDecision(
            role=step.role.role,
            component=step.role.component,
            current=step.role.replicas,
            desired=replicas,
            limits=step.limits if replicas == step.wanted else (*step.limits, Reason.GPU_BUDGET),
            changed=step.changed
            if replicas == step.wanted
            else (*step.changed, LimitedCount(by=(Reason.GPU_BUDGET,), replicas=replicas)),
            sized=evidence.sized.role(step.role.role) if evidence else None,
            gpus_per_replica=step.role.gpus_per_replica,
        )
        for step, replicas in zip(steps, allotted.replicas, strict=True)
    )
    state = state.with_roles(
        (replace(state.role(role.role), damping=damping[role.role], desired=role.desired) for role in roles),
        planned_at_s=now_s,
        decisions=state.decisions + 1,
    )
    stall = find_stall(
        fleet,
        (state.role(role.role).stall for role in fleet.roles),
        unready_since_s=state.unready_since_s,
        patience_s=_patience_s(policy, fleet),
        now_s=now_s,
    )
    reason = _reason(
        roles,
        unknown=evidence is None,
        over_budget=allotted.shrunk_to_budget,
        stalled=stall is not None,
    )
    outlook = evidence.forecast if evidence else None
    decision = Decision(
        id=state.decisions,
        at_s=now_s,
        roles=roles,
        reason=reason,
        why=explain(roles, reason=reason, policy=policy, observation=observation, forecast=outlook),
        findings=findings(
            roles,
            policy=policy,
            observation=observation,
            forecast=outlook,
            allotted=allotted,
            failures=state.failures,
        ),
        observation=observation,
        demand=evidence.demand if evidence else None,
        forecast=outlook,
        correction=evidence.correction if evidence else None,
        stall=stall,
        gpu_budget=policy.gpu_budget,
    )
    return state, decision


def _reason(roles: tuple[RoleDecision, ...], *, unknown: bool, over_budget: bool, stalled: bool) -> Reason:
    grows = any(role.desired > role.current for role in roles)
    shrinks = any(role.desired < role.current for role in roles)
    if over_budget and shrinks:
        return Reason.OVER_BUDGET
    if unknown and not grows and not shrinks:
        return Reason.HOLD_UNKNOWN
    if grows and shrinks:
        return Reason.REBALANCE
    if grows:
        return Reason.SCALE_UP
    if shrinks:
        return Reason.SCALE_DOWN
    pinned = stalled and any(limit in PINNED_BY_STALLS for role in roles for limit in role.limits)
    return Reason.BLOCKED if pinned else Reason.STEADY
