"""Scaling a deployment on a real API server, in either version, beside everybody else."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from slaplanner.adapters.deployment import ApiRefusal, KubernetesApi, ScalingOutcome, TargetState
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Mode, Role, RolePolicy
from slaplanner.core.reasons import Reason
from tests.graphs import ALPHA
from tests.stored_graph import StoredGraph, without_replicas
from tests.testbed import Cluster, Served, uninstall_dynamo

P, D = Role.PREFILL, Role.DECODE
OURS = "slaplanner"


def scale(graph: StoredGraph, desired: Mapping[Role, int], **more: Any) -> ScalingOutcome:
    connector = more.pop("connector", None) or graph.connector()
    return connector.set_replicas(connector.observe(), desired, **more)


def written(outcome: ScalingOutcome) -> list[tuple[Role, int, int]]:
    assert outcome.error is None
    return [(write.role, write.before, write.replicas) for write in outcome.written]


def leaves(fields: Mapping[str, Any]) -> Iterator[str]:
    """The innermost keys of a managedFields entry."""
    for key, value in fields.items():
        if value:
            yield from leaves(value)
        else:
            yield key


class TestLooking:
    def test_everything_that_a_plan_needs_is_read(self, graph: StoredGraph) -> None:
        graph.create(prefill=2, decode=3)
        graph.report()
        connector = graph.connector()
        state = connector.observe()
        assert [(r.role, r.component, r.replicas, r.serving) for r in state.fleet.roles] == [
            (P, "prefill", 2, 2),
            (D, "decode", 3, 3),
        ]
        assert [role.gpus_per_replica for role in state.fleet.roles] == [1, 1]
        assert (state.settled, state.fleet.ready) == (True, True)
        assert state.dynamo_namespace == f"{graph.namespace}-llama"
        assert state.identity.api_version == graph.version
        assert state.identity.uid == graph.read()["metadata"]["uid"]
        assert connector.model_name(state) == "meta/llama"

    def test_a_deployment_that_is_not_there(self, graph: StoredGraph) -> None:
        with pytest.raises(TargetError, match=r"'llama' in namespace .* does not exist") as caught:
            graph.connector().observe()
        assert caught.value.reason is Reason.TARGET_NOT_FOUND

    def test_a_deployment_that_is_being_deleted(self, graph: StoredGraph) -> None:
        graph.create()
        kubectl, held = graph.cluster.kubectl, '--patch={"metadata": {"finalizers": ["slaplanner.io/held"]}}'
        kubectl("patch", graph.resource, graph.where, "--type=merge", held)
        kubectl("delete", graph.resource, graph.where, "--wait=false")
        with pytest.raises(TargetError, match="is being deleted") as caught:
            graph.connector().observe()
        assert caught.value.reason is Reason.TARGET_NOT_FOUND
        kubectl(
            "patch",
            graph.resource,
            graph.where,
            "--type=merge",
            held.replace('["slaplanner.io/held"]', "null"),
        )

    def test_a_fresh_deployment_without_a_status_is_not_settled(self, graph: StoredGraph) -> None:
        graph.create()
        state = graph.connector().observe()
        assert (state.settled, state.fleet.ready) == (False, False)


class TestWithoutAdapters:
    def test_both_roles_move_in_one_write(self, graph: StoredGraph) -> None:
        graph.create(prefill=1, decode=3)
        before = graph.read()["metadata"]["generation"]
        assert written(scale(graph, {P: 2, D: 1})) == [(D, 3, 1), (P, 1, 2)]
        assert graph.replicas() == {"prefill": 2, "decode": 1}
        assert graph.read()["metadata"]["generation"] == before + 1

    def test_replicas_that_were_never_written_are_added(self, graph: StoredGraph) -> None:
        graph.apply(without_replicas(graph.manifest()))
        assert graph.replicas() == {"prefill": None, "decode": None}
        assert written(scale(graph, {P: 1, D: 4})) == [(D, 1, 4)]
        assert graph.replicas() == {"prefill": None, "decode": 4}

    def test_we_own_replicas_and_nothing_else(self, graph: StoredGraph) -> None:
        graph.create()
        scale(graph, {P: 1, D: 4})
        ours = [e for e in graph.read()["metadata"]["managedFields"] if e["manager"] == OURS]
        assert {entry["operation"] for entry in ours} == {"Update", "Apply"}
        for entry in ours:
            assert entry["apiVersion"] == graph.version
            assert set(leaves(entry["fieldsV1"])) <= {"f:replicas", ".", "f:name"}

    def test_nothing_is_written_where_nothing_changes(self, graph: StoredGraph) -> None:
        graph.create()
        scale(graph, {P: 1, D: 1})
        before = graph.read()["metadata"]["resourceVersion"]
        assert scale(graph, {P: 1, D: 1}) == ScalingOutcome()
        assert graph.read()["metadata"]["resourceVersion"] == before

    def test_abandoned_work_writes_nothing(self, graph: StoredGraph) -> None:
        graph.create()
        outcome = scale(graph, {P: 1, D: 4}, still_wanted=lambda: False)
        assert outcome.written == ()
        assert graph.replicas() == {"prefill": 1, "decode": 1}

    def test_a_deployment_that_was_made_anew_is_left_alone(self, graph: StoredGraph) -> None:
        graph.create()
        connector = graph.connector()
        state = connector.observe()
        graph.cluster.kubectl("delete", graph.resource, graph.where)
        graph.create()
        outcome = connector.set_replicas(state, {P: 1, D: 4})
        assert outcome.error is not None
        assert "recreated" in str(outcome.error)
        assert graph.replicas() == {"prefill": 1, "decode": 1}


class TestTheBudget:
    def test_growth_waits_until_the_others_replicas_are_gone(self, graph: StoredGraph) -> None:
        graph.create(prefill=1, decode=5)
        graph.report()
        first = scale(graph, {P: 4, D: 2}, gpu_budget=6)
        assert written(first) == [(D, 5, 2)]
        assert first.waiting_for is Reason.NOT_REPORTED or first.waiting_for is Reason.GPU_BUDGET

        graph.report(present={"decode": 4})  # one has gone, two are still terminating
        second = scale(graph, {P: 4, D: 2}, gpu_budget=6)
        assert written(second) == [(P, 1, 2)]
        assert second.waiting_for is Reason.GPU_BUDGET

        graph.report()
        assert written(scale(graph, {P: 4, D: 2}, gpu_budget=6)) == [(P, 2, 4)]

    def test_nothing_is_written_while_gpus_are_unknown(self, graph: StoredGraph) -> None:
        manifest = graph.manifest(decode=3)
        spec = manifest["spec"]
        worker = (spec.get("services") or {c["name"]: c for c in spec["components"]})["decode"]
        worker.pop("resources", None)
        worker.get("podTemplate", {"spec": {"containers": [{}]}})["spec"]["containers"][0].pop(
            "resources", None
        )
        graph.apply(manifest)
        outcome = scale(graph, {P: 1, D: 2}, gpu_budget=8)
        assert (outcome.written, outcome.waiting_for) == ((), Reason.GPUS_UNKNOWN)
        told = graph.connector(RolePolicy(role=D, gpus_per_replica=1))
        assert written(scale(graph, {P: 1, D: 2}, gpu_budget=8, connector=told)) == [(D, 3, 2)]


class TestAdapters:
    @pytest.fixture
    def adapted(self, graph: StoredGraph) -> StoredGraph:
        graph.create(prefill=1, decode=2, adapters=("prefill", "decode"))
        graph.create_adapter("prefill", 1)
        graph.create_adapter("decode", 2)
        return graph

    def test_replicas_go_through_the_scale_subresource(self, adapted: StoredGraph) -> None:
        assert written(scale(adapted, {P: 3, D: 1})) == [(D, 2, 1), (P, 1, 3)]
        assert (adapted.adapter_replicas("prefill"), adapted.adapter_replicas("decode")) == (3, 1)
        assert adapted.replicas() == {"prefill": 1, "decode": 2}

    def test_what_they_ask_for_counts_until_it_was_copied(self, adapted: StoredGraph) -> None:
        adapted.report()
        scale(adapted, {P: 3, D: 2})
        role = adapted.connector().observe().fleet.role(P)
        assert (role.replicas, role.settled, role.serving, role.present) == (3, False, 1, None)
        assert scale(adapted, {P: 3, D: 2}) == ScalingOutcome()

    def test_what_is_not_committed_yet_waits(self, adapted: StoredGraph) -> None:
        adapted.report()
        scale(adapted, {P: 3, D: 2})
        adapted.report_adapter(
            "prefill",
            replicas=1,
            requestedReplicas=3,
            committedReplicas=1,
            pendingReason="PowerBudgetExceeded",
        )
        state = adapted.connector().observe()
        role = state.fleet.role(P)
        assert (role.replicas, role.serving, role.present, role.waits_for) == (3, 1, 1, Reason.NOT_COMMITTED)
        assert state.waiting == {
            P: "DynamoGraphDeploymentScalingAdapter 'llama-prefill' has granted 1 of 3 replicas "
            "(PowerBudgetExceeded)"
        }
        assert written(scale(adapted, {P: 1, D: 2})) == [(P, 3, 1)]

    def test_ownership_of_the_deployment_is_not_taken(self, adapted: StoredGraph) -> None:
        scale(adapted, {P: 1, D: 2})
        assert OURS not in {manager for manager, _ in adapted.managers()}

    def test_who_else_set_them_is_known(self, adapted: StoredGraph) -> None:
        scale(adapted, {P: 3, D: 2})
        assert adapted.connector().observe().replica_writers == {P: (), D: ("kubectl-create",)}

    def test_one_with_and_one_without_are_two_writes_and_shrinking_comes_first(
        self, graph: StoredGraph
    ) -> None:
        graph.create(prefill=1, decode=3, adapters=("decode",))
        graph.create_adapter("decode", 3)
        assert written(scale(graph, {P: 2, D: 1})) == [(D, 3, 1), (P, 1, 2)]
        assert graph.adapter_replicas("decode") == 1
        assert graph.replicas() == {"prefill": 2, "decode": 3}

    @pytest.mark.parametrize("missing", ["decode", "prefill"])
    def test_an_absent_adapter_is_an_error_and_the_deployment_stays(
        self, graph: StoredGraph, missing: str
    ) -> None:
        graph.create(adapters=("prefill", "decode"))
        graph.create_adapter("prefill" if missing == "decode" else "decode", 1)
        with pytest.raises(TargetError, match=f"'llama-{missing}', which does not exist") as caught:
            graph.connector().observe()
        assert caught.value.reason is Reason.ADAPTER_NOT_FOUND

    def test_an_adapter_that_goes_between_look_and_write_is_an_error_too(self, adapted: StoredGraph) -> None:
        connector = adapted.connector()
        state = connector.observe()
        adapted.delete_adapter("decode")
        outcome = connector.set_replicas(state, {P: 1, D: 4})
        assert outcome.error is not None
        assert outcome.error.reason is Reason.ADAPTER_NOT_FOUND
        assert adapted.replicas() == {"prefill": 1, "decode": 2}


class MeddlingApi(KubernetesApi):
    """Somebody else writes to the deployment between our read and our write, a number of times."""

    def __init__(self, graph: StoredGraph, times: int) -> None:
        super().__init__(graph.cluster.api_client())
        self._graph, self._times = graph, times
        self.patches = 0

    def patch(self, *arguments: Any, **options: Any) -> Mapping[str, Any]:
        self.patches += 1
        if self.patches <= self._times:
            self._graph.cluster.kubectl(
                "annotate", "--overwrite", self._graph.resource, self._graph.where, f"touched={self.patches}"
            )
        return super().patch(*arguments, **options)


class TestConflicts:
    def test_a_storm_is_retried_on_fresh_data(self, graph: StoredGraph) -> None:
        graph.create()
        api = MeddlingApi(graph, times=4)
        assert written(scale(graph, {P: 1, D: 4}, connector=graph.connector(api=api)))[0] == (D, 1, 4)
        assert graph.read()["metadata"]["annotations"]["touched"] == "4"

    def test_a_storm_that_does_not_end_is_reported(self, graph: StoredGraph) -> None:
        graph.create()
        api = MeddlingApi(graph, times=100)
        outcome = scale(graph, {P: 1, D: 4}, connector=graph.connector(api=api))
        assert outcome.error is not None
        assert outcome.error.reason is Reason.CONFLICT
        assert outcome.written == ()
        assert graph.replicas() == {"prefill": 1, "decode": 1}

    def test_an_abandoned_retry_stops(self, graph: StoredGraph) -> None:
        graph.create()
        api = MeddlingApi(graph, times=100)
        wanted = iter([True])
        scale(graph, {D: 4}, connector=graph.connector(api=api), still_wanted=lambda: next(wanted, False))
        assert api.patches == 1

    def test_a_component_that_moved_in_the_list_is_not_mistaken(self, graph: StoredGraph) -> None:
        graph.create(prefill=1, decode=2)
        manifest = graph.read()
        if isinstance(manifest["spec"].get("components"), list):
            manifest["spec"]["components"].reverse()
        manifest["metadata"] = {"name": "llama"}
        manifest.pop("status", None)

        class Reordering(MeddlingApi):
            def patch(self, *arguments: Any, **options: Any) -> Mapping[str, Any]:
                if not self.patches:
                    graph.cluster.kubectl(
                        "replace", "-f", "-", graph.where, stdin=str(manifest).replace("'", '"')
                    )
                self.patches += 1
                return KubernetesApi.patch(self, *arguments, **options)

        scale(graph, {P: 1, D: 5}, connector=graph.connector(api=Reordering(graph, times=0)))
        assert graph.replicas() == {"prefill": 1, "decode": 5}


class TestGitOps:
    def test_one_that_applies_without_replicas_keeps_ours(self, graph: StoredGraph) -> None:
        manifest = without_replicas(graph.manifest())
        graph.apply(manifest)
        scale(graph, {P: 2, D: 4})
        for _ in range(3):
            graph.apply(manifest)
        assert graph.replicas() == {"prefill": 2, "decode": 4}

    def test_and_we_keep_its_fields(self, graph: StoredGraph) -> None:
        manifest = without_replicas(graph.manifest())
        graph.apply(manifest)
        scale(graph, {P: 2, D: 4})
        owners = {m for m, _ in graph.managers()}
        assert {"argocd-controller", OURS} <= owners
        graph.apply(without_replicas(graph.manifest(model="meta/Llama-2")))
        assert graph.connector().observe().model == "meta/llama-2"

    def test_taking_replicas_out_of_the_manifest_never_lowers_them(self, graph: StoredGraph) -> None:
        manifest = graph.manifest(prefill=2, decode=3)
        graph.apply(manifest)
        connector = graph.connector()
        assert set(connector.observe().droppable) == {P, D}
        assert scale(graph, {P: 2, D: 3}) == ScalingOutcome()
        assert connector.observe().droppable == ()
        graph.apply(without_replicas(manifest))
        assert graph.replicas() == {"prefill": 2, "decode": 3}

    def test_nor_after_some_of_them_were_scaled(self, graph: StoredGraph) -> None:
        manifest = graph.manifest(prefill=2, decode=3)
        graph.apply(manifest)
        scale(graph, {P: 2, D: 3})
        scale(graph, {P: 2, D: 5})
        graph.apply(without_replicas(manifest))
        assert graph.replicas() == {"prefill": 2, "decode": 5}

    def test_nor_when_another_policy_takes_the_other_role(self, graph: StoredGraph) -> None:
        manifest = graph.manifest(prefill=2, decode=3)
        graph.apply(manifest)
        scale(graph, {P: 2}, connector=graph.connector(mode=Mode.PREFILL))
        scale(graph, {D: 3}, connector=graph.connector(mode=Mode.DECODE))
        graph.apply(without_replicas(manifest))
        assert graph.replicas() == {"prefill": 2, "decode": 3}

    def test_nothing_desired_only_takes_ownership(self, graph: StoredGraph) -> None:
        graph.apply(graph.manifest(prefill=2, decode=3))
        generation = graph.read()["metadata"]["generation"]
        assert scale(graph, {}) == ScalingOutcome()
        assert graph.connector().observe().droppable == ()
        assert graph.read()["metadata"]["generation"] == generation


class TestPermissions:
    @pytest.fixture
    def reader(self, graph: StoredGraph) -> Callable[..., Any]:
        """A connector that may do exactly these verbs on deployments and adapters."""

        def make(*verbs: str) -> Any:
            run, where = graph.cluster.kubectl, graph.where
            run("create", "serviceaccount", "planner", where)
            resources = "dynamographdeployments.nvidia.com,dynamographdeploymentscalingadapters.nvidia.com"
            run("create", "role", "planner", where, f"--verb={','.join(verbs)}", f"--resource={resources}")
            run("create", "rolebinding", "planner", where, "--role=planner",
                f"--serviceaccount={graph.namespace}:planner")  # fmt: skip
            identity = graph.cluster.service_account_kubeconfig(namespace=graph.namespace, name="planner")
            return graph.connector(kubeconfig=identity)

        return make

    def test_a_missing_write_permission_is_named(
        self, graph: StoredGraph, reader: Callable[..., Any]
    ) -> None:
        graph.create()
        outcome = scale(graph, {D: 4}, connector=reader("get"))
        assert outcome.error is not None
        assert outcome.error.reason is Reason.FORBIDDEN
        assert "verb 'patch' on 'dynamographdeployments'" in str(outcome.error)
        assert graph.replicas() == {"prefill": 1, "decode": 1}

    def test_a_missing_permission_on_scale_is_named_and_the_other_half_is_kept_back(
        self, graph: StoredGraph, reader: Callable[..., Any]
    ) -> None:
        graph.create(prefill=1, decode=3, adapters=("decode",))
        graph.create_adapter("decode", 3)
        outcome = scale(graph, {P: 2, D: 1}, connector=reader("get", "patch"))
        assert outcome.error is not None
        assert "verb 'patch' on 'dynamographdeploymentscalingadapters/scale'" in str(outcome.error)
        assert outcome.written == ()
        assert graph.replicas() == {"prefill": 1, "decode": 3}

    def test_a_missing_read_permission_is_named(self, graph: StoredGraph, reader: Callable[..., Any]) -> None:
        graph.create()
        with pytest.raises(TargetError, match="verb 'get' on 'dynamographdeployments'") as caught:
            reader("list").observe()
        assert caught.value.reason is Reason.FORBIDDEN

    def test_autoscalers_that_may_not_be_looked_for_are_told(
        self, graph: StoredGraph, reader: Callable[..., Any]
    ) -> None:
        graph.create()
        connector = reader("get")
        rivals = connector.rivals(connector.observe())
        assert rivals.found == ()
        assert "verb 'list' on 'horizontalpodautoscalers'" in " ".join(rivals.unchecked)

    def test_admissions_own_words_are_passed_on(self, graph: StoredGraph) -> None:
        graph.create(prefill=1, decode=2, adapters=("decode",))
        graph.create_adapter("decode", 2)
        api = graph.api()
        body = {"spec": {"services": {"decode": {"replicas": 7}}}}
        content_type = "application/merge-patch+json"
        if graph.served is Served.V1BETA1:
            body_list = [{"op": "replace", "path": "/spec/components/2/replicas", "value": 7}]
            arguments: tuple[Any, str] = (body_list, "application/json-patch+json")
        else:
            arguments = (body, content_type)
        with pytest.raises(ApiRefusal, match="belong to a scaling adapter") as caught:
            api.patch(
                graph.version.partition("/")[2], graph.namespace, "dynamographdeployments", "llama",
                arguments[0], content_type=arguments[1],
            )  # fmt: skip
        assert caught.value.failure.reason is Reason.ADMISSION_DENIED


def hpa(kind: str, name: str) -> str:
    return f"""
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: scaler}}
spec:
  maxReplicas: 9
  scaleTargetRef: {{apiVersion: nvidia.com/v1alpha1, kind: {kind}, name: {name}}}
  metrics:
    - type: Resource
      resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}
