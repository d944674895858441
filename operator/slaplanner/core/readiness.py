"""The condition `Ready`, computed from the others: can the operator plan for this policy?"""

from __future__ import annotations

from collections.abc import Iterable

from slaplanner.core.decision import Finding
from slaplanner.core.reasons import ConditionType, Reason

NEEDED = (ConditionType.TARGET_RESOLVED, ConditionType.PROFILE_LOADED, ConditionType.METRICS_AVAILABLE)
"""Without these nothing can be planned: Ready is False unless each is True."""

HARMFUL = (ConditionType.TARGET_CONFLICT, ConditionType.FALLBACK)
"""Under these the plan is not carried out, or rests on no figures: Ready is False if one is True."""


def compute_ready(findings: Iterable[Finding], *, planned: bool) -> Finding:
    """Ready, with the reason and message of the first condition that is to blame.

    Unknown before the first plan (*planned* False), whatever the others say. Observing, pausing,
    a short budget, a move under way and targets out of reach leave it True: the planner does its
    part. A condition that nobody found counts as Unknown.
    """
    if not planned:
        return _ready(None, Reason.PENDING, "no plan was made yet")
    found = {finding.type: finding for finding in findings}
    for kind in NEEDED:
        finding = found.get(kind)
        if finding is None:
            return _ready(False, Reason.PENDING, f"{kind} is not known yet")
        if finding.status is not True:
            return _ready(False, finding.reason, f"{kind}: {finding.message}")
    for kind in HARMFUL:
        finding = found.get(kind)
        if finding is not None and finding.status is True:
            return _ready(False, finding.reason, f"{kind}: {finding.message}")
    return _ready(True, Reason.PLANNED, "the last plan ran on known figures")


def _ready(status: bool | None, reason: Reason, message: str) -> Finding:  # noqa: FBT001 - one of three, positional reads best
    return Finding(type=ConditionType.READY, status=status, reason=reason, message=message)
