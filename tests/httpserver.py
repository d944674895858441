"""A real HTTP(S) server on loopback that answers as a test tells it, and keeps what it was asked."""

from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from urllib.parse import parse_qs, urlsplit

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
