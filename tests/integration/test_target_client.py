"""An API server that is away costs one bounded request, not a thread."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from kubernetes.client import Configuration

from slaplanner.adapters.deployment import (
    ApiRefusal,
    GraphConnector,
    GraphTarget,
    KubernetesApi,
    bounded_client,
)
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Mode
from slaplanner.core.reasons import Reason


class SilentServer:
    """Takes connections, counts them, and never says a word."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.taken: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="silent-server")
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.taken.append(connection)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join()
        for connection in self.taken:
            connection.close()


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    server = SilentServer()
    yield server
    server.close()


def api(port: int, *, timeout_s: float = 4.0) -> KubernetesApi:
    return KubernetesApi(bounded_client(Configuration(host=f"http://127.0.0.1:{port}")), timeout_s=timeout_s)


WHERE = ("v1beta1", "serving", "dynamographdeployments", "llama")


@pytest.mark.parametrize(
    "request_of",
    [
        lambda client: client.get(*WHERE),
        lambda client: client.patch(*WHERE, [], content_type="application/json-patch+json"),
    ],
    ids=["get", "patch"],
)
def test_a_server_that_never_answers_is_asked_once(
    silent: SilentServer, request_of: Callable[[KubernetesApi], object]
) -> None:
    client = api(silent.port, timeout_s=0.2)
    with pytest.raises(ApiRefusal, match="did not answer") as caught:
        request_of(client)
    assert caught.value.failure.reason is Reason.API_UNAVAILABLE
    assert len(silent.taken) == 1


def test_a_server_that_is_down_makes_the_target_unreadable_and_says_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    connector = GraphConnector(api(port), GraphTarget(namespace="serving", name="llama", mode=Mode.AGG))
    with pytest.raises(TargetError, match="cannot be read: the API server did not answer") as caught:
        connector.observe()
    assert caught.value.reason is Reason.API_UNAVAILABLE
