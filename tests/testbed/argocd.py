"""A real Argo CD beside a cluster: repository server, application controller and their cache.

There is no Argo CD API server and no user: Applications are applied with kubectl, repositories are
directories of this machine, and the cluster that Argo CD syncs to is the one that it lives in. What
a user does in its interface (actions, the health of one object) is done by the same engine in the
`argocd` command.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.binaries import ARGOCD, TESTS, find_argocd, find_redis
from tests.testbed.cluster import Cluster
from tests.testbed.errors import PartFailedError
from tests.testbed.gomodule import Say, module_directory, quiet
from tests.testbed.processes import Server, free_port, loopback_session

CUSTOMIZATIONS = TESTS.parent / "manifests/argocd/argocd-cm.yaml"
NAMESPACE = "argocd"
CLUSTER_NAME = "testbed"
"""As an Application's destination names the cluster."""
ACCOUNT = "argocd-application-controller"
PARTS = ("argocd-repo-server", "argocd-application-controller")
RESYNC_S = 5
SELF_HEAL_S = 5
"""Between a sync and the first repair after it, and between any two: without a release's growing pauses.

A release repairs at once, also what it only has not yet seen its own sync do: without any operator near,
it repeated 3 of 52 syncs of commits of a deployment that way, and none of as many with this pace.
"""
COMMAND_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 2.0

