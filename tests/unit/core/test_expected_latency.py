"""What a decided size should show: mean latencies that the profile and the load agree on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.expected_latency import expectations, expected_itl_ms, expected_ttft_ms
from slaplanner.core.model import Interpolation, Mode, Policy, Role
from slaplanner.core.profiles import Profile, build
from slaplanner_lab.planner import Interval, Planner
from tests.profile_data import MODELLED_70B, measured

PROFILES = {kind: build(measured(MODELLED_70B), interpolation=kind) for kind in Interpolation}
PROFILE = PROFILES[Interpolation.MONOTONE]
ISL, OSL = 3000.0, 300.0
CONTEXT = ISL + OSL / 2

rates = st.floats(0.0, 200.0)
counts = st.integers(1, 40)
factors = st.floats(0.25, 4.0)


def itl_ms(
    requests_s: float, replicas: int, *, factor: float = 1.0, profile: Profile = PROFILE
) -> float | None:
    return expected_itl_ms(
        replicas=replicas,
        requests_per_s=requests_s,
        isl_tokens=ISL,
        osl_tokens=OSL,
        profile=profile,
        factor=factor,
    )


def ttft_ms(requests_s: float, replicas: int) -> float | None:
    return expected_ttft_ms(
        replicas=replicas, gpus_per_replica=4, requests_per_s=requests_s, isl_tokens=ISL, profile=PROFILE
    )


@given(rates, counts, factors, st.sampled_from(list(Interpolation)))
def test_a_replica_holds_what_arrives_while_it_writes(
    requests_s: float, replicas: int, factor: float, kind: Interpolation
) -> None:
    """Little's law, read back: the ITL at the concurrency that this ITL makes is this ITL."""
    found = itl_ms(requests_s, replicas, factor=factor, profile=PROFILES[kind])
    decode = PROFILES[kind].decode
    most = decode.max_kv_tokens / CONTEXT
    if found is None:
        full_ms = factor * decode.itl_ms(concurrency=most, context_tokens=CONTEXT)
        assert requests_s / replicas * OSL * full_ms / 1e3 > most
    else:
        concurrency = requests_s / replicas * OSL * found / 1e3
        assert factor * decode.itl_ms(concurrency=concurrency, context_tokens=CONTEXT) == pytest.approx(
            found, rel=1e-3
        )


@given(rates, counts)
def test_more_replicas_never_make_answers_slower(requests_s: float, replicas: int) -> None:
    for latency in (itl_ms, ttft_ms):
        few, many = latency(requests_s, replicas), latency(requests_s, replicas + 1)
        if few is not None:
            assert many is not None
            assert many <= few * (1 + 1e-9)


def test_without_load_the_latencies_are_the_lightest() -> None:
    assert itl_ms(0.0, 1) == pytest.approx(PROFILE.decode.lowest_itl_ms(CONTEXT))
    assert ttft_ms(0.0, 1) == pytest.approx(PROFILE.prefill.ttft_ms(ISL))


def test_a_load_beyond_what_fits_has_no_latency() -> None:
    assert (itl_ms(1e6, 1), ttft_ms(1e6, 1)) == (None, None)
    assert (itl_ms(1.0, 0), ttft_ms(1.0, 0)) == (None, None)


@pytest.mark.parametrize("mode", list(Mode))
def test_each_role_is_expected_to_show_what_its_desired_size_gives(mode: Mode) -> None:
    policy = Policy(mode=mode, interval_s=60.0)
    plan = Planner(policy=policy, profile=PROFILE)(Interval(requests=1200.0, isl_tokens=ISL, osl_tokens=OSL))
    found = {each.role: each for each in expectations(plan.decision, policy=policy, profile=PROFILE)}
    assert list(found) == list(mode.roles)
    assert plan.decision.demand is not None
    rate = plan.decision.demand.requests_per_interval / 60.0
    for role, each in found.items():
        (decided,) = (one for one in plan.decision.roles if one.role is role)
        assert decided.sized is not None
        assert each.utilisation == pytest.approx(
            decided.sized.load_tokens_s / (decided.desired * decided.sized.capacity_per_replica_tokens_s)
        )
        assert each.itl_ms == (None if role is Role.PREFILL else pytest.approx(itl_ms(rate, decided.desired)))
        told = expected_ttft_ms(
            replicas=decided.desired,
            gpus_per_replica=1,
            requests_per_s=rate,
            isl_tokens=ISL,
            profile=PROFILE,
        )
        assert each.ttft_ms == (None if role is Role.DECODE else pytest.approx(told))


def test_nothing_is_expected_while_the_load_is_unknown() -> None:
    plan = Planner(policy=Policy(), profile=PROFILE)(Interval(requests=None))
    assert expectations(plan.decision, policy=Policy(), profile=PROFILE) == ()
