"""A door before a real API server: it refuses, delays, cuts or loses requests as a fault wants it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

UPSTREAM_TIMEOUT_S = 120.0
PASSED_ON = ("Authorization", "Content-Type", "Accept", "User-Agent")

Matches = Callable[[str, str], bool]
"""Whether a request is meant, by its method and path."""


def every(method: str, path: str) -> bool:
    return True


def writes_of(resource: str) -> Matches:
    """Writes of that resource: `dynamographdeployments`, or with its subresource `slapolicies/status`."""
    plural, _, subresource = resource.partition("/")

    def matches(method: str, path: str) -> bool:
        parts = urlsplit(path).path.strip("/").split("/")
        below = parts[parts.index(plural) + 2 :] if plural in parts else None
        return method in {"PATCH", "PUT", "POST"} and below == ([subresource] if subresource else [])

    return matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How the door treats what matches."""

    status: int | None = None
    """Answer this instead of asking."""
    retry_after_s: int | None = None
    hold: bool = False
    """Say nothing until the door opens."""
    lose_answer: bool = False
    """Let it through, and hang up before the answer."""
    matches: Matches = every


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Cut connections are what the door is for."""


class ApiDoor:
    """Speaks HTTP on loopback and passes on over TLS; open at first."""

    def __init__(self, upstream: str, authority: str) -> None:
        self._host = urlsplit(upstream).netloc
        self._tls = ssl.create_default_context(cafile=authority)
        self._refusal: Refusal | None = None
        self._opened = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.refused = 0
        """Requests that did not pass."""
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"door": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def refuse(self, refusal: Refusal) -> None:
        self.refused = 0
        self._opened.clear()
        self._refusal = refusal

    def open(self) -> None:
        self._refusal = None
        self._opened.set()

    def cut(self) -> None:
        """Hang up on everybody, watches among them."""
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()
        self._server.shutdown()
        self._server.server_close()
        self.cut()


class _Handler(BaseHTTPRequestHandler):
    door: ApiDoor

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        refusal = self.door._refusal
        if refusal is not None and refusal.matches(self.command, self.path):
            self.door.refused += 1
            if refusal.status is not None:
                self._refuse(refusal.status, refusal.retry_after_s)
                return
            if refusal.hold:
                self.door._opened.wait(UPSTREAM_TIMEOUT_S)
                self.close_connection = True
                return
            self._pass_on(body, answer=False)
            return
        self._pass_on(body, answer=True)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class's names

    def _refuse(self, status: int, retry_after_s: int | None) -> None:
        reason = {401: "Unauthorized", 409: "Conflict", 429: "TooManyRequests"}.get(status, "InternalError")
        document = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": reason,
            "code": status,
        }
        text = json.dumps(document | {"message": "the door is shut"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        self.end_headers()
        self.wfile.write(text)

    def _pass_on(self, body: bytes, *, answer: bool) -> None:
        door = self.door
        self.close_connection = True
        upstream = http.client.HTTPSConnection(door._host, context=door._tls, timeout=UPSTREAM_TIMEOUT_S)
        try:
            kept = {name: value for name in PASSED_ON if (value := self.headers.get(name)) is not None}
            upstream.request(self.command, self.path, body=body or None, headers=kept)
            used = {one for one in (upstream.sock, self.connection) if one is not None}
            with door._lock:
                door._sockets |= used
            try:
                response = upstream.getresponse()
                if answer:
                    self._stream(response)
                else:
                    response.read()
            finally:
                with door._lock:
                    door._sockets -= used
        finally:
            upstream.close()

    def _stream(self, response: http.client.HTTPResponse) -> None:
        self.send_response(response.status)
        for name in ("Content-Type", "Retry-After", "Warning"):
            if (value := response.headers.get(name)) is not None:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while piece := response.read1(65536):
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass
