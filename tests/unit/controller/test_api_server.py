"""An API server that rests or starts is told as what it is, and is not asked again at every heartbeat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client.exceptions import ApiException

from slaplanner.adapters.deployment import ApiRefusal, failure_of
from slaplanner.adapters.deployment.failures import Failure
from slaplanner.controller.api_server import FORBIDDEN_AFTER_S, LONGEST_REST_S, ApiServer
from slaplanner.controller.backoff import LONGEST_BASES, READY
from slaplanner.core.errors import ActuationError, PlanningError, TargetError
from slaplanner.core.reasons import Reason
from tests.reconciling import FakeWorld, one_policy, target

MISSING = "missing permission: verb 'get' on 'dynamographdeployments'"


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> ApiServer:
    return ApiServer(clock=clock)


class TestAPermission:
    @pytest.mark.parametrize("kind", [TargetError, ActuationError])
    def test_one_that_is_missing_is_said_at_once(self, server: ApiServer, kind: type[PlanningError]):
        error = kind(MISSING, reason=Reason.FORBIDDEN)
        assert server.explained(error) is error

    @pytest.mark.parametrize("kind", [TargetError, ActuationError])
    def test_a_server_that_was_just_away_may_only_be_starting(
        self, server: ApiServer, clock: Clock, kind: type[PlanningError]
    ):
        server.away()
        error = kind(MISSING, reason=Reason.FORBIDDEN)
        told = server.explained(error)
        assert (type(told), told.reason) == (kind, Reason.API_UNAVAILABLE)
        assert MISSING in str(told)
        clock.now_s += FORBIDDEN_AFTER_S
        assert server.explained(error) is error

    def test_the_same_holds_for_a_refused_status(self, server: ApiServer, clock: Clock):
        server.away()
        refusal = ApiRefusal(Failure(reason=Reason.FORBIDDEN, message=MISSING, status=403))
        assert server.explained_refusal(refusal).failure.reason is Reason.API_UNAVAILABLE
        clock.now_s += FORBIDDEN_AFTER_S
        assert server.explained_refusal(refusal) is refusal

    @pytest.mark.parametrize(
        ("failure", "was_away"),
        [
            pytest.param(OSError("connection refused"), True, id="no-answer"),
            pytest.param(ApiException(status=503), True, id="unavailable"),
            pytest.param(ApiException(status=429), False, id="busy"),
            pytest.param(ApiException(status=409), False, id="conflict"),
            pytest.param(ApiException(status=404), False, id="absent"),
        ],
    )
    def test_it_was_away_when_it_did_not_answer(self, server: ApiServer, failure: Exception, was_away: bool):
        assert isinstance(failure, OSError | ApiException)
        server.explained_refusal(ApiRefusal(failure_of(failure)))
        error = TargetError(MISSING, reason=Reason.FORBIDDEN)
        assert (server.explained(error) is not error) == was_away


class TestRest:
    def refuse(self, server: ApiServer, retry_after: str) -> None:
        answer = ApiException(status=429, reason="Too Many Requests")
        answer.headers = {"Retry-After": retry_after}
        error = TargetError("busy", reason=Reason.API_UNAVAILABLE)
        error.__cause__ = ApiRefusal(failure_of(answer))
        server.explained(error)

    def test_the_server_gets_the_rest_that_it_asks_for(self, server: ApiServer, clock: Clock):
        self.refuse(server, "7")
        clock.now_s += 6.9
        assert server.resting()
        clock.now_s += 0.2
        assert not server.resting()

    def test_nobody_is_kept_waiting_for_long(self, server: ApiServer, clock: Clock):
        self.refuse(server, "99999")
        clock.now_s += LONGEST_REST_S
        assert not server.resting()

    @given(text=st.text(max_size=12))
    def test_anything_else_than_seconds_is_no_rest(self, text: str):
        server = ApiServer(clock=Clock())
        self.refuse(server, text)
        assert server.resting() == (text.isascii() and text.isdigit() and 0 < int(text) < 100_000)


async def test_nobody_asks_a_server_that_rests_and_the_policies_count_as_tried():
    one = one_policy()
    clock = Clock()
    one.world.api_server.clock = clock
    one.reconciler.liveness.clock = clock
    TestRest().refuse(one.world.api_server, "7")
    await one.tick()
    assert (one.world.looks, one.world.orders) == (0, [])
    clock.now_s += 8
    await one.tick()
    assert len(one.world.orders) == 1


async def test_an_api_server_that_is_away_is_asked_less_and_less():
    """Per policy, over twenty heartbeats; each asked at every one of them before."""
    world = FakeWorld(TargetError("no answer", reason=Reason.API_UNAVAILABLE))
    one = one_policy(world)
    await one.tick()
    world.looks = 0
    for _ in range(20):
        world.time_s += one.reconciler.settings.heartbeat_s
        await one.tick()
    assert 2 <= world.looks <= 9
    world.target = target()
    for _ in range(int(LONGEST_BASES)):
        world.time_s += one.reconciler.settings.heartbeat_s
        await one.tick()
    assert len(world.orders) == 1


async def test_a_status_that_is_refused_is_written_less_and_less():
    one = one_policy()
    await one.tick()
    one.record.report = replace(one.record.report, unwritten={"observedGeneration": 2})
    one.world.refusal = ApiRefusal(Failure(reason=Reason.API_UNAVAILABLE, message="busy", status=429))
    tries = 0
    for _ in range(20):
        one.world.time_s += one.reconciler.settings.heartbeat_s
        before = one.record.report.retry
        await one.tick()
        tries += one.record.report.retry is not before
    assert 2 <= tries <= 9


@given(
    base_s=st.floats(0.01, 100.0),
    fractions=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
)
def test_pauses_grow_to_a_limit_and_differ_between_policies(base_s: float, fractions: list[float]):
    now_s, backoff, pauses = 0.0, READY, []
    for fraction in fractions:
        backoff = backoff.failed(now_s=now_s, base_s=base_s, fraction=lambda fraction=fraction: fraction)
        pauses.append(backoff.not_before_s - now_s)
        assert base_s / 2 <= pauses[-1] * 1.000001
        assert pauses[-1] <= LONGEST_BASES * base_s * 1.000001
        assert not backoff.over(now_s=now_s)
        now_s = backoff.not_before_s
        assert backoff.over(now_s=now_s)
    assert all(later >= 0.49 * earlier for earlier, later in pairwise(pauses))
