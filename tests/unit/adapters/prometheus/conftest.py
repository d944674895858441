"""A Prometheus that is only a script, and the credentials to reach it with."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from tests.httpserver import Script, Server, handler
from tests.testbed.certificates import CertificateAuthority, KeyPair


@pytest.fixture
def serve() -> Iterator[Callable[..., Script]]:
    """Starts servers; `serve(tls=context)` speaks HTTPS."""
    with ExitStack() as stack:

        def start(*, tls: ssl.SSLContext | None = None) -> Script:
            script = Script()
            server = stack.enter_context(Server(("127.0.0.1", 0), handler(script)))
            if tls is not None:
                server.socket = tls.wrap_socket(
                    server.socket, server_side=True, do_handshake_on_connect=False
                )
            script.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            stack.callback(script.over.set)
            return script

        yield start


@pytest.fixture
def server(serve: Callable[..., Script]) -> Script:
    return serve()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def server_pair(authority: CertificateAuthority) -> KeyPair:
    return authority.issue("server")


@pytest.fixture
def tls(server_pair: KeyPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_pair.certificate, server_pair.key)
    return context


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a credentials file as a Secret's mount does: another file under the same name."""

    def write(name: str, content: str) -> Path:
        new = tmp_path / f".{name}.new"
        new.write_text(content)
        return new.rename(tmp_path / name)

    return write
