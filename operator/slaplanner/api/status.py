"""The status document, built from what a plan came to. Pure: the same figures give the same document.

Measured figures have three significant digits: more would be noise, and every digit that moves
costs a write that every watcher of the policy receives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from slaplanner.api.conditions import rfc3339, shortened
from slaplanner.api.figures import Startup, StatusFigures, TargetFacts, significant
from slaplanner.api.status_schema import DECISIONS_KEPT, PLANNER_STATE_BYTES
from slaplanner.core.attainment import Share
from slaplanner.core.decision import Decision, RoleDecision
from slaplanner.core.expected_latency import Expectation
from slaplanner.core.model import Fleet, Policy, Role
from slaplanner.core.readings import Known, Observation, Reading
from slaplanner.core.sla_met import attained, budget_left_percent


def build_status(figures: StatusFigures, *, previous: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The whole status.

    Args:
        figures: what is to be reported.
        previous: the status as last written: its decisions are carried on, and a plan that was not
            made (no decision) leaves the last one's figures standing.

    Raises:
        ValueError: the planner's state is larger than the status has room for.
    """
    before = dict(previous or {})
    decision = figures.decision
    document: dict[str, Any] = {
        "observedGeneration": figures.generation,
        "conditions": list(figures.conditions),
        "target": _target(figures.target) or before.get("target"),
        "sizing": str(figures.policy.sizing),
        "startup": _startup(figures.startup) or before.get("startup"),
        "attainment": _attainment(figures) or before.get("attainment"),
        "plannerState": _packed(figures.planner_state) or before.get("plannerState"),
    }
    if decision is None:
        kept = (
            "roles",
            "gpus",
            "observed",
            "forecast",
            "expected",
            "correction",
            "lastDecision",
            "decisions",
        )
        document |= {name: before.get(name) for name in kept}
        summary = before.get("summary") or {}
        document["summary"] = summary | _attained(figures, summary)
        return _without_unknown(document)
    document |= {
        "roles": [_role(role, figures.fleet) for role in decision.roles],
        "gpus": {
            "current": decision.gpus(desired=False),
            "desired": decision.gpus(desired=True),
            "budget": figures.policy.gpu_budget,
        },
        "observed": _observed(decision.observation, figures.policy),
        "forecast": _forecast(decision, figures.policy),
        "expected": _expected(figures.expected),
        "correction": _correction(decision),
        "lastDecision": _decision(decision),
        "decisions": _decisions(decision, before.get("decisions") or ()),
        "summary": _summary(decision, figures.policy) | _attained(figures, before.get("summary")),
    }
    return _without_unknown(document)


def _known(reading: Reading) -> float | int | None:
    return significant(reading.value) if isinstance(reading, Known) else None


def _optional(value: float | None) -> float | int | None:
    return None if value is None else significant(value)


def _target(target: TargetFacts | None) -> dict[str, Any] | None:
    if target is None:
        return None
    return {
        "apiVersion": target.api_version,
        "kind": target.kind,
        "name": target.name,
        "uid": target.uid,
        "model": target.model,
        "dynamoNamespace": target.dynamo_namespace,
    }


def _startup(startup: Startup | None) -> dict[str, Any] | None:
    return None if startup is None else {"seconds": significant(startup.seconds), "source": startup.source}


def _attainment(figures: StatusFigures) -> dict[str, Any]:
    spans = {"lastHour": figures.last_hour, "lastDay": figures.last_day}
    shares: dict[str, Any] = {
        name: {"ttft": _share(attainment.ttft), "itl": _share(attainment.itl)}
        for name, attainment in spans.items()
        if attainment is not None
    }
    if (day := figures.last_day) is not None:
        shares["errorBudget"] = {
            "ttft": _budget_left(day.ttft, figures.policy),
            "itl": _budget_left(day.itl, figures.policy),
        }
    return shares


def _budget_left(share: Share | None, policy: Policy) -> dict[str, Any] | None:
    if share is None:
        return None
    lower, upper = budget_left_percent(share, promised_percent=policy.sla.attainment_percent)
    return {"lower": significant(lower), "upper": significant(upper)}


def _share(share: Share | None) -> dict[str, Any] | None:
    if share is None:
        return None
    return {"lower": significant(share.lower_percent), "upper": significant(share.upper_percent)}


