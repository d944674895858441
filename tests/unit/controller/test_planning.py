"""One plan, from the look at the target to the write: what fails becomes a finding, and the rest goes on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from slaplanner.adapters.deployment import TargetState
from slaplanner.adapters.profiles import LoadedProfile
from slaplanner.adapters.prometheus import nothing_known
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.outside.ports import TrafficReading
from slaplanner.core.errors import MetricsError, PlanningError, ProfileNotFound, TargetError
from slaplanner.core.reasons import Reason
from tests.reconciling import FakeWorld, OnePolicy, document, one_policy, target

SILENT = MetricsError("Prometheus does not answer")
STATIC = {
    "fallback": {"after": 2, "mode": "Static"},
    "roles": [{"name": "prefill", "fallbackReplicas": 5}, {"name": "decode", "fallbackReplicas": 6}],
}


@dataclass(slots=True)
class TroubledWorld(FakeWorld):
    """A world in which one question has no answer."""

    no_model: PlanningError | None = None
    no_profile: PlanningError | None = None
    no_metrics: MetricsError | None = None

    async def model(self, policy: SLAPolicy, target: TargetState) -> str:
        if self.no_model is not None:
            raise self.no_model
        return await FakeWorld.model(self, policy, target)

    async def profile(self, policy: SLAPolicy, *, version: str | None = None) -> LoadedProfile:
        if self.no_profile is not None:
            raise self.no_profile
        return await FakeWorld.profile(self, policy, version=version)

    async def traffic(self, *arguments: object, **options: object) -> TrafficReading:
        if self.no_metrics is not None:
            return TrafficReading(observation=nothing_known(self.no_metrics, window_s=60.0))
        return await FakeWorld.traffic(self, *arguments, **options)


def plans(one: OnePolicy, count: int = 1) -> None:
    """Let that many intervals pass."""

    async def run() -> None:
        for _ in range(count):
            await one.tick()
            one.world.time_s += 3600.0

    asyncio.run(run())


def condition(one: OnePolicy, kind: str) -> tuple[str, str, str]:
    status = one.record.report.status
    assert status is not None
    (found,) = [entry for entry in status["conditions"] if entry["type"] == kind]
    return found["status"], found["reason"], found["message"]


def asked(one: OnePolicy) -> list[dict[str, int]]:
    return [{str(role): count for role, count in order.items()} for order in one.world.orders]


@pytest.mark.parametrize("trouble", [{"no_metrics": SILENT}, {"no_model": SILENT}], ids=["load", "model"])
def test_a_silent_prometheus_holds_and_then_falls_back_whichever_question_it_left_open(
    trouble: dict[str, Any],
):
    one = one_policy(TroubledWorld(target(), **trouble), document(**STATIC))
    plans(one)
    assert condition(one, "MetricsAvailable") == ("False", "PrometheusUnavailable", str(SILENT))
    assert condition(one, "TargetResolved")[0] == "True"
    assert asked(one) == []
    plans(one)
    assert condition(one, "Fallback")[:2] == ("True", "FallbackStatic")
    assert asked(one) == [{"prefill": 5, "decode": 6}]


def test_a_model_that_nobody_names_is_a_target_that_is_not_resolved():
    nameless = TargetError("no argument names the model", reason=Reason.MODEL_NOT_FOUND)
    one = one_policy(TroubledWorld(target(), no_model=nameless), document(**STATIC))
    plans(one, 3)
    assert condition(one, "TargetResolved")[:2] == ("False", "ModelNotFound")
    assert condition(one, "Ready")[:2] == ("False", "ModelNotFound")
    assert asked(one) == []


def test_traffic_is_told_while_the_profile_is_missing():
    one = one_policy(TroubledWorld(target(), no_profile=ProfileNotFound("no ConfigMap")))
    plans(one)
    assert condition(one, "ProfileLoaded")[:2] == ("False", "ProfileNotFound")
    assert condition(one, "MetricsAvailable")[:2] == ("True", "MetricsRead")
    assert asked(one) == []


def test_unreadable_gpus_are_planned_with_as_soon_as_they_are_known():
    unreadable = target()
    roles = tuple(replace(role, gpus_per_replica=None) for role in unreadable.fleet.roles)
    one = one_policy(FakeWorld(replace(unreadable, fleet=replace(unreadable.fleet, roles=roles))))
    plans(one)
    status, reason, message = condition(one, "TargetResolved")
    assert (status, reason) == ("False", "GPUsUnknown")
    assert "prefill, decode" in message
    assert asked(one) == []
    one.world.moved(fleet=target().fleet)
    asyncio.run(one.tick())
    asyncio.run(one.tick())
    assert condition(one, "TargetResolved")[0] == "True"
    assert len(asked(one)) == 1
