"""A real HTTP(S) server on loopback that answers as a test tells it."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.testbed.certificates import CertificateAuthority, KeyPair

VECTOR = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"42"]}]}}'


@dataclass(kw_only=True)
class Request:
    method: str
    path: str
    headers: Message
    form: dict[str, list[str]]


@dataclass(kw_only=True)
class Script:
    """What the server answers, and what it was asked."""

    status: int = 200
    body: bytes = VECTOR
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    silent: bool = False
    """Say nothing until the test is over."""
    drip: bool = False
    """Send single bytes for ever, each in time."""
    announced_bytes: int | None = None
    requests: list[Request] = field(default_factory=list)
    over: Event = field(default_factory=Event)
    url: str = ""

    @property
    def last(self) -> Request:
        return self.requests[-1]


def handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            form = parse_qs(parts.query) | parse_qs(self.rfile.read(length).decode())
            script.requests.append(
                Request(method=self.command, path=parts.path, headers=self.headers, form=form)
            )
            if script.silent:
                script.over.wait()
                self.close_connection = True
                return
            self.send_response(script.status)
            for name, value in script.headers.items():
                self.send_header(name, value)
            size = len(script.body) if script.announced_bytes is None else script.announced_bytes
            self.send_header("Content-Length", str(10**6 if script.drip else size))
            self.end_headers()
            if script.drip:
                self._drip()
            self.wfile.write(script.body)
            self.close_connection = script.announced_bytes is not None

        do_POST = do_GET  # noqa: N815 - the base class's name

        def _drip(self) -> None:
            self.close_connection = True
            while not script.over.wait(0.02):
                self.wfile.write(b" ")
                self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    return Handler


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or shows no certificate, is what some tests are about."""


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
