"""Whether the promise was kept: the measured share of requests, compared with `sla.attainment`.

TTFT is counted per request and ITL per token, and no metric says which requests met both. So each latency is judged
by itself, by the lower and the upper bound that its histogram allows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from slaplanner.core.attainment import Attainment, Share
from slaplanner.core.decision import Finding
from slaplanner.core.model import Policy, Role
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.wording import figure

_VARIABLES = {"TTFT": "DYN_METRICS_TTFT", "ITL": "DYN_METRICS_ITL"}
"""The frontend's settings of its buckets."""


def promise_finding(policy: Policy, last_hour: Attainment) -> Finding:
    """The condition `SLAMet`: False as soon as one latency certainly missed, True when each certainly met.

    In between the buckets are too coarse, and the message says which edges surround the target.
    """
    judged = _judged(policy, last_hour)
    if not judged:
        return _finding(None, Reason.NOTHING_SERVED, "no request was observed in the last hour")
    promised = policy.sla.attainment_percent
    described = ", ".join(
        f"{name} within {figure(target)} ms: {shown(share)} % of the {things}"
        for name, share, target, things in judged
    )
    message = f"last hour: {described}; promised {promised:g} %"
    if any(share.upper_percent < promised for _, share, _, _ in judged):
        return _finding(False, Reason.TARGETS_MISSED, message)
    coarse = [
        f"the {name} histogram has no bucket edge {_between(*share.between)}, where the target lies "
        f"(set {_VARIABLES[name]} on the frontend)"
        for name, share, _, _ in judged
        if share.lower_percent < promised and share.between is not None
    ]
    if coarse:
        return _finding(None, Reason.BUCKETS_TOO_COARSE, "; ".join([message, *coarse]))
    return _finding(True, Reason.TARGETS_MET, message)


def budget_left_percent(share: Share, *, promised_percent: float) -> tuple[float, float]:
    """How much of the misses that the promise allows is left: at least, at most; in percent, below 0 when overspent.

    A promise of 99 % allows 1 % of misses: 0.4 % of misses leave 60 % of it.

    >>> budget_left_percent(Share(lower_percent=99.6, upper_percent=99.6), promised_percent=99.0)
    (60.0, 60.0)
    """
    allowed = 100.0 - promised_percent

    def left(met_percent: float) -> float:
        return round(100.0 * (1.0 - (100.0 - met_percent) / allowed), 6)

    return left(share.lower_percent), left(share.upper_percent)


def attained(policy: Policy, last_hour: Attainment) -> str | None:
    """The worse of the judged latencies beside the promise, for a column: "98.7/99", or "0-88.8/99"."""
    judged = _judged(policy, last_hour)
    if not judged:
        return None
    worst = min((share for _, share, _, _ in judged), key=lambda share: share.upper_percent)
    return f"{shown(worst)}/{policy.sla.attainment_percent:g}"


def shown(share: Share) -> str:
    """The share as one figure, or as the two between which it lies; rounded so that 100 means all.

    >>> shown(Share(lower_percent=99.96, upper_percent=99.96))
    '99.9'
    """
    low, high = _floored(share.lower_percent), _floored(share.upper_percent)
    return low if low == high else f"{low}-{high}"


def _floored(percent: float) -> str:
    return f"{int(percent * 10) / 10:g}"


def _between(below: float, above: float) -> str:
    if math.isinf(above):
        return f"above {figure(below)} ms"
    return f"between {figure(below)} and {figure(above)} ms"


def _judged(policy: Policy, last_hour: Attainment) -> Sequence[tuple[str, Share, float, str]]:
    """What the policy's roles answer for and what was observed: name, share, target in ms, what is counted."""
    roles = policy.mode.roles
    found = []
    if roles != (Role.DECODE,) and last_hour.ttft is not None:
        found.append(("TTFT", last_hour.ttft, policy.sla.ttft_ms, "requests"))
    if roles != (Role.PREFILL,) and last_hour.itl is not None:
        found.append(("ITL", last_hour.itl, policy.sla.itl_ms, "tokens"))
    return found


def _finding(status: bool | None, reason: Reason, message: str) -> Finding:  # noqa: FBT001 - one of three, positional reads best
    return Finding(type=ConditionType.SLA_MET, status=status, reason=reason, message=message)
