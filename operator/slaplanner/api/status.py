"""The status that a plan leaves behind: filled as one typed value, and serialised once.

Pure: the same figures give the same document. What is not known is absent, and never written as zero.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slaplanner.api.conditions import rfc3339, shortened
from slaplanner.api.status_schema import (
    DECISIONS_KEPT,
    PLANNER_STATE_BYTES,
    AlarmStatus,
    AttainmentStatus,
    BudgetLeftStatus,
    CorrectionStatus,
    DecisionStatus,
    ErrorBudgetStatus,
    ExpectedStatus,
    ForecastStatus,
    GpusStatus,
    MarginalsStatus,
    ObservedStatus,
    RoleMoveStatus,
    RoleStatus,
    ShareStatus,
    StartupStatus,
    Status,
    SummaryStatus,
    TargetStatus,
    TokenRateStatus,
    UtilisationStatus,
    significant,
)
from slaplanner.core.attainment import Attainment, Share
from slaplanner.core.decision import Decision, RoleDecision
from slaplanner.core.expected_latency import Expectation
from slaplanner.core.glance import Alarm
from slaplanner.core.model import Fleet, Policy, Role
from slaplanner.core.readings import Known, Observation, Reading
from slaplanner.core.sla_met import attained, budget_left_percent
from slaplanner.core.state import timeless

_STANDS_UNTIL_KNOWN = ("target", "startup", "attainment", "plannerState")
"""Parts that stay as they were written until something new is known."""

_STANDS_UNTIL_DECIDED = (
    "roles",
    "gpus",
    "observed",
    "forecast",
    "expected",
    "correction",
    "lastDecision",
    "decisions",
)
"""Parts of the last decision, which stand while a plan comes to none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFigures:
    """All that one status write reports. What is None is left out, never written as zero."""

    generation: int
    policy: Policy
    conditions: Sequence[Mapping[str, Any]]
    """As `set_conditions` returns them."""
    target: TargetStatus | None = None
    fleet: Fleet | None = None
    decision: Decision | None = None
    expected: Sequence[Expectation] = ()
    """At the size that was decided."""
    trigger: str | None = None
    """Why the plan ran when it did."""
    alarm: Alarm | None = None
    """What was seen between two plans, where that is why."""
    startup: StartupStatus | None = None
    last_hour: Attainment | None = None
    last_day: Attainment | None = None
    planner_state: Mapping[str, Any] | None = None


