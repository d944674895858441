"""The administrator's connections by name: all that a policy can choose from."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from slaplanner.adapters.prometheus.client import Client, QueryHook
from slaplanner.core.errors import MetricsError
from slaplanner.core.reasons import Reason
from slaplanner.settings import PrometheusConnection


class Connections:
    """One client per connection, made when it is first asked for and shared by all policies."""

    def __init__(
        self, connections: Mapping[str, PrometheusConnection], *, hook: QueryHook | None = None
    ) -> None:
        self._connections = dict(connections)
        self._hook = hook
        self._lock = Lock()
        self._clients: dict[str, Client] = {}

    def get(self, name: str) -> Client:
        """The client of the connection *name*.

        Raises:
            MetricsError: there is no connection of that name (`ConnectionUnknown`).
        """
        with self._lock:
            if name not in self._clients:
                self._clients[name] = Client(name, self._find(name), hook=self._hook)
            return self._clients[name]

    def close(self) -> None:
        """Let go of all open sockets."""
        with self._lock:
            for client in self._clients.values():
                client.close()

    def _find(self, name: str) -> PrometheusConnection:
        if name in self._connections:
            return self._connections[name]
        known = ", ".join(sorted(self._connections)) or "none"
        raise MetricsError(
            f"found no Prometheus connection {name!r} in the operator's settings, they have: {known}",
            reason=Reason.CONNECTION_UNKNOWN,
        )
