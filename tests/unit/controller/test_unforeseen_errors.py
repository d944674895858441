"""No silent end: whatever nobody foresaw is a condition, counts for the fallback, and is logged once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.deployment import Rivals, ScalingOutcome, TargetState
from slaplanner.adapters.profiles import LoadedProfile
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller import planning
from slaplanner.controller.outside.ports import TrafficReading
from slaplanner.controller.unforeseen_errors import DefectLog
from slaplanner.core.forecast import service
from slaplanner.core.model import Role
from slaplanner.core.readings import Known, Series
from tests.planning import fleet, observation
from tests.reconciling import FakeWorld, OnePolicy, document, one_policy, target

HOUR_S = 3600.0
STATIC = {
    "fallback": {"after": 3, "mode": "Static"},
    "roles": [
        {"name": "prefill", "fallbackReplicas": 7},
        {"name": "decode", "fallbackReplicas": 5},
    ],
}


@dataclass(slots=True)
class BreakingWorld(FakeWorld):
    """Raises something unforeseen in the step named `at`."""

    at: str = ""
    kind: type[Exception] = OverflowError
    requests: float | None = None
    """What Prometheus says instead of breaking."""
    broken: list[str] = field(default_factory=list)

    def _maybe_break(self, step: str) -> None:
        if step == self.at:
            self.broken.append(step)
            raise self.kind(f"odd numbers in {step}")

    async def look(self, policy: SLAPolicy) -> TargetState:
        self._maybe_break("look")
        return await FakeWorld.look(self, policy)

    async def rivals(self, policy: SLAPolicy, target: TargetState) -> Rivals:
        self._maybe_break("rivals")
        return await FakeWorld.rivals(self, policy, target)

    async def profile(self, policy: SLAPolicy, *, version: str | None = None) -> LoadedProfile:
        self._maybe_break("profile")
        return await FakeWorld.profile(self, policy, version=version)

    async def traffic(self, *arguments: object, **options: object) -> TrafficReading:
        self._maybe_break("traffic")
        return await FakeWorld.traffic(self, *arguments, **options)

    async def scale(self, *arguments: Any, **options: Any) -> ScalingOutcome:
        self._maybe_break("scale")
        return await FakeWorld.scale(self, *arguments, **options)


def plan(one: OnePolicy) -> Mapping[str, Any]:
    """The conditions after one more plan, by type."""
    one.world.time_s += HOUR_S
    asyncio.run(one.tick())
    status = one.record.report.status
    assert status is not None
    return {entry["type"]: entry for entry in status["conditions"]}


@pytest.mark.parametrize("kind", [OverflowError, IndexError, ValueError, ZeroDivisionError, RecursionError])
@pytest.mark.parametrize(
    ("step", "condition"),
    [
        ("look", "TargetResolved"),
        ("rivals", "TargetResolved"),
        ("profile", "ProfileLoaded"),
        ("traffic", "MetricsAvailable"),
        ("scale", "TargetResolved"),
    ],
)
def test_each_step_that_breaks_says_so_and_plans_go_on(step: str, condition: str, kind: type[Exception]):
    one = one_policy(BreakingWorld(target(), at=step, kind=kind), document())
    told = plan(one)
    assert (told[condition]["status"], told[condition]["reason"]) == ("False", "InternalError")
    assert kind.__name__ in told[condition]["message"]
    assert told["Ready"]["status"] == "False"
    one.world.at = ""  # type: ignore[attr-defined]
    assert plan(one)["Ready"]["status"] == "True"


@pytest.mark.parametrize("step", ["profile", "traffic"])
def test_the_users_fallback_begins_in_time(step: str):
    one = one_policy(BreakingWorld(target(), at=step), document(**STATIC))
    for count in range(1, 4):
        told = plan(one)
        assert told["Fallback"]["status"] == ("True" if count == 3 else "False")
    assert one.world.orders == [{Role.PREFILL: 7, Role.DECODE: 5}]


def test_a_decision_that_breaks_holds_and_the_fallback_counts_it(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise OverflowError("(34, 'Numerical result out of range')")

    one = one_policy(FakeWorld(target()), document(**STATIC))
    monkeypatch.setattr(planning, "decide", broken)
    told = plan(one)
    assert told["MetricsAvailable"]["reason"] == "InternalError"
    assert one.record.memory.state is not None
    assert one.record.memory.state.failures == 1
    plan(one)
    assert plan(one)["Fallback"]["status"] == "True"
    assert one.world.orders == [{Role.PREFILL: 7, Role.DECODE: 5}]


def test_a_memory_that_breaks_every_decision_is_dropped(monkeypatch: pytest.MonkeyPatch):
    real = planning.decide

    def needs_a_fresh_memory(state: Any, *rest: Any, **options: Any) -> Any:
        if state.lengths is not None:
            raise KeyError("poisoned")
        return real(state, *rest, **options)

    def broken(*_: object, **__: object) -> None:
        raise KeyError("poisoned")

    one = one_policy()
    plan(one)
    monkeypatch.setattr(planning, "decide", needs_a_fresh_memory)
    monkeypatch.setattr(planning, "hold", broken)
    assert plan(one)["MetricsAvailable"]["reason"] == "InternalError"
    assert plan(one)["Ready"]["status"] == "True"


def test_a_traceback_is_logged_once(caplog: pytest.LogCaptureFixture):
    one = one_policy(BreakingWorld(target(), at="traffic"), document())
    for _ in range(4):
        plan(one)
    one.world.at = "profile"  # type: ignore[attr-defined]
    for _ in range(4):
        plan(one)
    told = [entry for entry in caplog.records if entry.message == "defect, told once"]
    assert len(told) == 1, "both break in the same line"
    assert told[0].exc_info is not None
    assert len([entry for entry in caplog.records if entry.levelno >= logging.ERROR]) == 1


def test_a_forecaster_that_breaks_is_logged_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object, **__: object) -> None:
        raise TypeError("a programming error")

    monkeypatch.setattr(service, "_advanced", broken)
    one = one_policy()
    told = plan(one)
    assert told["ForecastAvailable"]["reason"] == "ForecastFailed"
    assert told["Ready"]["status"] == "True"
    plan(one)
    (entry,) = [entry for entry in caplog.records if entry.message == "defect, told once"]
    assert "a programming error" in str(entry.exc_info)


def test_a_flood_of_kinds_is_bounded():
    log = DefectLog()
    for number in range(5000):
        log.tell(ValueError("x"), policy=f"serving/{number}", doing="planning")
    assert len(log._told) <= 1000


ODD = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -1.0, -1e308, 1e308, 5e-324, float("inf"), float("nan"), 1e300]),
)


@given(
    requests=st.floats(0.0, allow_infinity=False, allow_nan=False),
    lengths=st.tuples(
        st.floats(0.0, allow_infinity=False, allow_nan=False),
        st.floats(0.0, allow_infinity=False, allow_nan=False),
    ),
    arrivals=st.lists(ODD, max_size=8),
    history=st.lists(ODD, max_size=8),
)
def test_odd_numbers_never_end_a_plan_in_silence(
    requests: float, lengths: tuple[float, float], arrivals: list[float], history: list[float]
):
    """Every plan ends with conditions, and no role grows beyond the administrator's ceiling."""

    @dataclass(slots=True)
    class Odd(FakeWorld):
        async def traffic(self, *_: object, **options: Any) -> TrafficReading:
            told = Series(
                end_s=options["end_s"],
                step_s=HOUR_S,
                requests=tuple(history),
                isl_tokens=tuple(history),
                osl_tokens=tuple(history),
            )
            seen = observation(
                Known(requests),
                isl_tokens=Known(lengths[0]),
                osl_tokens=Known(lengths[1]),
                arrivals=tuple(arrivals),
                arrivals_step_s=1.0,
                history=told,
            )
            return TrafficReading(observation=seen)

    one = one_policy(Odd(target(fleet=fleet(1, 1))), document())
    told = plan(one)
    assert told["Ready"]["status"] in {"True", "False"}
    for order in one.world.orders:
        assert all(1 <= count <= 100 for count in order.values())


