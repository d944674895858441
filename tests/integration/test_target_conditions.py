"""`SLAPlanned` and `SLAMet` on a deployment whose status somebody else writes all the time."""

from collections.abc import Mapping
from typing import Any

import pytest

from slaplanner.adapters.deployment import DeploymentConditions, KubernetesApi, combined, report_conditions
from slaplanner.adapters.deployment.own_conditions import MET, PLANNED
from slaplanner.core.errors import ActuationError
from slaplanner.core.reasons import ConditionStatus, Reason
from tests.stored_graph import StoredGraph
from tests.testbed import Cluster, Served

NOW, LATER = "2026-01-01T00:10:00Z", "2026-01-01T00:20:00Z"


@pytest.fixture
def graph(graph: StoredGraph) -> StoredGraph:
    graph.create()
    graph.report()
    return graph


def verdict(policy: str, met: str = "True") -> DeploymentConditions:
    return DeploymentConditions(
        policy=policy,
        planned=ConditionStatus.TRUE,
        planned_reason="Planned",
        planned_message="the last plan ran on known figures",
        met=ConditionStatus(met),
        met_reason="Met" if met == "True" else "Missed",
        met_message=f"TTFT 420 ms of 500 ms: {met}",
    )


def report(
    graph: StoredGraph, *verdicts: DeploymentConditions, now: str = NOW, api: KubernetesApi | None = None
) -> bool:
    return report_conditions(api or graph.api(), graph.namespace, "llama", combined(verdicts), now=now)


def test_ours_stand_beside_the_deployments_own(graph: StoredGraph) -> None:
    assert report(graph, verdict("a"))
    conditions = graph.conditions()
    assert set(conditions) == {"Ready", PLANNED, MET}
    assert conditions[MET]["message"] == "a: TTFT 420 ms of 500 ms: True"
    assert conditions[PLANNED]["lastTransitionTime"] == NOW
    assert conditions[PLANNED]["observedGeneration"] == graph.read()["metadata"]["generation"]


def test_a_deployment_without_any_status_gets_them_too(
    cluster: Cluster, namespace: str, served: Served
) -> None:
    fresh = StoredGraph(cluster, namespace, served)
    fresh.create()
    assert report(fresh, verdict("a"))
    assert set(fresh.conditions()) == {PLANNED, MET}


def test_nothing_is_written_when_nothing_changed(graph: StoredGraph) -> None:
    report(graph, verdict("a"))
    before = graph.read()["metadata"]["resourceVersion"]
    assert not report(graph, verdict("a"), now=LATER)
    assert graph.read()["metadata"]["resourceVersion"] == before


def test_others_and_ours_survive_each_other(graph: StoredGraph) -> None:
    for round_number in range(3):
        status = "False" if round_number % 2 else "True"
        report(graph, verdict("a", met=status))
        graph.report(ready=bool(round_number % 2))
        conditions = graph.conditions()
        assert conditions["Ready"]["status"] == ("True" if round_number % 2 else "False")
        assert conditions[MET]["status"] == status


def test_two_policies_share_them_and_the_last_one_takes_them_away(graph: StoredGraph) -> None:
    report(graph, verdict("a"), verdict("b", met="False"))
    assert graph.conditions()[MET]["status"] == "False"
    assert graph.conditions()[MET]["message"].startswith("b: ")
    report(graph, verdict("a"), now=LATER)
    assert (graph.conditions()[MET]["status"], graph.conditions()[MET]["lastTransitionTime"]) == (
        "True",
        LATER,
    )
    assert report(graph)
    assert set(graph.conditions()) == {"Ready"}
    assert not report(graph)


class BusyOperator(KubernetesApi):
    """Dynamo's operator writes the status between our read and our write."""

    def __init__(self, graph: StoredGraph, times: int) -> None:
        super().__init__(graph.cluster.api_client())
        self._graph, self._times = graph, times
        self.patches = 0

    def patch(self, *arguments: Any, **options: Any) -> Mapping[str, Any]:
        self.patches += 1
        if self.patches <= self._times:
            self._graph.report(ready=bool(self.patches % 2), state="pending")
        return super().patch(*arguments, **options)


def test_a_status_that_moves_meanwhile_is_not_overwritten(graph: StoredGraph) -> None:
    graph.report(ready=False)
    assert report(graph, verdict("a"), api=BusyOperator(graph, times=1))
    conditions = graph.conditions()
    assert conditions["Ready"]["status"] == "True"
    assert conditions[MET]["status"] == "True"


def test_a_deployment_that_is_gone_has_nothing_to_say(graph: StoredGraph) -> None:
    graph.cluster.kubectl("delete", graph.resource, graph.where)
    assert not report(graph)


def test_a_refusal_names_the_permission(graph: StoredGraph) -> None:
    run = graph.cluster.kubectl
    run("create", "serviceaccount", "planner", graph.where)
    run(
        "create", "role", "planner", graph.where, "--verb=get", "--resource=dynamographdeployments.nvidia.com"
    )
    run("create", "rolebinding", "planner", graph.where, "--role=planner",
        f"--serviceaccount={graph.namespace}:planner")  # fmt: skip
    identity = graph.cluster.service_account_kubeconfig(namespace=graph.namespace, name="planner")
    with pytest.raises(ActuationError, match="verb 'patch' on 'dynamographdeployments/status'") as caught:
        report(graph, verdict("a"), api=graph.api(identity))
    assert caught.value.reason is Reason.FORBIDDEN
