"""A thousand decisions in a row in a policy's status, with random kills of either side."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubernetes import client, watch
from urllib3.exceptions import HTTPError

from tests.testbed import Cluster, wait_until
from tests.virtual_play import DECISIONS, play
from tests.virtual_policy import POLICY

KILLS = 5
"""Of each program: a start costs two seconds of CPU, most of it Kubernetes' client."""


def test_a_thousand_decisions_with_random_kills(installed: Cluster, namespace: str, tmp_path: Path) -> None:
    installed.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=POLICY)
    with listening(installed, namespace) as published:
        play(
            f"policy:{installed.kubeconfig}:{namespace}:fleet",
            tmp_path,
            kills=KILLS,
            last_id=lambda: published[-1] if published else -1,
        )
        wait_until(lambda: published[-1] == DECISIONS - 1, what="all to be seen")
        assert published == list(range(DECISIONS)), "ids rise by one"


@contextmanager
def listening(cluster: Cluster, namespace: str) -> Iterator[list[int]]:
    """Every id that is published, as the API server tells it."""
    ids: list[int] = []
    stream = watch.Watch()

    def listen() -> None:
        with cluster.api_client() as api, contextlib.suppress(HTTPError, OSError):
            # The server may end before its listener.
            for event in stream.stream(
                client.CustomObjectsApi(api).list_namespaced_custom_object,
                *("slaplanner.io", "v1alpha1", namespace, "slapolicies"),
            ):
                found = event["object"].get("status", {}).get("lastPublished")
                if found is not None and (not ids or ids[-1] != found["id"]):
                    ids.append(found["id"])

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield ids
    finally:
        stream.stop()
