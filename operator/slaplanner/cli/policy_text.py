"""What a policy's status says, as a table and as a story of at most 80 columns.

Takes the object as the API server gives it, and asks nobody else.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

WIDTH: Final = 80
UNKNOWN: Final = "-"

FINE: Final = {
    "BudgetLimited": "False",
    "Progressing": "False",
    "Fallback": "False",
    "Paused": "False",
    "TargetConflict": "False",
}
"""Conditions that are good news when they are False; the others when they are True."""

REMEDIES: Final = {
    "GPUBudget": "raise spec.gpuBudget.max",
    "TooManyReplicas": "raise maxReplicas of the role",
    "TooFewReplicas": "lower minReplicas of the role",
    "StabilizedDown": "nothing: it shrinks when the scale-down window has passed",
    "StabilizedUp": "nothing: it grows when the scale-up window has passed",
    "NeededSooner": "nothing: it shrinks when the coming load has passed",
    "ScaleUpLimit": "loosen behavior.scaleUp.policies",
    "ScaleDownLimit": "loosen behavior.scaleDown.policies",
    "ScaleUpDisabled": "change behavior.scaleUp.selectPolicy",
    "ScaleDownDisabled": "change behavior.scaleDown.selectPolicy",
    "WithinTolerance": "lower the tolerance in behavior",
    "RolloutBlocks": "nothing: it goes on when the rollout has ended",
    "NotReadyBlocksShrink": "make the deployment ready",
    "WorkInFlight": "nothing: it shrinks when the requests that it holds have ended",
    "ShrinksBySteps": "nothing: it goes on while the promise is kept",
    "Blocked": "find out why the deployment does not become ready",
    "ReplicaCeiling": "set spec.gpuBudget.max or maxReplicas of the role",
    "Parked": "give a role one replica by hand",
    "LowerBoundLoad": "nothing: it shrinks when the load is known exactly",
    "Paused": "`kubectl slap resume NAME`",
    "PausedScaleIn": "`kubectl slap resume NAME`",
    "PausedScaleOut": "`kubectl slap resume NAME`",
}
"""What lifts a limit, by its word in `limitedBy`."""

Object = Mapping[str, Any]


def table(policies: Sequence[Object], *, width: int = WIDTH) -> str:
    """One line per policy; a paragraph for each where the longest line has more than *width* characters."""
    head = ("POLICY", "READY", "IN TIME", "PREFILL", "DECODE", "GPUS", "WHY")
    rows = [head, *(_row(policy) for policy in policies)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if max(map(len, lines)) <= width:
        return "\n".join(lines)
    return "\n".join(_paragraph(head, row) for row in rows[1:])


def _paragraph(head: Sequence[str], row: Sequence[str]) -> str:
    named = ", ".join(f"{name.lower()} {cell}" for name, cell in zip(head[1:-1], row[1:-1], strict=True))
    return f"{row[0]}\n{_wrapped(named, indent=2)}\n{_wrapped(row[-1], indent=2)}"


def history(policy: Object) -> str:
    """The kept decisions, newest first."""
    decisions = list(policy.get("status", {}).get("decisions") or ())
    if not decisions:
        return "no decision yet"
    return "\n".join(
        f"{one['time']}  {one['reason']:<12}  {moves(one)}\n{_wrapped(one.get('message', ''), indent=22)}"
        for one in sorted(decisions, key=lambda one: int(one["id"]), reverse=True)
    )


def why(policy: Object, *, now: datetime) -> str:
    """The last decisions, what they rest on, what comes next, and what would change it."""
    status, spec, name = policy.get("status", {}), policy["spec"], _name(policy)
    last = status.get("lastDecision")
    ready = conditions(policy).get("Ready", {})
    parts = [f"{name}: {_wrapped(_ready(ready), indent=len(name) + 2).lstrip()}"]
    parts += ["", *_facts(spec, status)]
    if last is not None:
        decided = f"decision {last['id']}, {_age(last['time'], now)} ago: {last['reason']}"
        parts += ["", decided, _wrapped(last.get("message", ""), indent=2)]
        earlier = [one for one in status.get("decisions") or () if one["id"] != last["id"]]
        recent = sorted(earlier, key=lambda one: int(one["id"]), reverse=True)[:4]
        if recent:
            parts += ["", "before it:"]
            parts += [
                f"  {_age(one['time'], now):>7} ago  {one['reason']:<12}  {moves(one)}" for one in recent
            ]
        parts += ["", f"next plan: {_next(spec, last, now)}"]
    changes = list(_changes(spec, status, policy))
    if changes:
        parts += ["", "what would change it:", *(_wrapped(f"- {one}", indent=2, hang=2) for one in changes)]
    return "\n".join(parts)


def moves(decision: Object) -> str:
    """`prefill 1 -> 11, decode 5`."""
    before = {one["name"]: one["replicas"] for one in decision.get("from") or ()}
    return ", ".join(
        f"{one['name']} {one['replicas']}"
        if before.get(one["name"], one["replicas"]) == one["replicas"]
        else f"{one['name']} {before[one['name']]} -> {one['replicas']}"
        for one in decision.get("to") or ()
    )


def conditions(policy: Object) -> dict[str, Object]:
    """By type."""
    return {one["type"]: one for one in policy.get("status", {}).get("conditions") or ()}


def _row(policy: Object) -> tuple[str, ...]:
    status = policy.get("status", {})
    summary = status.get("summary") or {}
    promised = policy["spec"].get("sla", {}).get("attainment")
    kept = _lowest(status)
    in_time = UNKNOWN if kept is None else f"{kept:g}/{promised:g}" if promised is not None else f"{kept:g}"
    return (
        _name(policy),
        str(conditions(policy).get("Ready", {}).get("status", UNKNOWN)),
        in_time,
        str(summary.get("prefill", UNKNOWN)),
        str(summary.get("decode", UNKNOWN)),
        str(summary.get("gpus", UNKNOWN)),
        _reason(policy),
    )


def _lowest(status: Object) -> float | None:
    """The smaller share that surely met its target in the last hour, in percent."""
    hour = (status.get("attainment") or {}).get("lastHour") or {}
    shares = [share["lower"] for share in hour.values() if share and share.get("lower") is not None]
    return min(shares, default=None)


def _reason(policy: Object) -> str:
    """The one word that a reader should know: what is wrong, else what limits, else what was decided."""
    status, ready = policy.get("status", {}), conditions(policy).get("Ready", {})
    if ready.get("status") != "True":
        return str(ready.get("reason", "Pending"))
    limits = sorted({role["limitedBy"] for role in status.get("roles") or () if role.get("limitedBy")})
    if limits:
        return ", ".join(limits)
    return str((status.get("lastDecision") or {}).get("reason", "Pending"))


def _ready(ready: Object) -> str:
    if not ready:
        return "no operator has looked at it yet"
    state = {"True": "ready", "False": "not ready"}.get(str(ready["status"]), "not planned yet")
    return f"{state} ({ready['reason']}): {ready.get('message', '')}"


def _facts(spec: Object, status: Object) -> Iterable[str]:
    sla, seen, coming = spec.get("sla", {}), status.get("observed") or {}, status.get("forecast") or {}
    yield (
        f"promised   TTFT {_figure(sla, 'ttft')} ms, ITL {_figure(sla, 'itl')} ms"
        f" for {_figure(sla, 'attainment')} % of the requests"
    )
    hour = (status.get("attainment") or {}).get("lastHour") or {}
    if hour:
        kept = ", ".join(f"{name.upper()} {_share(share)}" for name, share in hour.items() if share)
        yield f"kept       {kept} in the last hour"
    if seen:
        yield (
            f"seen       {_figure(seen, 'requestsPerSecond')} requests/s, {_figure(seen, 'isl')} tokens in,"
            f" {_figure(seen, 'osl')} out;"
        )
        yield f"           TTFT {_figure(seen, 'ttft')} ms, ITL {_figure(seen, 'itl')} ms"
    if coming:
        yield (
            f"forecast   {_figure(coming, 'requestsPerSecond')} requests/s in"
            f" {_figure(coming, 'horizonSeconds')} s ({coming.get('predictor', UNKNOWN)})"
        )
    rates = {one["name"]: one for one in coming.get("tokenRates") or ()}
    for role in status.get("roles") or ():
        line = (
            f"{role['name']:<9}  {_figure(role, 'current')} asked for, {_figure(role, 'ready')} ready,"
            f" {_figure(role, 'desired')} desired"
        )
        if role.get("limitedBy"):
            line += f" ({_figure(role, 'raw')} needed; {role['limitedBy']})"
        yield line
        if (rate := rates.get(role["name"])) is not None:
            yield (
                f"           load {_figure(rate, 'mean')} tokens/s, sized for {_figure(rate, 'upper')} at most"
            )


def _changes(spec: Object, status: Object, policy: Object) -> Iterable[str]:
    for kind, condition in conditions(policy).items():
        if kind == "Ready" or condition["status"] == FINE.get(kind, "True"):
            continue
        if condition["status"] != "Unknown":
            yield f"{kind} is {condition['status']} ({condition['reason']}): {condition.get('message', '')}"
            if (remedy := REMEDIES.get(condition["reason"])) is not None:
                yield f"{condition['reason']}: {remedy}"
    for role in status.get("roles") or ():
        if (limit := role.get("limitedBy")) is not None:
            yield f"{role['name']}, {limit}: {REMEDIES.get(limit, 'see the message of the decision')}"
    for one in (status.get("expected") or {}).get("utilisation") or ():
        if one.get("value"):
            yield f"{one['name']} is full at {1 / one['value']:.2g} times the forecast load"
    if spec.get("actuation") == "Observe":
        yield "actuation is Observe: decisions are reported and not carried out"


def _next(spec: Object, last: Object, now: datetime) -> str:
    interval_s = float((spec.get("planning") or {}).get("intervalSeconds") or 0)
    if not interval_s:
        return "unknown"
    due_s = interval_s - (now - _time(last["time"])).total_seconds()
    if due_s < -interval_s:
        return f"overdue since {_span(-due_s)}: look at the operator's log"
    return f"in {_span(max(0.0, due_s))}; `kubectl slap plan NAME` plans at once"


def _share(share: Object) -> str:
    lower, upper = share.get("lower"), share.get("upper")
    if lower is None or lower == upper:
        return f"{UNKNOWN if lower is None else format(lower, 'g')} %"
    return f"{lower:g} to {upper:g} %"


def _figure(of: Object, key: str) -> str:
    value = of.get(key)
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _name(policy: Object) -> str:
    return f"{policy['metadata'].get('namespace', 'default')}/{policy['metadata']['name']}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _age(text: str, now: datetime) -> str:
    return _span((now - _time(text)).total_seconds())


def _span(seconds: float) -> str:
    """One unit, as kubectl shows ages."""
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _wrapped(text: str, *, indent: int, hang: int = 0) -> str:
    return textwrap.fill(
        text,
        width=WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang),
        break_long_words=False,
        break_on_hyphens=False,
    )