def build_status(figures: StatusFigures, *, previous: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The whole status, as plain JSON values.

    Args:
        figures: what is to be reported.
        previous: the status as last written: its decisions are carried on, and a plan that was not
            made (no decision) leaves the last one's figures standing.

    Raises:
        ValueError: the planner's state is larger than the status has room for.
    """
    before = dict(previous or {})
    decision = figures.decision
    status = _filled(figures)
    document = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    stands = _STANDS_UNTIL_KNOWN if decision is not None else _STANDS_UNTIL_KNOWN + _STANDS_UNTIL_DECIDED
    document |= {name: before.get(name) for name in stands if name not in document}
    document["conditions"] = list(figures.conditions)
    summary = before.get("summary") or {}
    carried = summary if decision is None else {"attained": summary.get("attained")}
    document["summary"] = {**carried, **document.get("summary", {})}
    if decision is not None:
        document["decisions"] = _decisions(
            document["lastDecision"], before.get("decisions") or (), changes=decision.changes
        )
    return _without_unknown(document)


def nothing_but_the_clock(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether *new* differs from *old*, the status as last written, in times and counters alone.

    Such are the id and the time of a last decision that decided the same, and what `core.state.timeless`
    leaves out of the planner's state.
    """
    return _timeless(old) == _timeless(new)


def _filled(figures: StatusFigures) -> Status:
    decision, policy = figures.decision, figures.policy
    status = Status(
        observed_generation=figures.generation,
        target=figures.target,
        sizing=policy.sizing,
        startup=figures.startup,
        attainment=_attainment(figures),
        summary=SummaryStatus(attained=_attained(figures)),
        planner_state=_packed(figures.planner_state),
    )
    if decision is None:
        return status
    return status.model_copy(
        update={
            "roles": tuple(_role(role, figures.fleet) for role in decision.roles),
            "gpus": GpusStatus(
                current=decision.gpus(desired=False),
                desired=decision.gpus(desired=True),
                budget=policy.gpu_budget,
            ),
            "observed": _observed(decision.observation, policy),
            "forecast": _forecast(decision, policy),
            "expected": _expected(figures.expected),
            "correction": _correction(decision),
            "last_decision": _decision(figures, decision),
            "summary": _summary(decision, policy, attained_text=_attained(figures)),
        }
    )


def _known(reading: Reading) -> float | None:
    return reading.value if isinstance(reading, Known) else None


def _attainment(figures: StatusFigures) -> AttainmentStatus | None:
    hour, day = figures.last_hour, figures.last_day
    if hour is None and day is None:
        return None
    left = ErrorBudgetStatus(ttft=_left(day.ttft, figures), itl=_left(day.itl, figures)) if day else None
    return AttainmentStatus(last_hour=_marginals(hour), last_day=_marginals(day), error_budget=left)


def _marginals(attainment: Attainment | None) -> MarginalsStatus | None:
    if attainment is None:
        return None
    return MarginalsStatus(ttft=_share(attainment.ttft), itl=_share(attainment.itl))


def _share(share: Share | None) -> ShareStatus | None:
    return None if share is None else ShareStatus(lower=share.lower_percent, upper=share.upper_percent)


def _left(share: Share | None, figures: StatusFigures) -> BudgetLeftStatus | None:
    if share is None:
        return None
    lower, upper = budget_left_percent(share, promised_percent=figures.policy.sla.attainment_percent)
    return BudgetLeftStatus(lower=lower, upper=upper)


def _role(role: RoleDecision, fleet: Fleet | None) -> RoleStatus:
    states = {state.role: state for state in fleet.roles} if fleet else {}
    state = states.get(role.role)
    return RoleStatus(
        name=role.role,
        component=role.component or None,
        gpus_per_replica=role.gpus_per_replica,
        current=role.current,
        ready=state.serving if state else None,
        desired=role.desired,
        raw=role.sized.raw if role.sized else None,
        limited_by=role.limited_by,
    )


def _observed(observation: Observation, policy: Policy) -> ObservedStatus:
    requests = _known(observation.requests)
    return ObservedStatus(
        window_seconds=observation.window_s,
        requests_per_second=None if requests is None else requests / policy.interval_s,
        isl=_known(observation.isl_tokens),
        osl=_known(observation.osl_tokens),
        ttft=_known(observation.ttft_ms),
        itl=_known(observation.itl_ms),
        cached_tokens=_known(observation.cached_tokens),
    )


def _forecast(decision: Decision, policy: Policy) -> ForecastStatus | None:
    forecast = decision.forecast
    if forecast is None:
        return None
    level = policy.sla.attainment_percent / 100
    rates = ((Role.PREFILL, forecast.prefill), (Role.DECODE, forecast.decode))
    return ForecastStatus(
        predictor=forecast.method,
        horizon_seconds=forecast.horizon_steps * policy.interval_s,
        requests_per_second=forecast.requests[-1] / policy.interval_s,
        isl=forecast.isl_tokens[-1],
        osl=forecast.osl_tokens[-1],
        token_rates=tuple(
            TokenRateStatus(
                name=stage,
                mean=demand.mean_tokens[-1] / policy.interval_s,
                upper=demand.upper(level) / policy.interval_s,
            )
            for stage, demand in rates
        ),
    )


def _expected(expected: Sequence[Expectation]) -> ExpectedStatus | None:
    if not expected:
        return None
    return ExpectedStatus(
        ttft=next((each.ttft_ms for each in expected if each.ttft_ms is not None), None),
        itl=next((each.itl_ms for each in expected if each.itl_ms is not None), None),
        utilisation=tuple(
            UtilisationStatus(name=each.role, value=each.utilisation)
            for each in expected
            if each.utilisation is not None
        ),
    )


def _correction(decision: Decision) -> tuple[CorrectionStatus, ...] | None:
    if decision.correction is None:
        return None
    return tuple(
        CorrectionStatus(
            name=stage, factor=factor.applied, raw=factor.raw, ignored=shortened(factor.ignored) or None
        )
        for stage, factor in decision.correction.stages.items()
    )


def _decision(figures: StatusFigures, decision: Decision) -> DecisionStatus:
    return DecisionStatus(
        id=decision.id,
        time=rfc3339(decision.at_s),
        from_=_moves(decision.current),
        to=_moves(decision.desired),
        reason=decision.reason,
        message=shortened(decision.message),
        trigger=figures.trigger,
        alarm=_alarm(figures.alarm),
    )


def _moves(replicas: Mapping[Role, int]) -> tuple[RoleMoveStatus, ...]:
    return tuple(RoleMoveStatus(name=role, replicas=count) for role, count in replicas.items())


def _alarm(alarm: Alarm | None) -> AlarmStatus | None:
    if alarm is None:
        return None
    return AlarmStatus(reason=alarm.reason, time=rfc3339(alarm.at_s), message=shortened(alarm.message))


def _decisions(
    latest: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], *, changes: bool
) -> list[Mapping[str, Any]]:
    """Newest first. A decision that repeats the newest one (same reason, no change) is not news."""
    if earlier and not changes and earlier[0].get("reason") == latest["reason"]:
        return list(earlier)[:DECISIONS_KEPT]
    return [latest, *earlier][:DECISIONS_KEPT]


