"""Repositories and Applications as a user of Argo CD has them, and a record of what became of them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from tests.testbed import Cluster, wait_until
from tests.testbed.argocd import CLUSTER_NAME, NAMESPACE

GROUP = "argoproj.io"
CASCADE = "resources-finalizer.argocd.argoproj.io"
PATIENCE_S = 240.0
KINDS = "applications.v1alpha1.argoproj.io"


class Repository:
    """A git repository of this machine; Argo CD reads it through `file://`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return f"file://{self.directory}"

    def commit(self, files: Mapping[str, Sequence[Mapping[str, Any]] | None], message: str = "change") -> str:
        """Write manifests (None: remove the file), commit, and return the revision."""
        for name, objects in files.items():
            path = self.directory / name
            if objects is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(yaml.safe_dump_all([dict(one) for one in objects], sort_keys=False))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        who = ("-c", "user.name=tests", "-c", "user.email=tests@example.com", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", "-C", str(self.directory), *who, *arguments], check=True, capture_output=True, text=True
        ).stdout


def application(
    name: str,
    repository: Repository,
    *,
    namespace: str,
    options: Sequence[str] = (),
    ignore: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """An Application that syncs all of *repository* by itself, with self-heal and pruning."""
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": NAMESPACE, "finalizers": [CASCADE]},
        "spec": {
            "project": "default",
            "source": {"repoURL": repository.url, "targetRevision": "main", "path": "."},
            "destination": {"name": CLUSTER_NAME, "namespace": namespace},
            "ignoreDifferences": [
                {"group": "nvidia.com", "kind": "DynamoGraphDeployment", **rule} for rule in ignore
            ],
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True, "allowEmpty": True},
                "syncOptions": list(options),
                "retry": {"limit": -1, "backoff": {"duration": "1s", "factor": 1, "maxDuration": "2s"}},
            },
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An object at one moment, as a watch showed it."""

    at_s: float
    kind: str
    namespace: str
    name: str
    body: Mapping[str, Any]
    """As the API server had it; of a deleted object, its last form."""


@dataclass(slots=True)
class Record:
    """Every change of some kinds of objects, in order."""

    entries: list[Seen] = field(default_factory=list)

    def of(self, kind: str, namespace: str, name: str, *, since_s: float = 0.0) -> list[Seen]:
        return [
            one
            for one in list(self.entries)
            if (one.kind, one.namespace, one.name) == (kind, namespace, name) and one.at_s >= since_s
        ]


@contextlib.contextmanager
def recording(cluster: Cluster, *kinds: str) -> Iterator[Record]:
    """Record every change of *kinds* (as kubectl names them) in all namespaces until the block ends."""
    record = Record()
    watches = [
        subprocess.Popen(
            [
                *(str(cluster.kubectl_binary), f"--kubeconfig={cluster.kubeconfig}", "get", kind),
                *("--all-namespaces", "--watch", "--show-managed-fields", "--output=json"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for kind in kinds
    ]
    threads = [threading.Thread(target=_follow, args=(watch, record)) for watch in watches]
    for thread in threads:
        thread.start()
    try:
        yield record
    finally:
        for watch in watches:
            watch.terminate()
        for watch, thread in zip(watches, threads, strict=True):
            thread.join()
            watch.wait()
            assert watch.stdout is not None
            watch.stdout.close()


def _follow(watch: subprocess.Popen[str], record: Record) -> None:
    """kubectl prints one indented document after the other; a lone brace ends each."""
    assert watch.stdout is not None
    lines: list[str] = []
    for line in watch.stdout:
        lines.append(line)
        if line.startswith("}"):
            body = json.loads("".join(lines))
            lines = []
            metadata = body["metadata"]
            record.entries.append(
                Seen(
                    at_s=time.time(),
                    kind=body["kind"],
                    namespace=metadata["namespace"],
                    name=metadata["name"],
                    body=body,
                )
            )


@dataclass(frozen=True, slots=True)
class Reader:
    """Looks at objects over connections that stay open: many tests look twice a second, for minutes.

    Kinds are named as kubectl takes them: `plural.version.group`.
    """

    api: client.ApiClient

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        plural, version, group = kind.split(".", 2)
        objects = client.CustomObjectsApi(self.api)
        found: dict[str, Any] = objects.get_namespaced_custom_object(group, version, namespace, plural, name)
        return found

    def names(self, kind: str, namespace: str) -> list[str]:
        plural, version, group = kind.split(".", 2)
        objects = client.CustomObjectsApi(self.api)
        listed = objects.list_namespaced_custom_object(group, version, namespace, plural)
        return [one["metadata"]["name"] for one in listed["items"]]

    def config_maps(self, namespace: str) -> list[str]:
        """Without the one that every namespace has."""
        listed = client.CoreV1Api(self.api).list_namespaced_config_map(namespace)
        return [one.metadata.name for one in listed.items if one.metadata.name != "kube-root-ca.crt"]


@dataclass(frozen=True, slots=True)
class App:
    """One Application, seen as its user sees it."""

    cluster: Cluster
    reader: Reader
    name: str

    def get(self) -> dict[str, Any]:
        return self.reader.get(KINDS, NAMESPACE, self.name)

    def state(self) -> tuple[str, str, str]:
        """Sync status, health, and the revision that was compared last."""
        return state_of(self.get())

    def wait(self, *, revision: str, health: str = "Healthy", timeout_s: float = PATIENCE_S) -> None:
        """Wait until *revision* is synced and the whole has that health."""
        wanted = ("Synced", health, revision)
        try:
            wait_until(
                lambda: self.state() == wanted,
                what=f"Application {self.name} to be {wanted}",
                timeout_s=timeout_s,
                poll_s=0.5,
            )
        except Exception as error:
            error.add_note(yaml.safe_dump(self.get().get("status")))
            raise

    def refresh(self) -> None:
        """Look at the repository now, as the button does."""
        self.cluster.kubectl(
            *("annotate", "--overwrite", KINDS, self.name, f"--namespace={NAMESPACE}"),
            "argocd.argoproj.io/refresh=normal",
        )

    def delete(self) -> None:
        self.cluster.kubectl("delete", KINDS, self.name, f"--namespace={NAMESPACE}", "--wait=false")


def state_of(body: Mapping[str, Any]) -> tuple[str, str, str]:
    """Sync status, health and revision in an Application's status."""
    status = body.get("status", {})
    sync = status.get("sync", {})
    return sync.get("status", ""), status.get("health", {}).get("status", ""), sync.get("revision", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A sync that ran."""

    revision: str
    started_at_s: float
    """To the second."""
    repaired: tuple[str, ...] = ()
    """Kinds that self-heal synced again; empty: a commit caused it."""


def operations(seen: Sequence[Seen]) -> list[Operation]:
    """The sync operations that ran, oldest first."""
    ran: dict[Operation, None] = {}
    for one in seen:
        state = one.body.get("status", {}).get("operationState") or {}
        if stamp := state.get("startedAt"):
            sync = state["operation"]["sync"]
            operation = Operation(
                revision=sync.get("revision", ""),
                started_at_s=dt.datetime.fromisoformat(stamp).timestamp(),
                repaired=tuple(one["kind"] for one in sync.get("resources", ())),
            )
            ran[operation] = None
    return list(ran)
