"""What the operator does when Prometheus fails, says nothing, or says that nothing is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.gateway import HttpDoor, Manner, not_numbers
from tests.operator_program import OperatorProgram, install_operator, running_operator
from tests.played_load import PREFIX, Load
from tests.scene import MODEL, NAME, Scene, policy
from tests.testbed import Cluster, PrometheusServer, Served, Target, install_dynamo
from tests.timelines import Page

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill and 2 decode replicas."""
QUIET = Load(requests_s=5.0)
"""One replica of each is enough."""
MANY = {"prefill": 4, "decode": 3}
FALLBACK_REPLICAS = [
    {"name": "prefill", "fallbackReplicas": 2},
    {"name": "decode", "fallbackReplicas": 5},
]

Serve = Callable[..., Scene]


@pytest.fixture(scope="module")
def door(prometheus_server: PrometheusServer) -> Iterator[HttpDoor]:
    """Stands before Prometheus, for the policies that ask through it."""
    with HttpDoor(prometheus_server.url) as door:
        yield door


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster,
    prometheus_server: PrometheusServer,
    door: HttpDoor,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OperatorProgram]:
    """Knows Prometheus directly, and through the door."""
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    gated = {"url": door.url}
    connections = {"default": {"url": prometheus_server.url}, "gated": gated}
    scratch = tmp_path_factory.mktemp("operator")
    with running_operator(cluster, scratch, prometheus=None, settings={"prometheus": connections}) as program:
        yield program


def gated(**spec: object) -> dict[str, object]:
    """A policy that asks through the door."""
    return policy(metrics={"windowSeconds": 5, "connection": "gated"}, **spec)


def break_down(door: HttpDoor, manner: Manner | None) -> None:
    if manner is None:
        door.close()
    else:
        door.behave(manner)


@pytest.mark.parametrize(
    ("manner", "reason", "message"),
    [
        pytest.param(None, "PrometheusUnavailable", "refused", id="nobody-listens"),
        pytest.param(
            Manner(silent=True),
            "PrometheusUnavailable",
            "did not answer within 4 s",
            id="slower-than-the-time-out",
        ),
        pytest.param(Manner(status=500), "PrometheusUnavailable", "500", id="500"),
        pytest.param(Manner(status=429), "PrometheusUnavailable", "429", id="429-asks-for-patience"),
        pytest.param(Manner(status=422), "PrometheusRejected", "422", id="422-is-our-mistake"),
        pytest.param(Manner(status=403), "PrometheusRejected", "the door is shut", id="403-with-its-text"),
        pytest.param(Manner(bend=not_numbers), "NotANumber", "nan", id="not-a-number"),
        pytest.param(
            Manner(bend=lambda _: b"<html>"),
            "PrometheusUnavailable",
            "answered something that is not JSON",
            id="not-json",
        ),
    ],
)
def test_a_failed_question_holds_what_runs_until_it_is_answered_again(
    served_scene: Serve, door: HttpDoor, manner: Manner | None, reason: str, message: str
) -> None:
    scene = served_scene(QUIET, replicas=MANY)
    try:
        break_down(door, manner)
        scene.apply(gated())
        said = scene.wait_condition("MetricsAvailable", "False", reason, message=message)
        assert said["message"].startswith("connection 'gated': ") or reason == "NotANumber"
        assert scene.condition("Ready")["reason"] == reason
        assert scene.condition("Ready")["status"] == "False"
        assert scene.status()["lastDecision"]["reason"] == "HoldUnknown"
        assert scene.replicas() == MANY
    finally:
        door.open()
    scene.annotate("slaplanner.io/plan-requested-at=healed")
    scene.wait_condition("MetricsAvailable", "True", "MetricsRead")
    scene.wait_replicas(prefill=1, decode=1)
    scene.wait_condition("Ready", "True")


@pytest.mark.parametrize(
    ("mode", "reason", "replicas"),
    [
        pytest.param("Hold", "FallbackHold", MANY, id="hold-changes-nothing"),
        pytest.param("Static", "FallbackStatic", {"prefill": 2, "decode": 5}, id="static-goes-either-way"),
        pytest.param(
            "CurrentIfHigher",
            "FallbackCurrentIfHigher",
            {"prefill": 4, "decode": 5},
            id="current-if-higher-only-grows",
        ),
    ],
)
def test_enough_failures_in_a_row_start_the_fallback_and_an_answer_ends_it(
    served_scene: Serve, door: HttpDoor, mode: str, reason: str, replicas: dict[str, int]
) -> None:
    scene = served_scene(QUIET, replicas=MANY)
    try:
        door.behave(Manner(status=503))
        scene.apply(gated(fallback={"after": 2, "mode": mode}, roles=FALLBACK_REPLICAS))
        scene.wait_condition("MetricsAvailable", "False", "PrometheusUnavailable")
        # One document, so that a plan between two looks cannot mix the first with the second.
        status = scene.status()
        if status["lastDecision"]["id"] == 1:
            fallback = next(one for one in status["conditions"] if one["type"] == "Fallback")
            assert fallback["message"] == "1 of 2 failed observations in a row"
            assert {role["name"]: role["desired"] for role in status["roles"]} == MANY
        scene.annotate("slaplanner.io/plan-requested-at=again")
        said = scene.wait_condition("Fallback", "True", reason)
        scene.wait_replicas(**replicas)
        assert f"prefill {replicas['prefill']}, decode {replicas['decode']}" in said["message"]
        assert scene.condition("Ready")["status"] == "False"
    finally:
        door.open()
    scene.settle()
    scene.annotate("slaplanner.io/plan-requested-at=healed")
    scene.wait_condition("Fallback", "False", "NotInFallback")
    scene.wait_replicas(prefill=1, decode=1)
    told = {event["involvedObject"]["kind"]: event["message"] for event in scene.events(reason)}
    assert told.keys() == {"SLAPolicy", "DynamoGraphDeployment"}
    assert told["SLAPolicy"].startswith("Fallback is True: ")