def _summary(decision: Decision, policy: Policy, *, attained_text: str | None) -> SummaryStatus:
    roles = {role.role: role for role in decision.roles}
    observation = decision.observation
    return SummaryStatus(
        ttft=f"{_text(observation.ttft_ms)}/{policy.sla.ttft_ms:g}",
        itl=f"{_text(observation.itl_ms)}/{policy.sla.itl_ms:g}",
        prefill=_pair(roles.get(Role.PREFILL)),
        decode=_pair(roles.get(Role.DECODE) or roles.get(Role.AGG)),
        gpus=f"{_or_dash(decision.gpus(desired=True))}/{_or_dash(policy.gpu_budget)}",
        attained=attained_text,
        why=_why(decision),
    )


def _why(decision: Decision) -> str:
    """The limit that bit, else the decision's own reason."""
    limits = dict.fromkeys(str(role.limited_by) for role in decision.roles if role.limited_by is not None)
    return f"Limited: {', '.join(limits)}" if limits else str(decision.reason)


def _attained(figures: StatusFigures) -> str | None:
    """The attained share for its column; None while it cannot be read, and what was known then stands."""
    return (attained(figures.policy, figures.last_hour) or None) if figures.last_hour is not None else None


def _text(reading: Reading) -> str:
    return str(significant(reading.value)) if isinstance(reading, Known) else "-"


def _pair(role: RoleDecision | None) -> str | None:
    return None if role is None else f"{role.current}/{role.desired}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _packed(state: Mapping[str, Any] | None) -> str | None:
    if state is None:
        return None
    text = json.dumps(state, separators=(",", ":"))
    size = len(text.encode())
    if size > PLANNER_STATE_BYTES:
        raise ValueError(
            f"the planner's state takes {size} bytes, the status has room for {PLANNER_STATE_BYTES}"
        )
    return text


def _timeless(status: Mapping[str, Any]) -> dict[str, Any]:
    document = dict(status)
    last = document.get("lastDecision")
    if isinstance(last, Mapping):
        document["lastDecision"] = {name: value for name, value in last.items() if name not in ("id", "time")}
    state = document.get("plannerState")
    if isinstance(state, str):
        try:
            document["plannerState"] = timeless(json.loads(state))
        except (ValueError, RecursionError):
            document["plannerState"] = state
    return document


def _without_unknown(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without None and without parents that nothing is left in: absent means unknown."""
    kept = {name: _pruned(child) for name, child in document.items()}
    return {name: child for name, child in kept.items() if child is not None and child != {}}


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _without_unknown(value)
    if isinstance(value, list):
        return [_pruned(entry) for entry in value]
    return value
