"""A real control plane on loopback: etcd, kube-apiserver, kube-controller-manager.

There are no nodes and no kubelets, so pods are never run; everything that the API server itself
does (validation, CEL, admission policies, RBAC, server-side apply, watches) is the real thing.
"""

import secrets
from pathlib import Path

from tests.testbed.binaries import ControlPlaneBinaries
from tests.testbed.certificates import new_rsa_key
from tests.testbed.cluster import Cluster
from tests.testbed.etcd import EtcdServer
from tests.testbed.kubeconfig import Credentials, write_kubeconfig
from tests.testbed.processes import Server, free_port, loopback_session

PROBE_TIMEOUT_S = 2.0
# The ones that tests can observe: aggregated ClusterRoles, namespaces and dependents that go away,
# default service accounts, and the type check of admission policies. The rest wants nodes.
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "validatingadmissionpolicy-status-controller",
)


class ControlPlane(Cluster):
    """A control plane of one's own; its API server and its etcd can fail on request."""

    def __init__(self, binaries: ControlPlaneBinaries, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(
            kubeconfig=directory / "admin.kubeconfig", kubectl=binaries.kubectl, scratch=directory
        )
        self.directory = directory
        self.etcd = EtcdServer(binaries.etcd, directory / "etcd")
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._http = loopback_session()
        self._token = secrets.token_urlsafe(32)
        self._pki = directory / "pki"
        self._certificate = self._pki / "apiserver.crt"
        self._api_server = Server(
            "kube-apiserver",
            self._api_server_command(binaries.kube_apiserver),
            log=directory / "apiserver.log",
        )
        self._manager_port = free_port()
        self._controller_manager = Server(
            "kube-controller-manager",
            self._manager_command(binaries.kube_controller_manager),
            log=directory / "controller-manager.log",
        )

    def start(self) -> None:
        """Start all parts and wait until each answers that it is ready."""
        self._write_credentials()
        self.etcd.start()
        self.start_api_server()
        self._controller_manager.start()
        self._controller_manager.wait_ready(self._manager_ready)
        self.kubectl("wait", "--for=create", "serviceaccount/default", "--namespace=default", "--timeout=30s")

    def stop(self) -> None:
        """Stop all parts; what they logged stays in the directory."""
        self._controller_manager.stop()
        self._api_server.stop(grace_s=3)
        self.etcd.stop()
        self._http.close()

    def start_api_server(self) -> None:
        self._api_server.start()
        self._api_server.wait_ready(self._api_server_ready)

    def stop_api_server(self, *, grace_s: float = 0) -> None:
        """An outage: clients are refused from now on. Port and credentials stay for the return."""
        self._api_server.stop(grace_s=grace_s)

    def restart_api_server(self) -> None:
        self.stop_api_server()
        self.start_api_server()

    def tail(self) -> str:
        """The ends of all logs."""
        return f"{self.etcd.tail()}\n{self._api_server.tail()}\n{self._controller_manager.tail()}"

    def _write_credentials(self) -> None:
        self._pki.mkdir(exist_ok=True)
        new_rsa_key(self._pki / "service-account.key")
        tokens = self._pki / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{self._token},testbed-admin,testbed-admin,"system:masters"\n')
        # The API server signs a certificate for itself at its first start; it is its own authority.
        write_kubeconfig(
            self.kubeconfig,
            Credentials(server=self.url, certificate_authority=self._certificate, token=self._token),
        )

    def _api_server_command(self, binary: Path) -> list[str | Path]:
        key = self._pki / "service-account.key"
        return [
            binary,
            f"--etcd-servers={self.etcd.endpoint}",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            # The kubernetes service would want a routable address for its endpoints.
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.port}",
            f"--cert-dir={self._pki}",
            "--service-account-issuer=https://localhost",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}",
            "--api-audiences=api",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self._pki / 'tokens.csv'}",
            # It would hold back every pod until a controller that is not run has made its token.
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
            "--profiling=false",
        ]

    def _manager_command(self, binary: Path) -> list[str | Path]:
        return [
            binary,
            f"--kubeconfig={self.kubeconfig}",
            f"--authentication-kubeconfig={self.kubeconfig}",
            f"--authorization-kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--service-account-private-key-file={self._pki / 'service-account.key'}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._manager_port}",
            f"--cert-dir={self.directory / 'manager-pki'}",
            "--profiling=false",
        ]

    def _api_server_ready(self) -> bool:
        if not self._certificate.exists():
            return False
        answer = self._http.get(
            f"{self.url}/readyz",
            headers={"Authorization": f"Bearer {self._token}"},
            verify=str(self._certificate),
            timeout=PROBE_TIMEOUT_S,
        )
        return answer.ok

    def _manager_ready(self) -> bool:
        certificate = self.directory / "manager-pki" / "kube-controller-manager.crt"
        if not certificate.exists():
            return False
        url = f"https://127.0.0.1:{self._manager_port}/healthz"
        return self._http.get(url, verify=str(certificate), timeout=PROBE_TIMEOUT_S).ok