"""


class TestRivals:
    def look(self, graph: StoredGraph) -> tuple[TargetState, Any]:
        connector = graph.connector()
        state = connector.observe()
        return state, connector.rivals(state)

    def test_none(self, graph: StoredGraph) -> None:
        graph.create()
        _, rivals = self.look(graph)
        assert (rivals.found, rivals.unchecked) == ((), ())

    @pytest.mark.parametrize(
        ("kind", "name", "role", "adapters"),
        [
            pytest.param("DynamoGraphDeployment", "llama", None, (), id="on-the-deployment"),
            pytest.param(
                "DynamoGraphDeploymentScalingAdapter", "llama-decode", D, ("decode",), id="on-an-adapter"
            ),
        ],
    )
    def test_an_hpa(
        self, graph: StoredGraph, kind: str, name: str, role: Role | None, adapters: tuple[str, ...]
    ) -> None:
        graph.create(adapters=adapters)
        for component in adapters:
            graph.create_adapter(component, 1)
        graph.cluster.kubectl("create", "-f", "-", graph.where, stdin=hpa(kind, name))
        _, rivals = self.look(graph)
        (rival,) = rivals.found
        assert (rival.reason, rival.name, rival.role) == (
            Reason.OTHER_AUTOSCALER,
            "HorizontalPodAutoscaler 'scaler'",
            role,
        )

    def test_an_hpa_on_something_else_is_none(self, graph: StoredGraph) -> None:
        graph.create()
        graph.cluster.kubectl("create", "-f", "-", graph.where, stdin=hpa("DynamoGraphDeployment", "other"))
        _, rivals = self.look(graph)
        assert rivals.found == ()


class TestAPlannerInTheGraph:
    """As Dynamo makes one from a deployment request: its configuration lies in a ConfigMap."""

    def create(self, graph: StoredGraph) -> None:
        manifest = graph.manifest()
        container = {
            "name": "main",
            "args": ["--config", "/workspace/planner_config/planner_config.json"],
            "volumeMounts": [{"name": "config", "mountPath": "/workspace/planner_config"}],
        }
        volumes = [{"name": "config", "configMap": {"name": "planner-config-4f1e"}}]
        if graph.version == ALPHA:
            pod = {"volumes": volumes, "mainContainer": container}
            manifest["spec"]["services"]["Planner"] = {"componentType": "planner", "extraPodSpec": pod}
        else:
            template = {"spec": {"volumes": volumes, "containers": [container]}}
            manifest["spec"]["components"].append(
                {"name": "Planner", "type": "planner", "podTemplate": template}
            )
        graph.cluster.kubectl("create", "-f", "-", graph.where, stdin=yaml.safe_dump(manifest))

    def rivals(self, graph: StoredGraph) -> list[str]:
        connector = graph.connector()
        return [rival.name for rival in connector.rivals(connector.observe()).found]

    def test_is_a_rival_until_its_configuration_says_that_it_only_advises(self, graph: StoredGraph) -> None:
        self.create(graph)
        (unknown,) = self.rivals(graph)
        assert unknown.startswith("planner component 'Planner', whose configuration is not known")
        assert "ConfigMap 'planner-config-4f1e' does not exist" in unknown
        run = graph.cluster.kubectl
        literal = '--from-literal=planner_config.json={"advisory": %s}'
        run("create", "configmap", "planner-config-4f1e", literal % "false", graph.where)
        assert self.rivals(graph) == ["planner component 'Planner'"]
        run("delete", "configmap", "planner-config-4f1e", graph.where)
        run("create", "configmap", "planner-config-4f1e", literal % "true", graph.where)
        assert self.rivals(graph) == []


KEDA = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: scaledobjects.keda.sh}
spec:
  group: keda.sh
  scope: Namespaced
  names: {kind: ScaledObject, plural: scaledobjects, singular: scaledobject}
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


class TestKeda:
    @pytest.fixture
    def keda(self, cluster: Cluster) -> Iterator[None]:
        definition = cluster.scratch / "keda.yaml"
        definition.write_text(KEDA)
        cluster.install_crds(definition)
        yield
        cluster.delete_crds("scaledobjects.keda.sh")

    @pytest.mark.usefixtures("keda")
    def test_a_scaled_object_is_named_and_its_own_hpa_is_not(self, graph: StoredGraph) -> None:
        graph.create(adapters=("decode",))
        graph.create_adapter("decode", 1)
        reference = {
            "apiVersion": graph.version,
            "kind": "DynamoGraphDeploymentScalingAdapter",
            "name": "llama-decode",
        }
        scaled = {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "queue"},
            "spec": {"scaleTargetRef": reference},
        }
        run = graph.cluster.kubectl
        run("create", "-f", "-", graph.where, stdin=yaml.safe_dump(scaled))
        owned = yaml.safe_load(hpa("DynamoGraphDeploymentScalingAdapter", "llama-decode"))
        owned["metadata"]["ownerReferences"] = [
            {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "queue", "uid": "x"}
        ]
        run("create", "-f", "-", graph.where, stdin=yaml.safe_dump(owned))
        connector = graph.connector()
        (rival,) = connector.rivals(connector.observe()).found
        assert (rival.name, rival.role) == ("ScaledObject 'queue'", D)


def test_a_cluster_without_dynamo_says_so(cluster: Cluster, namespace: str) -> None:
    uninstall_dynamo(cluster)
    with pytest.raises(TargetError, match="serves no DynamoGraphDeployment") as caught:
        StoredGraph(cluster, namespace, Served.V1BETA1).connector().observe()
    assert caught.value.reason is Reason.TARGET_KIND_NOT_SERVED
