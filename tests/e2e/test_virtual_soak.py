"""A thousand decisions in a row, with either side killed at random: ids rise by one, nobody goes back."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from kubernetes import client, watch
from urllib3.exceptions import HTTPError

from tests.testbed import Cluster, EtcdFactory, EtcdServer, wait_until
from tests.virtual_sides import counts

DECISIONS = 1000
KILLS = 12
"""Of each program; a start costs a second of CPU."""

PATIENCE_S = 500.0
ROOT = Path(__file__).parents[2]

POLICY = """
apiVersion: slaplanner.io/v1alpha1
kind: SLAPolicy
metadata: {name: fleet}
spec:
  profile: {configMapRef: {name: profile}}
  roles: [{name: prefill, gpusPerReplica: 1}, {name: decode, gpusPerReplica: 1}]
  connector:
    type: Virtual
    virtual: {backend: Kubernetes, dynamoNamespace: fleet, model: llama}
"""


class Program:
    """One side, started again whenever it was killed."""

    def __init__(self, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "tests.virtual_sides", *arguments]
        self._process = self._start()
        self.kills = 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=ROOT)

    def kill(self) -> None:
        """SIGKILL, and start again."""
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._process = self._start()

    @property
    def ended_well(self) -> bool:
        return self._process.poll() == 0

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def journal_of(path: Path) -> list[tuple[int, int, int, int]]:
    """(pid, id, prefill, decode); a line that a kill cut off is no line."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [tuple(int(word) for word in line.split()) for line in lines]  # type: ignore[misc]


def play(where: str, tmp_path: Path, published: Callable[[], list[int]]) -> None:
    """Run both sides, kill them at random moments of the play, and judge what they left."""
    chance = random.Random(4)
    journals = [tmp_path / f"client-{number}" for number in range(2)]
    programs = [
        Program("publish", where, str(DECISIONS - 1)),
        *(Program("follow", where, str(journal)) for journal in journals),
    ]
    try:
        moments = sorted(
            (chance.randrange(10, DECISIONS - 10), program) for program in range(3) for _ in range(KILLS)
        )
        for decision, program in moments:
            wait_until(
                lambda: _last(published()) >= decision,  # noqa: B023
                what=f"decision {decision}",
                timeout_s=PATIENCE_S,
                poll_s=0.1,
            )
            programs[program].kill()
        wait_until(lambda: programs[0].ended_well, what="the last decision", timeout_s=PATIENCE_S)
        for journal in journals:
            wait_until(
                lambda: journal_of(journal)[-1][1] == DECISIONS - 1,  # noqa: B023
                what=f"{journal.name} to end at the last decision",
                timeout_s=PATIENCE_S,
            )
    finally:
        for program in programs:
            program.stop()
    assert [program.kills for program in programs] == [KILLS] * 3
    wait_until(lambda: len(published()) >= DECISIONS, what="all to be seen")
    assert published() == list(range(DECISIONS)), "published ids rise by one"
    for journal in journals:
        applied = journal_of(journal)
        assert [line[1] for line in applied] == sorted(line[1] for line in applied), "never an older one"
        assert all((prefill, decode) == counts(number) for _, number, prefill, decode in applied)
        assert len({pid for pid, *_ in applied}) > 1, "it was killed in the middle"


def _last(ids: list[int]) -> int:
    return ids[-1] if ids else -1


@contextmanager
def listening(read: Callable[[], Iterator[int]]) -> Iterator[Callable[[], list[int]]]:
    """Every id that was ever published, read from the server's own history."""
    ids: list[int] = []

    def listen() -> None:
        with contextlib.suppress(HTTPError, OSError):  # the server ends before its listeners
            for number in read():
                if not ids or ids[-1] != number:
                    ids.append(number)

    threading.Thread(target=listen, daemon=True).start()
    yield lambda: list(ids)


def test_in_etcd(etcd_server: EtcdFactory, tmp_path: Path) -> None:
    etcd = etcd_server()
    with listening(lambda: _etcd_history(etcd, "v1/fleet/planner/decision_id")) as published:
        play(f"etcd:{etcd.endpoint}:fleet", tmp_path, published)
    assert etcd.get("v1/fleet/planner/scaled_decision_id") == str(DECISIONS - 1)


def test_in_a_policys_status(installed: Cluster, namespace: str, tmp_path: Path) -> None:
    where = f"--namespace={namespace}"
    installed.kubectl("apply", where, "-f", "-", stdin=POLICY)
    with listening(lambda: _policy_history(installed, namespace)) as published:
        play(f"policy:{installed.kubeconfig}:{namespace}:fleet", tmp_path, published)


def _etcd_history(etcd: EtcdServer, key: str) -> Iterator[int]:
    body = {"create_request": {"key": base64.b64encode(key.encode()).decode(), "start_revision": "1"}}
    with requests.post(f"{etcd.endpoint}/v3/watch", data=json.dumps(body), stream=True) as answer:
        for line in answer.iter_lines():
            for event in json.loads(line)["result"].get("events", ()):
                yield int(base64.b64decode(event["kv"]["value"]))


def _policy_history(cluster: Cluster, namespace: str) -> Iterator[int]:
    with cluster.api_client() as api:
        for event in watch.Watch().stream(
            client.CustomObjectsApi(api).list_namespaced_custom_object,
            "slaplanner.io",
            "v1alpha1",
            namespace,
            "slapolicies",
        ):
            found = event["object"].get("status", {}).get("lastPublished")
            if found is not None:
                yield found["id"]
