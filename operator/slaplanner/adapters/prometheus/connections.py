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

    def get(self, name: str, *, namespace: str | None = None) -> Client:
        """The client of the connection *name*, for a policy of *namespace*; None: who asks was let in before.

        Raises:
            MetricsError: there is no connection of that name (`ConnectionUnknown`), or policies of this namespace
                may not use it (`ConnectionNotAllowed`).
        """
        connection = self._find(name, namespace)
        with self._lock:
            if name not in self._clients:
                self._clients[name] = Client(name, connection, hook=self._hook)
            return self._clients[name]

    def is_shared(self, name: str) -> bool:
        """Whether policies of any namespace may read through the connection *name*."""
        return name in self._connections and self._connections[name].is_shared

    def close(self) -> None:
        """Let go of all open sockets."""
        with self._lock:
            for client in self._clients.values():
                client.close()

    def _find(self, name: str, namespace: str | None) -> PrometheusConnection:
        found = self._connections.get(name)
        if found is not None and (namespace is None or found.allows(namespace)):
            return found
        if found is not None:
            raise MetricsError(
                f"policies of namespace {namespace!r} may not use the Prometheus connection {name!r}, wanted "
                f"{namespace!r} among its allowedNamespaces in the operator's settings",
                reason=Reason.CONNECTION_NOT_ALLOWED,
            )
        # Names of connections tell of tenants, so only those are listed that this namespace may use.
        usable = (
            each
            for each, connection in self._connections.items()
            if namespace is None or connection.allows(namespace)
        )
        known = ", ".join(sorted(usable)) or "none"
        raise MetricsError(
            f"found no Prometheus connection {name!r} in the operator's settings, it may use: {known}",
            reason=Reason.CONNECTION_UNKNOWN,
        )
