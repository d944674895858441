"""The test bed: a real API server, etcd, controller manager, kubectl, Prometheus and Argo CD, without containers.

In a test, ask for a fixture (`tests/conftest.py`); only what is asked for is started, once a session:

- `control_plane`: a `ControlPlane` of our own (`.kubectl(...)`, `.api_client()`,
  `.service_account_kubeconfig(namespace=..., name=...)`, `.install_crds(...)`, and for outages
  `.stop_api_server()`, `.start_api_server()`, `.restart_api_server()`, `.etcd.restart()`);
- `cluster`: the same without the outages; the user's own cluster when `SLAPLANNER_TEST_KUBECONFIG`
  names a kubeconfig, else the control plane;
- `kubectl`: `kubectl("get", "namespaces", check=False).stdout`; `api_client`: an administrator's
  `kubernetes.client.ApiClient`; `namespace`: the name of a fresh namespace for this test;
- `prometheus_server`: a `PrometheusServer`; `add_target(Target(job=..., address="127.0.0.1:8000"))`
  returns after the first scrape, `query(...)` and `wait_for(...)` read;
- `dynamo`: a factory, `dynamo(Served.V1BETA1)`, that serves Dynamo's definitions in the versions that
  a test wants, with its admission of scaling adapters; whoever plays Dynamo's operator runs with
  `dynamo_kubeconfig(cluster)`;
- `installed`: the cluster with `manifests/` applied; `operator_kubeconfig`: a kubeconfig of the
  operator's service account, for running the operator with exactly its rights;
- `helm`: `helm("template", "charts/slaplanner").stdout`;
- `argocd`: an `ArgoCD` on a control plane of its own;
  `lua_engine`: its Lua engine alone;
- `etcd_server`: a factory, `etcd_server(tls=True, root_password="secret")`, of etcds of their own.

At a terminal, `python -m tests.testbed build` compiles what the machine lacks (minutes, once; kept
in the user's cache directory), `up` starts a bed in the background, `env` prints the exports that
point `kubectl` at it, `down` stops it.

In a program (a demo), `Bed` starts the parts and stops all of them in the end:

    with Bed(say=print) as bed:
        bed.control_plane.kubectl("get", "namespaces")
        bed.prometheus.add_target(Target(job="fleet", address="127.0.0.1:8000"))
"""

from slaplanner_lab.fleet.install import ConversionWebhook
from tests.testbed.argocd import ArgoCD, LuaEngine
from tests.testbed.bed import Bed
from tests.testbed.binaries import find_control_plane, find_etcd, find_kubectl, find_prometheus
from tests.testbed.cluster import Cluster
from tests.testbed.controlplane import ControlPlane
from tests.testbed.dynamo import (
    Served,
    dynamo_kubeconfig,
    install_dynamo,
    uninstall_dynamo,
)
from tests.testbed.errors import (
    BuildFailedError,
    MachineLacksError,
    PartFailedError,
    TestBedError,
)
from tests.testbed.etcd import EtcdFactory, EtcdServer, EtcdTls
from tests.testbed.processes import Server, free_port, wait_until
from tests.testbed.prometheus import PrometheusServer, Target

__all__ = [
    "ArgoCD",
    "Bed",
    "BuildFailedError",
    "Cluster",
    "ControlPlane",
    "ConversionWebhook",
    "EtcdFactory",
    "EtcdServer",
    "EtcdTls",
    "LuaEngine",
    "MachineLacksError",
    "PartFailedError",
    "PrometheusServer",
    "Served",
    "Server",
    "Target",
    "TestBedError",
    "dynamo_kubeconfig",
    "find_control_plane",
    "find_etcd",
    "find_kubectl",
    "find_prometheus",
    "free_port",
    "install_dynamo",
    "uninstall_dynamo",
    "wait_until",
]
