"""The manifests as a cluster takes them, and the rights that they give."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from tests.testbed import Cluster, Served, wait_until

ROOT = Path(__file__).parents[2]
SYSTEM = "slaplanner-system"

POLICIES = {
    "get slapolicies.slaplanner.io",
    "list slapolicies.slaplanner.io",
    "watch slapolicies.slaplanner.io",
    "patch slapolicies.slaplanner.io",
    "patch slapolicies/status.slaplanner.io",
}
TARGETS = {
    "get dynamographdeployments.nvidia.com",
    "list dynamographdeployments.nvidia.com",
    "watch dynamographdeployments.nvidia.com",
    "patch dynamographdeployments.nvidia.com",
    "patch dynamographdeployments/status.nvidia.com",
    "get dynamographdeploymentscalingadapters.nvidia.com",
    "patch dynamographdeploymentscalingadapters/scale.nvidia.com",
}
SURROUNDINGS = {
    "get configmaps",
    "list configmaps",
    "watch configmaps",
    "list horizontalpodautoscalers.autoscaling",
    "watch horizontalpodautoscalers.autoscaling",
    "list scaledobjects.keda.sh",
    "watch scaledobjects.keda.sh",
    "create events.events.k8s.io",
    "patch events.events.k8s.io",
}
WHAT_THERE_IS = {
    "get customresourcedefinitions.apiextensions.k8s.io",
    "list customresourcedefinitions.apiextensions.k8s.io",
    "watch customresourcedefinitions.apiextensions.k8s.io",
    "list namespaces",
    "watch namespaces",
}


def rights(cluster: Cluster, kubeconfig: Path, namespace: str) -> set[str]:
    """Everything that an identity may do to objects in *namespace*, as `verb resource.group`."""
    review = client.V1SelfSubjectRulesReview(spec=client.V1SelfSubjectRulesReviewSpec(namespace=namespace))
    with cluster.api_client(kubeconfig=kubeconfig) as api:
        answer = client.AuthorizationV1Api(api).create_self_subject_rules_review(review)
    return {
        f"{verb} {resource}.{group}".removesuffix(".")
        for rule in answer.status.resource_rules
        for group in rule.api_groups
        for resource in rule.resources
        for verb in rule.verbs
    }


def of_a_service_account(cluster: Cluster, namespace: str, name: str) -> set[str]:
    """The rights of a service account beyond those of any account."""
    cluster.kubectl(
        "apply",
        "--server-side",
        "--filename=-",
        stdin=f"{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: plain, namespace: {namespace}}}}}",
    )
    mine, plain = (
        rights(cluster, cluster.service_account_kubeconfig(namespace=namespace, name=account), namespace)
        for account in (name, "plain")
    )
    return mine - plain


def test_a_second_apply_finds_everything_unchanged(installed: Cluster) -> None:
    installed.kubectl("apply", "--kustomize", ROOT / "manifests")
    again = installed.kubectl("apply", "--kustomize", ROOT / "manifests", "--dry-run=server")
    lines = again.stdout.splitlines()
    assert len(lines) == 18
    assert [line for line in lines if not line.endswith("unchanged (server dry run)")] == []
    assert again.stderr == ""


def test_the_operator_may_do_exactly_what_it_needs(installed: Cluster) -> None:
    mine = of_a_service_account(installed, SYSTEM, "slaplanner")
    assert mine == POLICIES | TARGETS | SURROUNDINGS | WHAT_THERE_IS


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(("get", "secrets"), id="read-secrets"),
        pytest.param(("list", "nodes"), id="list-nodes"),
        pytest.param(("list", "pods"), id="list-pods"),
        pytest.param(("delete", "slapolicies"), id="delete-policies"),
        pytest.param(("update", "slapolicies"), id="replace-policies"),
        pytest.param(("create", "dynamographdeployments"), id="create-targets"),
        pytest.param(("update", "configmaps"), id="edit-profiles"),
    ],
)
def test_the_operator_is_refused(
    installed: Cluster, dynamo: Callable[..., None], question: tuple[str, str]
) -> None:
    dynamo(Served.V1BETA1)
    kubeconfig = installed.service_account_kubeconfig(namespace=SYSTEM, name="slaplanner")
    answer = installed.kubectl(
        "auth", "can-i", *question, "--all-namespaces", kubeconfig=kubeconfig, check=False
    )
    assert answer.stdout.strip() == "no"


@pytest.mark.parametrize(
    ("role", "may"),
    [
        pytest.param("view", {"get", "list", "watch"}, id="view"),
        pytest.param(
            "edit",
            {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
            id="edit",
        ),
        pytest.param(
            "admin",
            {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
            id="admin",
        ),
    ],
)
def test_users_of_a_namespace_may_do_to_policies_what_they_may_do_to_the_rest(
    installed: Cluster, namespace: str, role: str, may: set[str]
) -> None:
    installed.kubectl("create", "serviceaccount", "alice", f"--namespace={namespace}")
    installed.kubectl(
        "create",
        "rolebinding",
        "alice",
        f"--clusterrole={role}",
        f"--serviceaccount={namespace}:alice",
        f"--namespace={namespace}",
    )
    kubeconfig = installed.service_account_kubeconfig(namespace=namespace, name="alice")
    pattern = re.compile(r"(\w+) slapolicies\.slaplanner\.io")

    def verbs() -> set[str]:
        found = (pattern.fullmatch(right) for right in rights(installed, kubeconfig, namespace))
        return {match[1] for match in found if match}

    wait_until(verbs, what=f"the rights of {role} to be aggregated")
    assert verbs() == may


def test_the_pod_meets_the_restricted_pod_security_standard(installed: Cluster) -> None:
    """The namespace enforces it, so a pod of the Deployment's template is admitted or it is not."""
    deployment = yaml.safe_load(
        installed.kubectl("get", "deployment", "slaplanner", f"--namespace={SYSTEM}", "-o", "yaml").stdout
    )
    template = deployment["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "probe", "namespace": SYSTEM},
        "spec": template["spec"],
    }
    installed.kubectl("create", "--dry-run=server", "--filename=-", stdin=yaml.safe_dump(pod))


def test_one_operator_at_a_time_with_a_root_file_system_that_it_cannot_write(installed: Cluster) -> None:
    deployment = yaml.safe_load(
        installed.kubectl("get", "deployment", "slaplanner", f"--namespace={SYSTEM}", "-o", "yaml").stdout
    )
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_namespaced_variant_gives_the_same_rights_in_one_namespace_and_none_elsewhere(
    installed: Cluster, namespace: str
) -> None:
    """Rendered with names of its own: the cluster-wide installation is there already."""
    rendered = installed.kubectl("kustomize", ROOT / "manifests/overlays/namespaced").stdout
    system = f"{namespace}-operator"
    renamed = rendered.replace(SYSTEM, system).replace("namespace: serving", f"namespace: {namespace}")
    installed.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=renamed)
    kubeconfig = installed.service_account_kubeconfig(namespace=system, name="slaplanner")
    inside, outside = (rights(installed, kubeconfig, name) for name in (namespace, system))
    assert inside - outside == POLICIES | TARGETS | SURROUNDINGS
    assert [right for right in outside if "slapolicies" in right or "nvidia.com" in right] == []
    installed.delete_namespace(system)