class TestTheCeiling:
    """Of the administrator, where the user set neither a budget nor a limit."""

    FLOOD = 1e9 * HOUR_S

    def orders(self, requests: float = FLOOD, *, running: int = 1, **spec: Any) -> tuple[OnePolicy, Any]:
        @dataclass(slots=True)
        class Flood(FakeWorld):
            async def traffic(self, *_: object, **__: object) -> TrafficReading:
                return TrafficReading(observation=observation(requests))

        one = one_policy(Flood(target(running, running)), document(**spec), replica_ceiling=40)
        told = plan(one)
        return one, told

    def test_it_stops_a_prometheus_that_reports_nonsense_and_is_named(self):
        one, told = self.orders()
        assert one.world.orders == [{Role.PREFILL: 40, Role.DECODE: 40}]
        limited = told["BudgetLimited"]
        assert (limited["status"], limited["reason"]) == ("True", "ReplicaCeiling")
        assert "replicaCeiling" in limited["message"]
        assert "40 replicas" in limited["message"]

    def test_it_never_shrinks_a_role(self):
        one, _ = self.orders(running=60)
        assert one.world.orders == []

    def test_the_users_limits_replace_it(self):
        one, told = self.orders(
            roles=[{"name": "prefill", "maxReplicas": 90}, {"name": "decode", "maxReplicas": 70}]
        )
        assert one.world.orders == [{Role.PREFILL: 90, Role.DECODE: 70}]
        assert told["BudgetLimited"]["reason"] == "NoBudget"

    def test_so_does_a_budget(self):
        one, told = self.orders(gpuBudget={"max": 300})
        (order,) = one.world.orders
        assert max(order.values()) > 40
        assert told["BudgetLimited"]["reason"] == "BudgetExceeded"

    def test_a_role_without_a_limit_is_cut_beside_one_that_has_one(self):
        one, told = self.orders(roles=[{"name": "prefill", "maxReplicas": 90}])
        assert one.world.orders == [{Role.PREFILL: 90, Role.DECODE: 40}]
        assert told["BudgetLimited"]["reason"] == "ReplicaCeiling"
