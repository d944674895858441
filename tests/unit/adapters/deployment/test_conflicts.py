"""Which of several policies may scale a role."""

import pytest

from slaplanner.adapters.deployment.conflicts import Claim, policy_rivals
from slaplanner.core.model import Mode, Role
from slaplanner.core.reasons import Reason


def claim(name: str, *, at: int = 0, mode: Mode = Mode.DISAGG, active: bool = True, **more: str) -> Claim:
    return Claim(
        namespace=more.get("namespace", "serving"),
        policy=name,
        uid=more.get("uid", f"uid-{name}"),
        created_at=f"2026-01-01T00:00:{at:02}Z",
        target=more.get("target", "llama"),
        mode=mode,
        active=active,
    )


MINE = claim("mine", at=5)


@pytest.mark.parametrize(
    ("others", "contested"),
    [
        pytest.param([], {}, id="alone"),
        pytest.param([claim("old", at=1)], {Role.PREFILL: "old", Role.DECODE: "old"}, id="older-wins"),
        pytest.param([claim("young", at=9)], {}, id="younger-does-not"),
        pytest.param([claim("a", at=5, uid="uid-a")], {Role.PREFILL: "a", Role.DECODE: "a"}, id="then-uid"),
        pytest.param([claim("z", at=5, uid="uid-z")], {}, id="larger-uid-loses"),
        pytest.param([claim("p", at=1, mode=Mode.PREFILL)], {Role.PREFILL: "p"}, id="only-one-role"),
        pytest.param(
            [claim("p", at=1, mode=Mode.PREFILL), claim("d", at=2, mode=Mode.DECODE)],
            {Role.PREFILL: "p", Role.DECODE: "d"}, id="one-for-each-role",
        ),
        pytest.param([claim("agg", at=1, mode=Mode.AGG)], {}, id="another-role"),
        pytest.param([claim("b", at=2), claim("a", at=1)], {Role.PREFILL: "a", Role.DECODE: "a"}, id="oldest"),
        pytest.param([claim("else", at=1, target="other")], {}, id="another-target"),
        pytest.param([claim("else", at=1, namespace="other")], {}, id="another-namespace"),
        pytest.param([claim("idle", at=1, active=False)], {}, id="one-that-writes-nothing"),
        pytest.param([MINE], {}, id="itself"),
    ],
)  # fmt: skip
def test_who_goes_first(others: list[Claim], contested: dict[Role, str]) -> None:
    rivals = policy_rivals(MINE, others)
    assert {rival.role: rival.name for rival in rivals} == {
        role: f"SLAPolicy {name!r}" for role, name in contested.items()
    }
    assert all(rival.reason is Reason.OTHER_POLICY for rival in rivals)


def test_prefill_and_decode_policies_share_a_deployment() -> None:
    prefill, decode = claim("p", at=1, mode=Mode.PREFILL), claim("d", at=2, mode=Mode.DECODE)
    assert policy_rivals(prefill, [decode]) == policy_rivals(decode, [prefill]) == ()
