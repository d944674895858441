"""The random scenarios of `make bench-robust`, small ones, and the table that it prints of them."""

from __future__ import annotations

import pytest
from benchmarks import robust
from benchmarks.robust_page import page
from benchmarks.robust_scenarios import Draw, draw, scenario_of
from benchmarks.robust_table import Answer, Case, table
from hypothesis import given
from hypothesis import strategies as st

from slaplanner_lab.rivals import compare

TINY = 600


def test_a_seed_gives_one_scenario_and_its_promise_can_be_kept() -> None:
    for seed in (0, 1, 2, 1000):
        drawn = draw(seed)
        assert drawn == draw(seed)
        scenario, loaded = scenario_of(drawn, most_requests=TINY)
        again, _ = scenario_of(drawn, most_requests=TINY)
        assert scenario.traffic.arrival_s.tolist() == again.traffic.arrival_s.tolist()
        assert 0 < len(scenario.traffic) <= 1.2 * TINY
        alone_ms = scenario.tables.ttft_at(scenario.traffic.isl_tokens)
        assert (alone_ms <= scenario.policy.sla.ttft_ms).mean() > 0.995
        assert scenario.tables.itl_ms[0, 0] < scenario.policy.sla.itl_ms
        assert loaded.profile.prefill.ttft_ms(1000.0) * drawn.error.prefill == pytest.approx(
            float(scenario.tables.ttft_at(scenario.traffic.isl_tokens[:1] * 0 + 1000.0)[0]), rel=0.05
        )


def test_two_tiny_scenarios_with_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (robust, "HPA_TARGETS", (0.5,)),
        (robust, "SLO_BANDS", (0.7,)),
        (compare, "REACT_S", 60.0),
        (compare, "TOKEN_BACKLOGS", (1.0,)),
        (compare, "TOKEN_KV_USAGES", (0.8,)),
        (compare, "CLAIRVOYANT_UTILISATIONS", (0.8,)),
    ):
        monkeypatch.setattr(module, name, value)
    cases = [robust.answers(seed, rivals=True, most_requests=TINY) for seed in (1000, 1001)]
    for case in cases:
        assert list(case.answers) == [
            robust.OURS, robust.OURS_FINE, robust.HPA, robust.SLO, robust.TOKENS, robust.FORMULAS, robust.CLAIRVOYANT,
        ]  # fmt: skip
        for answer in case.answers.values():
            assert 0.0 <= answer.attained <= 100.0
            assert answer.gpu_hours > 0.0
            assert set(answer.most) == {"prefill", "decode"}
    printed = table(cases)
    assert "seeds\n1000 to 1001" in page(cases, printed, command="x")
    assert printed in page(cases, printed, command="x")


def case(*answers: tuple[float, float, int]) -> Case:
    """Attainment, GPU-hours and most prefill replicas of everybody, the planner's two first, the clairvoyant last."""
    names = ["ours", "ours, fine", "HPA", "clairvoyant"]
    return Case(
        drawn=DRAWN,
        promised=99.0,
        requests=1,
        ttft_ms=500.0,
        itl_ms=20.0,
        answers={
            name: Answer(attained=attained, gpu_hours=hours, most={"prefill": most}, kept=attained >= 99.0)
            for name, (attained, hours, most) in zip(names, answers, strict=True)
        },
    )


DRAWN: Draw = draw(0)


def row(printed: str, name: str, *, at: int = 0) -> list[str]:
    """The figures of the *at*-th line that begins with *name*."""
    lines = [line for line in printed.splitlines() if line.startswith(f"{name} ")]
    return lines[at][33:].split()


def test_the_table_counts_what_is_kept_and_by_which_rule() -> None:
    hopeless = case((97.0, 1.0, 1), (95.0, 1.0, 1), (96.0, 9.0, 1), (99.5, 1.0, 1))
    kept = case((99.0, 2.0, 5), (100.0, 3.0, 4), (99.2, 4.0, 1), (100.0, 1.0, 2))
    printed = table([hopeless, kept])
    assert row(printed, "ours")[:3] == ["50", "100", "97.00"]
    assert row(printed, "ours, fine")[:3] == ["50", "50", "95.00"]
    assert row(printed, "HPA")[:3] == ["50", "100", "96.00"]
    assert row(printed, "HPA", at=1)[:3] == ["0.50", "(0.50),", "1"]
    assert row(printed, "clairvoyant", at=1)[:3] == ["2.00", "(2.00),", "1"]
    assert row(printed, "ours", at=1) == ["1.25", "1"]


@given(
    attained=st.lists(
        st.tuples(*[st.tuples(st.floats(0.0, 100.0), st.floats(0.1, 1e3), st.integers(1, 99))] * 4),
        min_size=1,
        max_size=5,
    )
)
def test_any_outcome_can_be_printed(attained: list[tuple[tuple[float, float, int], ...]]) -> None:
    cases = [case(*answers) for answers in attained]
    assert len(table(cases).splitlines()) >= len(cases) + len(cases[0].answers)
