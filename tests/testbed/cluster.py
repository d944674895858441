"""What tests do with a cluster, whether the bed started it or the user brought it."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kubernetes import client, config

from tests.testbed.errors import PartFailedError
from tests.testbed.kubeconfig import Credentials, write_kubeconfig
from tests.testbed.processes import wait_until

# A name of our own on purpose: tests that create namespaces and definitions must not run on
# whatever KUBECONFIG happens to point to.
USERS_CLUSTER_VARIABLE = "SLAPLANNER_TEST_KUBECONFIG"
KUBECTL_TIMEOUT_S = 120.0
TOKEN_LIFETIME_S = 24 * 3600
CRD_NUDGES = 9
NUDGED = "slaplanner.io/testbed-nudged"
"""On a definition that is being deleted: how often the API server was reminded."""


class Cluster:
    """An API server that answers, an administrator's kubeconfig for it, and a kubectl."""

    def __init__(self, *, kubeconfig: Path, kubectl: Path, scratch: Path) -> None:
        self.kubeconfig = kubeconfig
        self.kubectl_binary = kubectl
        self.scratch = scratch

    def kubectl(
        self,
        *arguments: str | Path,
        stdin: str | None = None,
        check: bool = True,
        kubeconfig: Path | None = None,
        timeout_s: float = KUBECTL_TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator, or with another *kubeconfig*.

        Raises:
            PartFailedError: *check* is set and kubectl's exit code is not 0; with what it printed.
        """
        words = [str(argument) for argument in arguments]
        result = subprocess.run(
            [
                str(self.kubectl_binary),
                f"--kubeconfig={kubeconfig or self.kubeconfig}",
                f"--cache-dir={self.scratch / 'kubectl-cache'}",
                *words,
            ],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check and result.returncode != 0:
            raise PartFailedError(
                f"kubectl {' '.join(words)} ended with code {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def api_client(self, *, kubeconfig: Path | None = None) -> client.ApiClient:
        """A client of its own configuration (the process-wide default stays untouched)."""
        configuration = client.Configuration()
        config.load_kube_config(
            config_file=str(kubeconfig or self.kubeconfig), client_configuration=configuration
        )
        return client.ApiClient(configuration)

    def service_account_kubeconfig(
        self, *, namespace: str, name: str, lifetime_s: int = TOKEN_LIFETIME_S
    ) -> Path:
        """A kubeconfig that may do exactly what the service account may (TokenRequest)."""
        request = client.AuthenticationV1TokenRequest(
            spec=client.V1TokenRequestSpec(expiration_seconds=lifetime_s, audiences=[])
        )
        with self.api_client() as api:
            answer = client.CoreV1Api(api).create_namespaced_service_account_token(name, namespace, request)
            configuration = api.configuration
        authority = configuration.ssl_ca_cert
        assert answer.status is not None
        assert answer.status.token is not None
        return write_kubeconfig(
            self.scratch / f"{namespace}-{name}.kubeconfig",
            Credentials(
                server=configuration.host,
                certificate_authority=Path(authority) if authority else None,
                token=answer.status.token,
                namespace=namespace,
            ),
        )

    def create_namespace(self, name: str) -> str:
        with self.api_client() as api:
            client.CoreV1Api(api).create_namespace(
                client.V1Namespace(metadata=client.V1ObjectMeta(name=name))
            )
        return name

    def delete_namespace(self, name: str) -> None:
        """Ask for the deletion and do not wait: objects with finalizers may outlive a test."""
        with self.api_client() as api, contextlib.suppress(client.ApiException):
            client.CoreV1Api(api).delete_namespace(name)

    def install_crds(self, *files: Path) -> None:
        """Apply definitions and wait until the server serves them.

        What kubectl remembers of the versions before is forgotten: it would ask for those for minutes.
        """
        arguments: Sequence[str] = [f"--filename={file}" for file in files]
        self.kubectl("apply", "--server-side", "--force-conflicts", *arguments)
        wait = ("wait", "--for=condition=Established", "--timeout=60s", *arguments)
        # A definition whose conditions are still null is an error to kubectl, not a reason to wait.
        wait_until(
            lambda: self.kubectl(*wait, check=False).returncode == 0, what="the definitions to be served"
        )
        shutil.rmtree(self.scratch / "kubectl-cache", ignore_errors=True)

    def delete_crds(self, *names: str) -> None:
        """Delete definitions, with their objects, and wait until they are gone.

        An API server that deletes a definition which nobody has read since it was installed may forget to
        finish: its first try finds a storage that is not ready, the second conflicts with what the first
        one reported, and no third follows (kube-apiserver 1.36, about once in eighty). Any change of the
        definition makes it try again.
        """
        self.kubectl("delete", "customresourcedefinition", *names, "--ignore-not-found", "--wait=false")
        definitions = [f"customresourcedefinition/{name}" for name in names]
        for nudge in range(CRD_NUDGES):
            gone = self.kubectl("wait", "--for=delete", "--timeout=10s", *definitions, check=False)
            if gone.returncode == 0:
                return
            self.kubectl("annotate", "--overwrite", *definitions, f"{NUDGED}={nudge}", check=False)
        raise PartFailedError(f"{', '.join(names)} are not gone: {gone.stderr.strip()}")


def users_kubeconfig() -> Path | None:
    """The kubeconfig of a cluster that the user wants the tests to run on; None for our own."""
    named = os.environ.get(USERS_CLUSTER_VARIABLE)
    return Path(named) if named else None