_LABELS = {"app.kubernetes.io/part-of": "argocd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A button of an object."""

    name: str
    disabled: bool


class LuaEngine:
    """Argo CD's own Lua engine on one object at a time, with the settings of a ConfigMap in a file."""

    def __init__(self, directory: Path, *, settings: Path = CUSTOMIZATIONS, say: Say = quiet) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._settings = settings
        self._command = directory / "argocd"
        self._command.symlink_to(find_argocd(say=say))

    def health(self, obj: Mapping[str, Any]) -> tuple[str, str]:
        """Status and message."""
        lines = dict(
            line.split(": ", maxsplit=1) for line in self._run("health", obj).splitlines() if ": " in line
        )
        return lines["STATUS"], lines.get("MESSAGE", "")

    def actions(self, obj: Mapping[str, Any]) -> list[Action]:
        """The object's buttons, by name."""
        rows = [line.split() for line in self._run("list-actions", obj).splitlines()[1:]]
        return sorted(
            (Action(name=name, disabled=disabled == "true") for name, disabled in rows),
            key=lambda action: action.name,
        )

    def act(self, obj: Mapping[str, Any], action: str) -> dict[str, Any]:
        """The object after its button *action* was pressed."""
        printed = self._run("run-action", obj, action)
        _, _, changed = printed.partition("changed:")
        result: dict[str, Any] = yaml.safe_load(changed)
        return result

    def _run(self, question: str, obj: Mapping[str, Any], *arguments: str) -> str:
        """What the command prints.

        Raises:
            PartFailedError: its exit code is not 0.
        """
        file = self._directory / "object.yaml"
        file.write_text(yaml.safe_dump(dict(obj)))
        words = ["admin", "settings", "resource-overrides", question, str(file), *arguments]
        result = subprocess.run(
            [str(self._command), *words, f"--argocd-cm-path={self._settings}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
            # Instead of the difference, show what came of it.
            env={
                **os.environ,
                "HOME": str(self._directory),
                "KUBECTL_EXTERNAL_DIFF": """sh -c 'cat "$2"' show""",
            },
            stdin=subprocess.DEVNULL,
        )
        if result.returncode != 0:
            raise PartFailedError(
                f"argocd {' '.join(words)} ended with code {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result.stdout


class ArgoCD:
    """One Argo CD, with what `manifests/argocd` teaches it about SLAPolicies."""

    def __init__(self, cluster: Cluster, directory: Path, *, say: Say = quiet) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.cluster = cluster
        self.directory = directory
        self._temporary = directory / "tmp"
        self._temporary.mkdir(exist_ok=True)
        binary, redis = find_argocd(say=say), find_redis()
        for part in PARTS:
            # One program that plays the part by whose name it is called.
            (directory / part).symlink_to(binary)
        self._redis_port, self._repo_port, self._controller_port = free_port(), free_port(), free_port()
        self._repo_metrics_port = free_port()
        self._http = loopback_session()
        self._redis = Server(
            "redis-server",
            [
                *(redis, "--port", str(self._redis_port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", directory),
            ],
            log=directory / "redis.log",
        )
        self._repo_server = Server(
            "argocd-repo-server",
            [
                directory / "argocd-repo-server",
                "--disable-tls",
                *("--address", "127.0.0.1", "--port", str(self._repo_port)),
                *("--metrics-address", "127.0.0.1", "--metrics-port", str(self._repo_metrics_port)),
                *("--redis", f"127.0.0.1:{self._redis_port}"),
                # A commit is seen by the next refresh of its Application, not minutes later.
                *("--revision-cache-expiration", "1s", "--repo-cache-expiration", "1h"),
                *("--loglevel", "warn"),
            ],
            log=directory / "repo-server.log",
            env=self._environment(),
        )
        self._controller = Server(
            "argocd-application-controller",
            [
                directory / "argocd-application-controller",
                *("--kubeconfig", cluster.kubeconfig, "--namespace", NAMESPACE),
                *("--repo-server", f"127.0.0.1:{self._repo_port}", "--repo-server-plaintext"),
                *("--redis", f"127.0.0.1:{self._redis_port}"),
                *("--metrics-port", str(self._controller_port)),
                # Sooner than a release's three minutes.
                *("--app-resync", str(RESYNC_S)),
                *(
                    "--self-heal-timeout-seconds",
                    str(SELF_HEAL_S),
                    "--self-heal-backoff-timeout-seconds",
                    "0",
                ),
                *("--loglevel", "warn"),
            ],
            log=directory / "application-controller.log",
            env=self._environment(),
        )

    def start(self) -> None:
        """Install the definitions and the configuration, start all parts, wait until they answer."""
        crds = module_directory(ARGOCD, "github.com/argoproj/argo-cd/v3") / "manifests/crds"
        self.cluster.install_crds(crds / "application-crd.yaml", crds / "appproject-crd.yaml")
        self._apply(*_account())
        self._apply(*_configuration(), self._cluster_secret())
        self.cluster.kubectl(
            *("patch", "configmap", "argocd-cm", f"--namespace={NAMESPACE}", f"--patch-file={CUSTOMIZATIONS}")
        )
        for server in (self._redis, self._repo_server, self._controller):
            server.start()
        self._repo_server.wait_ready(lambda: self._healthy(self._repo_metrics_port))
        self._controller.wait_ready(lambda: self._healthy(self._controller_port))

    def stop(self) -> None:
        for server in (self._controller, self._repo_server, self._redis):
            server.stop()
        self._http.close()

    def tail(self) -> str:
        """The ends of all logs."""
        return f"{self._controller.tail()}\n{self._repo_server.tail()}\n{self._redis.tail()}"

    def _environment(self) -> dict[str, str]:
        return {
            "ARGOCD_GPG_ENABLED": "false",
            "HOME": str(self.directory),
            # Clones and a socket of a fixed name lie there: one Argo CD must not meet another's.
            "TMPDIR": str(self._temporary),
            "GIT_CONFIG_COUNT": "1",
            # The repository belongs to the test's user, the clone to the server's: the same, here.
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "KUBECONFIG": str(self.cluster.kubeconfig),
        }

    def _healthy(self, port: int) -> bool:
        return self._http.get(f"http://127.0.0.1:{port}/healthz", timeout=REQUEST_TIMEOUT_S).ok

    def _apply(self, *objects: Mapping[str, Any]) -> None:
        self.cluster.kubectl(
            *("apply", "--server-side", "--force-conflicts", "-f", "-"), stdin=yaml.safe_dump_all(objects)
        )

    def _cluster_secret(self) -> dict[str, Any]:
        """The cluster as Argo CD reaches it, under the name that Applications use."""
        access = yaml.safe_load(
            self.cluster.service_account_kubeconfig(namespace=NAMESPACE, name=ACCOUNT).read_text()
        )
        (cluster,), (user,) = access["clusters"], access["users"]
        authority = Path(cluster["cluster"]["certificate-authority"])
        config = {
            "bearerToken": user["user"]["token"],
            "tlsClientConfig": {
                "insecure": False,
                "caData": base64.b64encode(authority.read_bytes()).decode(),
            },
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "cluster-testbed",
                "namespace": NAMESPACE,
                "labels": {**_LABELS, "argocd.argoproj.io/secret-type": "cluster"},
            },
            "stringData": {
                "name": CLUSTER_NAME,
                "server": cluster["cluster"]["server"],
                "config": json.dumps(config),
            },
        }


def _account() -> list[dict[str, Any]]:
    """Who Argo CD is in the cluster: it may do anything, as in its own installation."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": NAMESPACE},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "cluster-admin",
            },
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        },
    ]


def _configuration() -> list[dict[str, Any]]:
    """What Argo CD reads when it starts; absent, its parts wait for it."""

    def head(kind: str, name: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": _LABELS},
        }

    return [
        head("ConfigMap", "argocd-cm"),
        *(
            head("ConfigMap", f"argocd-{name}-cm")
            for name in ("rbac", "ssh-known-hosts", "tls-certs", "gpg-keys")
        ),
        head("ConfigMap", "argocd-cmd-params-cm"),
        head("Secret", "argocd-secret") | {"stringData": {"server.secretkey": secrets.token_urlsafe(32)}},
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": {"name": "default", "namespace": NAMESPACE},
            "spec": {
                "sourceRepos": ["*"],
                "destinations": [{"server": "*", "namespace": "*"}],
                "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
            },
        },
    ]
