"""Which policy may scale a role, when several want to.

Conflict is per role: a `prefill` and a `decode` policy may share a deployment. Over a role that two
policies plan, the older one wins, then the smaller uid: an order that every operator, restarted or
not, finds again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slaplanner.adapters.deployment.connector import Rival
from slaplanner.core.model import Mode
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A policy and what it wants to scale."""

    namespace: str
    policy: str
    uid: str
    created_at: str
    """creationTimestamp (RFC 3339, UTC, whole seconds: it sorts as text)."""
    target: str
    mode: Mode
    active: bool = True
    """False while the policy is being deleted, only observes, or has another connector: it then
    writes to no deployment and stands in nobody's way."""


def policy_rivals(mine: Claim, others: Iterable[Claim]) -> tuple[Rival, ...]:
    """The policies that go before *mine* on the same target, one entry per contested role."""
    earlier = sorted(
        (
            other
            for other in others
            if other.active
            and other.uid != mine.uid
            and (other.namespace, other.target) == (mine.namespace, mine.target)
            and _seniority(other) < _seniority(mine)
        ),
        key=_seniority,
    )
    rivals = []
    for role in mine.mode.roles:
        winner = next((other for other in earlier if role in other.mode.roles), None)
        if winner is not None:
            rivals.append(Rival(reason=Reason.OTHER_POLICY, name=f"SLAPolicy {winner.policy!r}", role=role))
    return tuple(rivals)


def _seniority(claim: Claim) -> tuple[str, str]:
    return (claim.created_at, claim.uid)
