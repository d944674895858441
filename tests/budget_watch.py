"""The GPUs of a deployment at every version that it ever had, not only when a test happened to look."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client, watch
from urllib3.exceptions import HTTPError

from tests.scene import NAME, Scene
from tests.testbed import wait_until

_PLURAL = "dynamographdeployments"


@dataclass(slots=True)
class Seen:
    """One version: per role, what the spec asks for and what the status says exists."""

    version: int
    asked: dict[str, int]
    present: dict[str, int]

    def gpus(self, gpus_per_replica: int) -> int:
        """GPUs that are held or may be taken at any moment."""
        held = (max(count, self.present.get(role, 0)) for role, count in self.asked.items())
        return gpus_per_replica * sum(held)


@dataclass(slots=True)
class BudgetWatch:
    """All versions since the watch began."""

    seen: list[Seen] = field(default_factory=list)

    def asked(self) -> list[dict[str, int]]:
        """The specs' replicas in their order, without repetitions."""
        moves: list[dict[str, int]] = []
        for one in self.seen:
            if not moves or moves[-1] != one.asked:
                moves.append(one.asked)
        return moves

    def within(self, budget: int, *, gpus_per_replica: int = 2) -> None:
        """Every version kept the budget."""
        over = [one for one in self.seen if one.gpus(gpus_per_replica) > budget]
        assert self.seen, "the watch saw nothing"
        assert not over, f"over the budget of {budget} GPUs: {over}"


@contextmanager
def budget_watch(scene: Scene) -> Iterator[BudgetWatch]:
    """Watch the scene's deployment from its present version on, until the block ends."""
    watched = BudgetWatch()
    group = scene.version
    with scene.cluster.api_client() as api:
        objects = client.CustomObjectsApi(api)
        where = ("nvidia.com", group, scene.namespace, _PLURAL)
        now = objects.get_namespaced_custom_object(*where, NAME)
        watched.seen.append(version_of(now))
        stream = watch.Watch()
        over = threading.Event()

        def follow() -> None:
            try:
                record()
            except HTTPError:
                # Stopping cuts the connection under the one who reads from it.
                if not over.is_set():
                    raise

        def record() -> None:
            changes = stream.stream(
                objects.list_namespaced_custom_object,
                *where,
                resource_version=now["metadata"]["resourceVersion"],
                field_selector=f"metadata.name={NAME}",
            )
            # The block's end closes the connection under it.
            with contextlib.suppress(HTTPError):
                for change in changes:
                    if change["type"] == "MODIFIED":
                        watched.seen.append(version_of(change["object"]))

        thread = threading.Thread(target=follow, name="budget watch")
        thread.start()
        try:
            yield watched
        finally:
            try:
                _flush(scene, watched)
            finally:
                over.set()
                stream.stop()
                thread.join()


def _flush(scene: Scene, watched: BudgetWatch) -> None:
    """The watch has caught up with what the API server holds."""

    last = int(scene.get(scene.graph_kind)["metadata"]["resourceVersion"])
    wait_until(lambda: watched.seen[-1].version >= last, what=f"the watch to reach version {last}")


def version_of(graph: Mapping[str, Any]) -> Seen:
    """What a deployment asks for and has; as etcd stores it, it bears no version."""
    spec, status = graph["spec"], graph.get("status", {})
    listed = spec.get("components")
    named = {one["name"]: one for one in listed} if listed is not None else spec["services"]
    counts = status.get("components") or status.get("services") or {}
    roles = [name for name in named if name != "Frontend"]
    return Seen(
        version=int(graph["metadata"].get("resourceVersion") or 0),
        asked={role: int(named[role].get("replicas", 1)) for role in roles},
        present={role: int(counts.get(role, {}).get("replicas", 0)) for role in roles},
    )
