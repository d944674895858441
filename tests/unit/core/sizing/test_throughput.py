"""Throughput sizing beside the golden rows: modes, evidence, limits, and what cannot be attained."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.correction import Correction, Factor
from slaplanner.core.errors import ProfileNotFound
from slaplanner.core.model import Interpolation, Mode, Policy, Role, RolePolicy, Sla
from slaplanner.core.profiles import Profile, ProfileTables, build
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing import MeanLoad, Sized
from slaplanner.core.sizing.safe_throughput import safe_throughput_tokens_s
from slaplanner.core.sizing.throughput import size
from tests.profile_data import LLAMA_8B, LLAMA_70B_TP8, MODELLED_70B, measured

PROFILE = build(measured(MODELLED_70B))
GPUS: Mapping[Role, int] = {Role.PREFILL: 4, Role.DECODE: 4, Role.AGG: 4}
DEMAND = MeanLoad(requests_per_interval=1800, isl_tokens=3000, osl_tokens=300)

demands = st.builds(
    MeanLoad,
    requests_per_interval=st.floats(0, 1e6),
    isl_tokens=st.floats(1, 30_000),
    osl_tokens=st.floats(1, 5_000),
)


def _size(
    demand: MeanLoad = DEMAND,
    *,
    mode: Mode = Mode.DISAGG,
    sla: Sla = Sla(ttft_ms=1000, itl_ms=25),  # noqa: B008 - frozen
    floor: int = 1,
    profile: Profile = PROFILE,
    prefill_factor: float = 1.0,
    decode_factor: float = 1.0,
) -> Sized:
    return size(
        policy=Policy(
            mode=mode, sla=sla, roles=tuple(RolePolicy(role=role, min_replicas=floor) for role in mode.roles)
        ),
        profile=profile,
        demand=demand,
        correction=Correction(
            stages={Role.PREFILL: Factor(applied=prefill_factor), Role.DECODE: Factor(applied=decode_factor)}
        ),
        gpus_per_replica=GPUS,
    )


@pytest.mark.parametrize("mode", list(Mode))
def test_each_mode_sizes_its_roles_in_their_order(mode: Mode) -> None:
    assert tuple(sized.role for sized in _size(mode=mode).roles) == mode.roles


@given(demands)
def test_raw_is_load_over_capacity_and_replicas_cover_it(demand: MeanLoad) -> None:
    for sized in _size(demand).roles:
        assert sized.raw == pytest.approx(sized.load_tokens_s / sized.capacity_per_replica_tokens_s)
        assert sized.replicas >= 1
        assert sized.utilisation <= 1 + 1e-8
        assert sized.limit is (Reason.TOO_FEW_REPLICAS if sized.raw == 0 else None)


@given(demands, st.floats(1, 10))
def test_more_requests_never_need_fewer_replicas(demand: MeanLoad, times: float) -> None:
    more = MeanLoad(
        requests_per_interval=demand.requests_per_interval * times,
        isl_tokens=demand.isl_tokens,
        osl_tokens=demand.osl_tokens,
    )
    for less, greater in zip(_size(demand).roles, _size(more).roles, strict=True):
        assert less.replicas <= greater.replicas


@given(demands, st.floats(15, 100), st.floats(1, 3))
def test_a_looser_itl_target_never_needs_more_replicas(demand: MeanLoad, itl: float, times: float) -> None:
    tight, loose = (
        _size(demand, sla=Sla(itl_ms=target)).role(Role.DECODE).replicas for target in (itl, itl * times)
    )
    assert loose <= tight


@given(demands)
def test_agg_needs_what_both_stages_need_before_rounding(demand: MeanLoad) -> None:
    both = sum(sized.raw for sized in _size(demand).roles)
    agg = _size(demand, mode=Mode.AGG).role(Role.AGG)
    assert agg.raw == pytest.approx(both)
    assert agg.load_tokens_s == pytest.approx(agg.raw * agg.capacity_per_replica_tokens_s)


def test_no_load_needs_the_floor_and_says_so() -> None:
    idle = MeanLoad(requests_per_interval=0, isl_tokens=3000, osl_tokens=300)
    for sized in _size(idle, floor=3).roles:
        assert (sized.raw, sized.replicas, sized.limit) == (0, 3, Reason.TOO_FEW_REPLICAS)
        assert sized.utilisation == 0


def test_a_prefix_cache_makes_prefill_cheaper_and_a_queue_does_not_make_it_dearer() -> None:
    plain, cached, queued = (
        _size(prefill_factor=factor).role(Role.PREFILL).raw for factor in (1.0, 0.5, 3.0)
    )
    assert cached == pytest.approx(plain / 2)
    assert queued == plain


def test_a_slower_engine_lowers_the_itl_that_is_sized_for() -> None:
    sla = Sla(itl_ms=18)
    slower = _size(decode_factor=1.2, sla=sla).role(Role.DECODE)
    assert slower.raw > _size(sla=sla).role(Role.DECODE).raw
    assert slower.expected_latency_ms == pytest.approx(18)


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_decode_factor_that_is_not_positive_leaves_the_target_as_it_is(factor: float) -> None:
    assert _size(decode_factor=factor) == _size()


def test_targets_that_no_size_meets_are_said_with_the_best_latency() -> None:
    sized = _size(sla=Sla(ttft_ms=50, itl_ms=5))
    prefill, decode = sized.roles
    assert not prefill.attainable
    assert prefill.message.endswith("best measured latency 175 ms, TTFT target 50 ms at ISL 3,000")
    assert not decode.attainable
    assert decode.message.endswith("best measured latency 10.7 ms, ITL target 5 ms at a context of 3,150")
    assert decode.best_latency_ms > 5


def test_an_agg_worker_answers_for_both_targets() -> None:
    assert _size(mode=Mode.AGG).role(Role.AGG).attainable
    assert not _size(mode=Mode.AGG, sla=Sla(ttft_ms=50, itl_ms=25)).role(Role.AGG).attainable
    assert not _size(mode=Mode.AGG, sla=Sla(ttft_ms=1000, itl_ms=5)).role(Role.AGG).attainable


def test_the_message_carries_the_division() -> None:
    assert _size().role(Role.PREFILL).message == (
        "prefill: 30,000 tokens/s, 17,200 per replica, needs 1.75, rounded up to 2"
    )


def test_where_cubic_reads_negative_throughput_the_floor_holds() -> None:
    """Its 70B table turns negative between short and long contexts."""
    cubic = build(measured(LLAMA_70B_TP8), Interpolation.CUBIC)
    sized = _size(
        MeanLoad(requests_per_interval=100, isl_tokens=23_000, osl_tokens=1751),
        sla=Sla(itl_ms=12.65),
        profile=cubic,
        floor=2,
    ).role(Role.DECODE)
    assert cubic.decode.best(itl_ms=12.65, context_tokens=23_875.5).throughput_per_gpu < 0
    assert (sized.replicas, sized.capacity_per_replica_tokens_s, sized.attainable) == (2, 0.0, False)
    assert sized.utilisation == 0
    assert "no throughput within the targets, so the floor 2" in sized.message


def test_a_profile_without_the_stage_of_a_role_is_refused() -> None:
    prefill_alone = build(ProfileTables(prefill=measured(LLAMA_8B).prefill, decode=None))
    assert _size(mode=Mode.PREFILL, profile=prefill_alone).roles
    with pytest.raises(ProfileNotFound, match="wanted its decode stage"):
        _size(mode=Mode.DECODE, profile=prefill_alone)


@pytest.mark.parametrize("role", list(Role))
def test_safe_throughput_is_what_sizing_counts_on(role: Role) -> None:
    sized = _size(mode=Mode.AGG if role is Role.AGG else Mode.DISAGG).role(role)
    safe = safe_throughput_tokens_s(
        role,
        replicas=3,
        gpus_per_replica=4,
        sla=Sla(ttft_ms=1000, itl_ms=25),
        isl_tokens=DEMAND.isl_tokens,
        osl_tokens=DEMAND.osl_tokens,
        profile=PROFILE,
    )
    assert safe == pytest.approx(3 * sized.capacity_per_replica_tokens_s)


@pytest.mark.parametrize(
    ("role", "sla"),
    [
        pytest.param(Role.PREFILL, Sla(ttft_ms=50), id="prefill-misses-ttft"),
        pytest.param(Role.DECODE, Sla(itl_ms=5), id="decode-misses-itl"),
        pytest.param(Role.AGG, Sla(ttft_ms=50, itl_ms=25), id="agg-misses-one"),
    ],
)
def test_nothing_is_safe_outside_the_targets(role: Role, sla: Sla) -> None:
    safe = safe_throughput_tokens_s(
        role, replicas=3, gpus_per_replica=4, sla=sla, isl_tokens=3000, osl_tokens=300, profile=PROFILE
    )
    assert safe == 0.0
    assert not math.isnan(safe)
