"""Keeps the fleet away from clusters where a real controller might play the same part."""

from __future__ import annotations

import ipaddress

from slaplanner_lab.fleet.graph import FleetError
from slaplanner_lab.fleet.kube import Access

_LAPTOP_PREFIXES = ("kind-", "k3d-", "minikube")


def check_laptop(access: Access, *, really: bool) -> None:
    """Let only clusters on this machine pass, unless the user insists.

    Raises:
        FleetError: the API server is elsewhere.
    """
    if really or access.context.startswith(_LAPTOP_PREFIXES) or is_loopback(access.host):
        return
    raise FleetError(
        f"context {access.context!r} leads to {access.host}, wanted a cluster on this machine (loopback or kind):"
        " the fleet plays Dynamo's operator and must not meet a real one; --yes-really insists"
    )


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine as only it sees itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
