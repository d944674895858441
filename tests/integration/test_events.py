"""Events on a real API server, posted with the operator's own rights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from slaplanner.controller.event_posting import EventPoster
from slaplanner.controller.events import Event, EventType
from slaplanner.controller.outside.calls import Calls
from slaplanner.controller.outside.policies import PolicyObjects
from slaplanner.core.reasons import Reason
from tests.operator_program import NAMESPACE, SERVICE_ACCOUNT
from tests.testbed import Cluster

SCALED = "prefill 1 -> 4: 92.9 requests/s"


def told_by(cluster: Cluster, namespace: str, name: str) -> dict[str, Mapping[str, Any]]:
    """As events.k8s.io/v1 shows them, by reason."""
    found = json.loads(cluster.kubectl("get", "events.events.k8s.io", "-n", namespace, "-o", "json").stdout)
    mine = [event for event in found["items"] if event["regarding"]["name"] == name]
    assert len({event["reason"] for event in mine}) == len(mine), "one object for each thing that was told"
    return {event["reason"]: event for event in mine}


def test_repeats_are_counted_in_one_object_and_kubectl_shows_the_count(
    installed: Cluster, namespace: str
) -> None:
    policy = {
        "apiVersion": "slaplanner.io/v1alpha1",
        "kind": "SLAPolicy",
        "metadata": {"name": "llama", "namespace": namespace},
        "spec": {
            "targetRef": {"name": "llama"},
            "sla": {"ttft": 500, "itl": 30},
            "profile": {"configMapRef": {"name": "profile"}},
        },
    }
    installed.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(policy))
    stored = json.loads(installed.kubectl("get", "slap", "llama", "-n", namespace, "-o", "json").stdout)
    account = installed.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)

    async def tell(*events: Event) -> None:
        with installed.api_client(kubeconfig=account) as api:
            poster = EventPoster(PolicyObjects(api, Calls()))
            for event in events:
                poster.post(stored, event)
                await poster.send_next()
            # Gone from under the poster, as when the API server's hour has passed.
            installed.kubectl("delete", "events", "-n", namespace, "--field-selector=reason=Scaled")
            poster.post(stored, events[0])
            await poster.send_next()

    stale = [
        Event(EventType.WARNING, Reason.STALE, f"silent for {second} s", "MetricsAvailable")
        for second in (75, 90, 105)
    ]
    asyncio.run(tell(Event(EventType.NORMAL, Reason.SCALED, SCALED, "Scale"), *stale))

    told = told_by(installed, namespace, "llama")
    assert told.keys() == {"Scaled", "Stale"}
    assert (told["Stale"]["note"], told["Stale"]["action"]) == ("silent for 75 s", "MetricsAvailable")
    assert told["Stale"]["series"]["count"] == 3
    assert told["Stale"]["series"]["lastObservedTime"] > told["Stale"]["eventTime"]
    assert (told["Scaled"]["note"], told["Scaled"].get("series")) == (SCALED, None)
    described = installed.kubectl("describe", "slap", "llama", "-n", namespace).stdout
    assert "(x3 over" in described
    assert SCALED in described