def _role(role: RoleDecision, fleet: Fleet | None) -> dict[str, Any]:
    states = {state.role: state for state in fleet.roles} if fleet else {}
    state = states.get(role.role)
    return {
        "name": str(role.role),
        "component": role.component or None,
        "gpusPerReplica": role.gpus_per_replica,
        "current": role.current,
        "ready": state.serving if state else None,
        "desired": role.desired,
        "raw": _optional(role.sized.raw) if role.sized else None,
        "limitedBy": str(role.limited_by) if role.limited_by else None,
    }


def _observed(observation: Observation, policy: Policy) -> dict[str, Any]:
    requests = observation.requests
    per_second = significant(requests.value / policy.interval_s) if isinstance(requests, Known) else None
    return {
        "windowSeconds": significant(observation.window_s),
        "requestsPerSecond": per_second,
        "isl": _known(observation.isl_tokens),
        "osl": _known(observation.osl_tokens),
        "ttft": _known(observation.ttft_ms),
        "itl": _known(observation.itl_ms),
        "cachedTokens": _known(observation.cached_tokens),
    }


def _forecast(decision: Decision, policy: Policy) -> dict[str, Any] | None:
    forecast = decision.forecast
    if forecast is None:
        return None
    level = policy.sla.attainment_percent / 100
    rates = ((Role.PREFILL, forecast.prefill), (Role.DECODE, forecast.decode))
    return {
        "predictor": str(forecast.method),
        "horizonSeconds": significant(forecast.horizon_steps * policy.interval_s),
        "requestsPerSecond": significant(forecast.requests[-1] / policy.interval_s),
        "isl": significant(forecast.isl_tokens[-1]),
        "osl": significant(forecast.osl_tokens[-1]),
        "tokenRates": [
            {
                "name": str(stage),
                "mean": significant(demand.mean_tokens[-1] / policy.interval_s),
                "upper": significant(demand.upper(level) / policy.interval_s),
            }
            for stage, demand in rates
        ],
    }


def _expected(expected: Sequence[Expectation]) -> dict[str, Any] | None:
    if not expected:
        return None
    return {
        "ttft": next((_optional(each.ttft_ms) for each in expected if each.ttft_ms is not None), None),
        "itl": next((_optional(each.itl_ms) for each in expected if each.itl_ms is not None), None),
        "utilisation": [
            {"name": str(each.role), "value": significant(each.utilisation)}
            for each in expected
            if each.utilisation is not None
        ],
    }


def _correction(decision: Decision) -> list[dict[str, Any]] | None:
    if decision.correction is None:
        return None
    return [
        {
            "name": str(stage),
            "factor": significant(factor.applied),
            "raw": _optional(factor.raw),
            "ignored": shortened(factor.ignored) or None,
        }
        for stage, factor in decision.correction.stages.items()
    ]


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "id": decision.id,
        "time": rfc3339(decision.at_s),
        "from": [{"name": str(role), "replicas": count} for role, count in decision.current.items()],
        "to": [{"name": str(role), "replicas": count} for role, count in decision.desired.items()],
        "reason": str(decision.reason),
        "message": shortened(decision.message),
    }


def _decisions(decision: Decision, earlier: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Newest first. A decision that repeats the newest one (same reason, no change) is not news."""
    latest = _decision(decision)
    if earlier and not decision.changes and earlier[0].get("reason") == latest["reason"]:
        return list(earlier)[:DECISIONS_KEPT]
    return [latest, *earlier][:DECISIONS_KEPT]


def _summary(decision: Decision, policy: Policy) -> dict[str, Any]:
    roles = {role.role: role for role in decision.roles}
    decode = roles.get(Role.DECODE) or roles.get(Role.AGG)
    observation = decision.observation
    return {
        "ttft": f"{_text(observation.ttft_ms)}/{policy.sla.ttft_ms:g}",
        "itl": f"{_text(observation.itl_ms)}/{policy.sla.itl_ms:g}",
        "prefill": _pair(roles.get(Role.PREFILL)),
        "decode": _pair(decode),
        "gpus": f"{_or_dash(decision.gpus(desired=True))}/{_or_dash(policy.gpu_budget)}",
        "why": _why(decision),
    }


def _why(decision: Decision) -> str:
    """The limit that bit, else the decision's own reason."""
    limits = dict.fromkeys(str(role.limited_by) for role in decision.roles if role.limited_by is not None)
    return f"Limited: {', '.join(limits)}" if limits else str(decision.reason)


def _attained(figures: StatusFigures, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The attained share for its column; what was known stands while it cannot be read."""
    text = attained(figures.policy, figures.last_hour) if figures.last_hour is not None else None
    return {"attained": text} if text else {"attained": (before or {}).get("attained")}


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
