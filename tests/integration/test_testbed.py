"""The bed itself: what the other integration tests build on."""

from kubernetes import client

from tests.testbed import ControlPlane


def test_the_api_server_answers_kubectl(control_plane: ControlPlane) -> None:
    assert control_plane.kubectl("get", "--raw=/readyz").stdout == "ok"


def test_client_and_server_are_of_versions_that_fit(control_plane: ControlPlane) -> None:
    assert "WARNING" not in control_plane.kubectl("version").stderr


def test_a_namespace_is_really_deleted(control_plane: ControlPlane) -> None:
    control_plane.create_namespace("short-lived")
    control_plane.kubectl("delete", "namespace", "short-lived", "--timeout=60s")


def test_a_kubeconfig_of_a_service_account_carries_only_its_rights(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "serviceaccount", "nobody", f"--namespace={namespace}")
    kubeconfig = control_plane.service_account_kubeconfig(namespace=namespace, name="nobody")
    whoami = control_plane.kubectl(
        "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", kubeconfig=kubeconfig
    )
    assert whoami.stdout == f"system:serviceaccount:{namespace}:nobody"
    refused = control_plane.kubectl(
        "get", "pods", f"--namespace={namespace}", kubeconfig=kubeconfig, check=False
    )
    assert refused.returncode == 1
    assert "Forbidden" in refused.stderr


def test_objects_survive_an_outage_of_the_api_server_and_of_etcd(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "configmap", "kept", f"--namespace={namespace}")
    control_plane.stop_api_server()
    refused = control_plane.kubectl("get", "namespaces", check=False)
    assert refused.returncode == 1
    control_plane.etcd.restart()
    control_plane.start_api_server()
    with control_plane.api_client() as api:
        assert client.CoreV1Api(api).read_namespaced_config_map("kept", namespace).metadata.name == "kept"