def test_a_connection_that_nobody_configured_is_an_observation_that_failed(served_scene: Serve) -> None:
    scene = served_scene(QUIET, replicas=MANY)
    metrics = {"windowSeconds": 5, "connection": "elsewhere"}
    scene.apply(policy(metrics=metrics, fallback={"after": 1}))
    said = scene.wait_condition("MetricsAvailable", "False", "ConnectionUnknown", message="'elsewhere'")
    assert "default, gated" in said["message"]
    scene.wait_condition("Fallback", "True", "FallbackHold")
    assert scene.replicas() == MANY


def test_an_idle_frontend_is_a_true_zero(served_scene: Serve) -> None:
    scene = served_scene(Load(requests_s=0.0), replicas=MANY)
    scene.apply(policy())
    scene.wait_condition("MetricsAvailable", "True", "Idle", message="no request arrived in the last 5 s")
    scene.wait_replicas(prefill=1, decode=1)


def test_a_new_frontend_that_only_registered_its_model_is_a_true_zero(
    served_scene: Serve, prometheus_server: PrometheusServer
) -> None:
    scene = served_scene(None, replicas=MANY)
    labels = f'model="{MODEL.lower()}",dynamo_namespace="{scene.dynamo_namespace}"'
    with Page(f"{PREFIX}model_context_length{{{labels}}} 131072\n") as page:
        target = Target(job=scene.namespace, address=page.address)
        prometheus_server.add_target(target)
        scene.apply(policy())
        scene.wait_condition("MetricsAvailable", "True", "Idle")
        scene.wait_replicas(prefill=1, decode=1)
        prometheus_server.remove_target(target)


def test_series_under_other_labels_are_named_and_change_nothing(served_scene: Serve) -> None:
    scene = served_scene(BUSY, replicas=MANY)
    metrics = {"windowSeconds": 5, "model": "meta/llama-7b"}
    scene.apply(policy(metrics=metrics))
    ours = f"{{model='meta/llama-70b', dynamo_namespace='{scene.dynamo_namespace}'}}"
    scene.wait_condition("MetricsAvailable", "False", "SeriesUnderOtherLabels", message=ours)
    assert scene.condition("Ready")["reason"] == "SeriesUnderOtherLabels"
    scene.wait_plans()
    assert scene.replicas() == MANY
    scene.patch("slapolicy", NAME, {"spec": {"metrics": {"model": "Meta/Llama-70B"}}})
    scene.wait_condition("MetricsAvailable", "True", "MetricsRead")


def test_no_series_at_all_change_nothing(served_scene: Serve) -> None:
    scene = served_scene(None, replicas=MANY)
    scene.apply(policy(metrics={"windowSeconds": 5, "source": "Router"}))
    ours = f'dynamo_namespace="{scene.dynamo_namespace.replace("-", "_")}"'
    said = scene.wait_condition("MetricsAvailable", "False", "NoSeries", message=ours)
    assert said["message"].startswith("found no series of Router {")
    assert scene.condition("Ready")["reason"] == "NoSeries"
    scene.wait_plans()
    assert scene.replicas() == MANY


def test_a_frontend_that_goes_away_is_stale_and_not_idle(served_scene: Serve) -> None:
    scene = served_scene(QUIET, replicas={"prefill": 1, "decode": 1})
    scene.apply(policy(metrics={"windowSeconds": 20}))
    scene.wait_condition("MetricsAvailable", "True", "MetricsRead")
    scene.loads.silence(scene.dynamo_namespace)
    scene.wait_condition("MetricsAvailable", "False", "Stale", message="10 s")
    assert scene.status()["lastDecision"]["reason"] == "HoldUnknown"


def test_a_full_stall_grows_and_shrinks_nothing(served_scene: Serve) -> None:
    """No request has shown its lengths: the SLA's expected ones stand in."""
    scene = served_scene(Load(requests_s=60.0, stalled=True), replicas={"prefill": 1, "decode": 5})
    scene.apply(policy(sla={"ttft": 500, "itl": 30, "isl": 1000, "osl": 200}))
    said = scene.wait_condition("MetricsAvailable", "True", "LengthsUnknown", message="60 requests/s")
    assert said["message"].endswith("roles may grow, not shrink")
    scene.wait_replicas(prefill=4, decode=5)
    decode = next(role for role in scene.status()["roles"] if role["name"] == "decode")
    assert decode["limitedBy"] == "LowerBoundLoad"


def test_a_stall_after_traffic_goes_on_with_the_last_known_lengths(served_scene: Serve) -> None:
    scene = served_scene(Load(requests_s=30.0, isl=2000.0, osl=200.0), replicas={"prefill": 4, "decode": 1})
    scene.apply(policy())
    scene.wait_condition("MetricsAvailable", "True", "MetricsRead", message="2,000")
    scene.loads.change(scene.dynamo_namespace, requests_s=60.0, stalled=True)
    scene.wait_condition("MetricsAvailable", "True", "LengthsUnknown", message="60 requests/s")
    scene.wait_replicas(prefill=7, decode=4)


def test_completions_that_back_pressure_caps_do_not_hide_the_arrivals(served_scene: Serve) -> None:
    scene = served_scene(Load(requests_s=60.0, osl=200.0, served_share=0.25))
    scene.apply(policy())
    scene.wait_condition("MetricsAvailable", "True", "MetricsRead", message="60 requests/s")
    scene.wait_replicas(prefill=4, decode=2)
