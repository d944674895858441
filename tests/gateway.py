"""Doors that tests stand in front of real servers, to shut them, slow them down and bend what they say."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

JSON = "application/json"
UPSTREAM_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a door treats what passes it."""

    status: int | None = None
    """Answer this instead of asking."""
    silent: bool = False
    """Take the question and say nothing, until they give up or the door behaves in another way."""
    bend: Callable[[bytes], bytes] = lambda body: body
    date: Callable[[], str] | None = None
    """The answer's Date, as of a server with another clock."""


OPEN = Manner()


def not_numbers(body: bytes) -> bytes:
    """Prometheus' answer with NaN for every value, as 0/0 gives."""
    answer = json.loads(body)
    for series in answer.get("data", {}).get("result", []):
        if "value" in series:
            series["value"][1] = "NaN"
        for point in series.get("values", []):
            point[1] = "NaN"
    return json.dumps(answer).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that give up waiting are what the tests are about."""


class HttpDoor:
    """In front of an HTTP server; open at first."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._manner = OPEN
        self._changed = threading.Event()
        self._server: _Server | None = None
        self.port = 0
        self.asked = threading.Event()
        """Set by every question; tests clear it."""
        self.held_so_far = 0
        """Questions that were ever held, the open ones among them."""
        self.held = 0
        """Questions that are held now: taken, and neither answered nor given up."""
        self._counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def behave(self, manner: Manner) -> None:
        """From now on, and to the questions that are held."""
        self._manner = manner
        self._changed.set()
        self._changed = threading.Event()

    def close(self) -> None:
        """Nobody listens there any more."""
        self._changed.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def open(self) -> None:
        """Listen, on the same port as before, and let the questions through that are held."""
        self.behave(OPEN)
        if self._server is None:
            self._server = _Server(("127.0.0.1", self.port), self._handler())
            self.port = self._server.server_address[1]
            serve = self._server.serve_forever
            threading.Thread(target=serve, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_DoorHandler,), {"door": self})


class _DoorHandler(BaseHTTPRequestHandler):
    door: HttpDoor

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        manner, changed = self.door._manner, self.door._changed
        self.door.asked.set()
        if manner.silent:
            self._hold(changed)
            manner = self.door._manner
            if manner.silent:
                return
        if manner.status is not None:
            error = {"status": "error", "errorType": "test", "error": "the door is shut"}
            self._answer(manner.status, json.dumps(error).encode())
            return
        status, answer = self._ask(body)
        self._answer(status, manner.bend(answer), manner.date)

    do_POST = do_GET  # noqa: N815 - the base class's name

    def _hold(self, changed: threading.Event) -> None:
        with self.door._counting:
            self.door.held += 1
            self.door.held_so_far += 1
        try:
            self._until_they_give_up(changed)
        finally:
            with self.door._counting:
                self.door.held -= 1

    def _until_they_give_up(self, changed: threading.Event) -> None:
        self.connection.setblocking(False)
        while not changed.wait(0.05):
            with contextlib.suppress(BlockingIOError):
                if self.connection.recv(1, socket.MSG_PEEK) == b"":
                    break
        self.connection.setblocking(True)

    def _ask(self, body: bytes) -> tuple[int, bytes]:
        upstream = http.client.HTTPConnection(self.door._upstream, timeout=UPSTREAM_TIMEOUT_S)
        try:
            kept = {"Content-Type": self.headers.get("Content-Type") or JSON}
            upstream.request(self.command, self.path, body=body or None, headers=kept)
            response = upstream.getresponse()
            return response.status, response.read()
        finally:
            upstream.close()

    def _answer(self, status: int, body: bytes, date: Callable[[], str] | None = None) -> None:
        self.send_response_only(status)
        self.send_header("Date", date() if date is not None else self.date_time_string())
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class TcpDoor:
    """In front of any server, TLS included: bytes pass, until the door is frozen or shut."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._passing = threading.Event()
        self._passing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._shut = False

    def shut(self) -> None:
        """Hang up on everybody, and on whoever comes."""
        self._shut = True
        for one in self._sockets:
            _hang_up(one)

    def open(self) -> None:
        """Let them come again."""
        self._shut = False

    def freeze(self) -> None:
        """Connections stay open, and nothing comes through."""
        self._passing.clear()

    def thaw(self) -> None:
        self._passing.set()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._passing.set()
        _hang_up(self._listener)  # closing alone would not wake who waits in accept
        self._threads[0].join()
        self.shut()
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()

    def _start(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(near)
            with contextlib.suppress(OSError):  # whoever comes while the server is away is hung up on
                far = socket.create_connection(self._upstream)
                self._sockets.append(far)
                if not self._shut:
                    self._start(self._pump, near, far)
                    self._start(self._pump, far, near)
                    continue
            _hang_up(near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._passing.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            """One side has gone."""


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
